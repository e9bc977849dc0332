"""Frames for CrystFEL's indexamajig, each to one of the workers that ask, or to all that listen.

A `Responder` is a sink like the outputs of `streaming/fanout.py`, and has their interface. What waits, who has what
and what became of it is kept by `core/handout.py`, the sockets are those of `streaming/crystfel/workers.py`; here
frames are made into messages, by threads, as late as that costs no rate: of frames that are dropped, none is decoded.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import zmq

from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.geometry import said
from bluesky_streamdet.core.handout import Given, Handout
from bluesky_streamdet.streaming.crew import Crew
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.frames import Item, Series
from bluesky_streamdet.streaming.crystfel.peakwork import PeakWorkers
from bluesky_streamdet.streaming.crystfel.workers import ALL, Asked, PublishPort, RequestPort
from bluesky_streamdet.streaming.rate import Rate
from bluesky_streamdet.streaming.status import CrystfelReport, WorkerReport

log = logging.getLogger(__name__)

MOST_WORKERS = 256
"""That are reported one by one."""
MOST_REASONS = 20
RETRY = 5
"""Milliseconds between tries of a socket that publishes, as nothing tells when its clients have room again."""


class Responder:
    """One endpoint. Raises `AddressTaken` or `ConfigError` when it can't be bound. Not thread-safe.

    handout: which frames wait, who has which. clock: seconds, monotonic.
    """

    def __init__(
        self,
        config: CrystfelConfig,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.handout: Handout[Item] = Handout(config.policy, config.queue, config.queue_bytes)
        self.failed: Counter[str] = Counter()
        self.left_out = 0
        self._clock = clock
        self._finder = None if config.peaks is None else PeakWorkers(config.peaks)
        self._series = Series(config, finder=self._finder)
        self._owed: dict[Hashable, Item] = {}
        self._refused: tuple[Hashable, Item] | None = None
        self._rate = Rate(clock)
        self._rates: dict[Hashable, Rate] = {}
        self._port: RequestPort | PublishPort = (
            PublishPort(config.address, config.prefix, context)
            if config.mode == "publish"
            else RequestPort(config.address, context, clock)
        )
        # A thread waits for each process that looks for peaks.
        threads = config.threads + (0 if config.peaks is None else config.peaks.workers)
        self._crew: Crew[Item] = Crew(threads, context, Item.make, "crystfel")
        self.address = self._port.address

    # What a pipeline asks of its outputs.

    @property
    def sockets(self) -> Sequence[zmq.Socket[bytes]]:
        """What to be woken by."""
        return [*self._port.sockets, self._crew.socket]

    @property
    def patience(self) -> float:
        """Seconds after which `flush` wants to be called though nothing has come."""
        due = RETRY / 1000 + self._clock() if self._refused is not None else self._port.due
        return math.inf if due is None else max(0.0, due - self._clock())

    @property
    def blocked(self) -> bool:
        """Whether the detector has to wait for a worker."""
        return self.config.policy == "complete" and self.handout.full

    @property
    def waiting(self) -> bool:
        """Whether anything waits for a worker that is there."""
        return bool(self._owed) or (self.handout.waiting > 0 and self._port.workers > 0)

    @property
    def queued(self) -> int:
        """Frames that wait."""
        return self.handout.waiting

    def name_series(self, id: str, parameters: Mapping[str, Any]) -> None:
        """What the series that starts next is called by us, and what is known of its run."""
        self._series = replace(self._series, id=id, metadata={}, parameters=parameters)

    def start(self, start: SeriesStart) -> None:
        """A series begins."""
        self._series = replace(self._series, metadata=start.metadata)

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """More metadata of the run, for the frames that follow."""
        series = self._series
        self._series = replace(series, parameters={**series.parameters, **parameters})

    def send(self, frames: list[Frame]) -> None:
        """Give the frames to workers that wait, or keep them, or drop older ones."""
        for frame in frames:
            item = Item(frame, self._series)
            self.handout.put(item, item.nbytes)
        self.flush()

    def end(self, end: SeriesEnd) -> None:
        """The series is over; there is no word for that which a worker would understand."""

    def flush(self) -> None:
        """Hear who asks and who has gone, and hand out what there is."""
        for news in self._port.news():
            if isinstance(news, Asked):
                self._ask(news.peer)
            else:
                self._leave(news.peer)
        for item in self._crew.finished():
            item.made = True
            if item.peer is not None:
                self._deliver(item)
        if self._refused is not None and self._owed.get(self._refused[0]) is self._refused[1]:
            self._deliver(self._refused[1])
        while self._give():
            pass
        self._make_ahead()

    def wait(self, milliseconds: int) -> None:
        """Wait until workers may take more, at most so long."""
        poller = zmq.Poller()
        for socket in self.sockets:
            poller.register(socket, zmq.POLLIN)
        poller.poll(min(milliseconds, math.ceil(min(self.patience, 60.0) * 1000)))

    def discard(self) -> None:
        """Drop the frames that wait: the series was aborted."""
        self.handout.discard()

    def report(self) -> CrystfelReport:
        handout = self.handout
        return CrystfelReport(
            name=self.config.name,
            address=self.address,
            mode=self.config.mode,
            policy=self.config.policy,
            workers=self._port.workers,
            asking=handout.asking,
            seen=handout.seen,
            waiting=handout.waiting,
            delivered=handout.delivered,
            in_hand=handout.in_hand,
            done=handout.done,
            lost=handout.lost,
            dropped=handout.dropped,
            failed=dict(self.failed),
            left_out=self.left_out,
            peaks=None if self._finder is None else self._finder.report(),
            all_wait=handout.all_wait,
            woken=self._port.woken,
            odd=self._port.odd,
            frames_per_second=round(self._rate(handout.delivered), 2),
            by_worker=self._by_worker(),
            settings=self.config,
            header=said(self._series.metadata),
        )

    def close(self, linger: int = 0) -> None:
        """Close; what ZeroMQ has taken may still leave within `linger` ms."""
        if self._finder is not None:
            self._finder.close()
        self._crew.close()
        self._port.close(linger)

    # Who asks and who has gone.

    def _ask(self, peer: Hashable) -> None:
        # Another request of who has not been answered yet is no sign that it is done with anything.
        if peer not in self._owed:
            self.handout.ask(peer)

    def _leave(self, peer: Hashable) -> None:
        item = self._owed.pop(peer, None)
        self._rates.pop(peer, None)
        if item is None:
            self.handout.leave(peer)
        else:
            self._take_back(peer, item)

    def _take_back(self, peer: Hashable, item: Item) -> None:
        """A frame that has not left is for the next worker."""
        item.peer = None
        self.handout.take_back(Given(peer, item), item.nbytes)

    # What becomes of frames.

    def _give(self) -> bool:
        """Find workers for frames. True when there may be more to do, as some could not be sent."""
        again = False
        for peer, item in list(self.handout.give()):
            item.peer = peer
            self._owed[peer] = item
            if not item.begun:
                self._make(item)
            if item.made:
                again = not self._deliver(item) or self.config.mode == "publish" or again
        return again

    def _make(self, item: Item) -> None:
        item.begun = True
        if item.small:
            item.make()
            item.made = True
        else:
            self._crew.put(item)

    def _make_ahead(self) -> None:
        """Make the frames that leave next, so that workers need not wait for it; where newer ones come first, they are
        not known.
        """
        if self.config.policy == "complete" and self._port.workers:
            for item in self.handout.next(self.config.threads + 1):
                if not item.begun:
                    self._make(item)

    def _deliver(self, item: Item) -> bool:
        """Send a frame that is made to its worker. False when that got none."""
        peer = item.peer
        assert peer is not None
        self._refused = None
        if item.message is None:
            self._fail(peer, item)
            return False
        try:
            sent = self._port.send(peer, item.message)
        except zmq.Again:
            self._refused = peer, item
            return True
        del self._owed[peer]
        if not sent:
            self._take_back(peer, item)
        elif peer is ALL:
            self.handout.ask(peer)
        return sent

    def _fail(self, peer: Hashable, item: Item) -> None:
        del self._owed[peer]
        if item.left_out:
            self.left_out += 1
            self.handout.spoil(Given(peer, item))
            return
        reason = item.problem if item.problem in self.failed or len(self.failed) < MOST_REASONS else "others"
        if reason not in self.failed:
            log.warning("frame %d of series %s is not sent: %s", item.frame.number, item.series.id, item.problem)
        self.failed[reason] += 1
        self.handout.spoil(Given(peer, item))

    def _by_worker(self) -> list[WorkerReport]:
        reports = []
        for peer, worker in list(self.handout.workers.items())[:MOST_WORKERS]:
            rate = self._rates.setdefault(peer, Rate(self._clock))
            reports.append(
                WorkerReport(
                    name=self._port.name_of(peer),
                    delivered=worker.delivered,
                    done=worker.done,
                    in_hand=worker.in_hand,
                    frames_per_second=round(rate(worker.delivered), 2),
                )
            )
        return reports
