"""The data plane's one loop: take what has come, order it, write it, forward it, answer the control plane.

It does nothing that could wait, but for the file: a slow disk pushes back through ZeroMQ to the detector, and so does
an output that is told to block.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.core.actions import Action, Begin, Deliver, Finish
from bluesky_streamdet.core.errors import Busy, MalformedMessage, NoSuchSeries, StreamdetError
from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.receiver import Receiver
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Order
from bluesky_streamdet.streaming.chain import Chain
from bluesky_streamdet.streaming.config import DataPlaneConfig, PlaneConfig
from bluesky_streamdet.streaming.crystfel.responder import Responder
from bluesky_streamdet.streaming.endpoints import OutputConfig, SourceConfig
from bluesky_streamdet.streaming.files.targets import Targets, new_id
from bluesky_streamdet.streaming.intake import Intake, StreamIntake
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.monitor import Monitor
from bluesky_streamdet.streaming.ports import Ports, Sink
from bluesky_streamdet.streaming.status import SeriesReport
from bluesky_streamdet.streaming.transforming import Transforming
from bluesky_streamdet.streaming.writer import SeriesWriter

log = logging.getLogger(__name__)

TAKING_REST = 1.0
"""Seconds in which what waits at a source is taken before another takes its place."""
GRACE = 50
"""Milliseconds of silence after which nothing waits there."""
SHORTEST_FLUSH = 0.01
"""Seconds between flushes at least, when frames come singly."""


OpenIntake = Callable[[Any, "zmq.Context[zmq.Socket[bytes]]"], Intake]
"""Opens what frames come from, of the kind of configuration that it is for."""


def open_stream(config: DataPlaneConfig, context: zmq.Context[zmq.Socket[bytes]]) -> Transforming:
    """The intake of a detector that sends. Raises `AddressTaken`, `ConfigError` or `MissingLibrary`."""
    chain = Chain(config.transforms)
    source = StreamIntake(config.source, CODECS[config.codec].decoder, context, paused=config.paused)
    source.keep_messages(config.hands_messages_on)
    return Transforming(source, chain, config.compress, config.workers, context)


class Pipeline:
    """Everything of one detector between its socket and the disk. Not thread-safe; `turn` is the loop's body.

    open_intake: opens what frames come from. clock: seconds, monotonic.
    on_change: called when something happened that clients want to know at once.
    last, failure: the series that ended last, and why it couldn't be written, until the next one begins.
    """

    def __init__(
        self,
        config: PlaneConfig,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
        open_intake: OpenIntake = open_stream,
    ) -> None:
        self.config = config
        self.receiver = Receiver(config.limits, self._order_unarmed, announced=config.announced, shared=config.shared)
        self.writer: SeriesWriter | None = None
        self.last: SeriesReport | None = None
        self.failure: StreamdetError | None = None
        self.latest: Frame | None = None
        self.latest_series: str | None = None
        self.frames = self.bytes = 0
        self.writing = self._stalled = 0.0
        self._complained: set[str] = set()
        self._accepts = True
        self._clock = clock
        self._on_change = on_change
        self._targets = Targets(config)
        self._dirty_since: float | None = None
        self._flushed_at = 0.0
        self._poller = zmq.Poller()
        self.outputs = Ports((), context, config.usual_output, clock)
        self.crystfel: list[Responder] = []
        self.monitor: Monitor | None = None
        self.paused = False
        self.source = open_intake(config, context)
        try:
            self.outputs.set(config.outputs)
            for one in config.crystfel:
                self.crystfel.append(responder := Responder(one, context, clock))
                self.outputs.others.append(responder)
            if config.monitor is not None:
                self.monitor = Monitor(config.monitor, context)
            self.pause(config.paused)
        except BaseException:
            self.close()
            raise
        self._watched: Sequence[zmq.Socket[bytes]] = ()
        self._watch_source()
        for socket in [socket for one in self.crystfel for socket in one.sockets]:
            self.register(socket)
        if self.monitor is not None:
            self.register(self.monitor.socket)

    # What clients ask for.

    def arm(self, request: ArmRequest) -> SeriesReport:
        """Expect a series. Raises `Busy`, `PathRefused` or `FileTaken`; then nothing has changed."""
        if self.receiver.current is not None:
            raise Busy(
                f"{self.config.detector} is busy: series {self.receiver.current} is {self.receiver.state}.",
                "Wait for its end, or stop or abort it.",
            )
        id = request.id or new_id()
        writer = self._targets.armed(id, request)
        order = Order(id, request.expected_frames, request.open_ended, request.quiet_seconds)
        self.receiver.arm(order, self.now)
        writer.armed()
        self.writer, self.failure = writer, None
        log.info("armed series %s, file %s", id, writer.path)
        return writer.report()

    def stop(self, expected: int | None = None, keep: int | None = None) -> None:
        """End the series after what is on its way has been taken.

        expected: how many frames it should have by then. keep: cut the file to so many, as nobody wants the others.
        """
        if self.writer is not None:
            self.writer.keep = keep
        self.source.end()
        self._do(self.receiver.stop(self.now, expected))

    def abort(self, reason: str = "aborted by request") -> None:
        """End the series now."""
        if self.receiver.current is not None:
            self.source.end()
            self.outputs.discard()
            self._do(self.receiver.abort(reason))

    def set_parameters(self, id: str, parameters: dict[str, object]) -> SeriesReport:
        """Add metadata to series `id`. Raises `NoSuchSeries` when that is not the one that is armed or runs."""
        if self.writer is None or self.writer.id != id:
            raise NoSuchSeries(f"Series {id!r} is not armed or running, so that the parameters can't go to it.")
        self.writer.set_parameters(parameters)
        for one in self.crystfel:
            one.set_parameters(parameters)
        return self.writer.report()

    def pause(self, paused: bool) -> None:
        """Take nothing more from the detector, or go on. Raises `RequestRefused` where what comes can't wait."""
        if paused != self.paused:
            self.source.pause(paused)
            self.paused = paused

    def set_outputs(self, outputs: list[OutputConfig]) -> None:
        """Have these outputs; see `Ports.set`."""
        self.outputs.set(outputs)
        self.config.outputs = outputs
        self.source.keep_messages(self.config.hands_messages_on)

    def set_source(self, config: SourceConfig) -> None:
        """Take frames from elsewhere; first what has come, also while paused. Raises what `Intake.move` raises."""
        if self.paused and config.let_go:
            self.source.move(config)
            self.receiver.shared = config.shared
            return
        self.source.pause(False)
        try:
            deadline = self._clock() + TAKING_REST
            while self._clock() < deadline and (self._take_all() or self._poll(GRACE / 1000)):
                self._tick()
            self.source.move(config)
            self.receiver.shared = config.shared
        finally:
            self.source.pause(self.paused)

    # The loop.

    def turn(self, wait: float) -> None:
        """Take what has come, waiting up to `wait` seconds for something; carry out what follows."""
        idle = not self._take_all()
        if idle:
            # What was just made readable is news, which must not wait for more frames.
            news = self._flush_if_due(idle=True)
            if self._poll(0.0 if news else wait):
                self._take_all()
        self._tick()

    @property
    def now(self) -> float:
        """Seconds in which frames could have come: what the disk or a blocking client took is not the detector's."""
        return self._clock() - self._stalled

    @property
    def blocked_by(self) -> Sink | None:
        """The output that the detector has to wait for."""
        return self.outputs.blocked_by

    def register(self, socket: zmq.Socket[bytes]) -> None:
        """Wake the loop when something comes at this socket too."""
        self._poller.register(socket, zmq.POLLIN)

    def accept_no_more(self) -> None:
        """Start no series any more that nobody has armed."""
        self._accepts = False

    def close(self, linger: int = 0) -> None:
        """Close all sockets; what ZeroMQ has taken for clients may still leave within `linger` ms."""
        self.outputs.close(linger)
        if self.monitor is not None:
            self.monitor.close(linger)
        self.source.close()

    def _poll(self, wait: float) -> bool:
        if self.blocked_by is None:
            due = self._flush_due()
            wait = min(wait, self.source.patience, *(one.patience for one in self.crystfel))
            wait = wait if due is None else max(0.0, min(wait, due - self._clock()))
            self._watch_source()
            busy, before = self.source.busy, self._clock()
            came = bool(self._poller.poll(math.ceil(wait * 1000)))
            # A step that takes long is not the detector's silence; and a stop waits for all that is in work.
            if busy and (not came or self.state is State.FINISHING):
                self._stalled += self._clock() - before
            return came
        # Frames are there, but an output blocks: wait for that client, not for more frames.
        before = self._clock()
        self.outputs.wait_for_blocking()
        if self.state is not State.FINISHING:  # A stop has to end, whatever a client does.
            self._stalled += self._clock() - before
        return False

    def _watch_source(self) -> None:
        """Be woken by what the source wants to be woken by, which changes while it can take nothing."""
        sockets = self.source.sockets
        if sockets is not self._watched:
            for socket in self._watched:
                self._poller.unregister(socket)
            for socket in sockets:
                self.register(socket)
            self._watched = sockets

    def _take_all(self) -> bool:
        """Take a batch from each input. False when nothing had come."""
        took = False
        for lane in range(self.source.lanes):
            if self.blocked_by is not None:
                for events, _ in self.source.take_no_frames():
                    self._do(self.receiver.receive(events, self.now))
                break
            for events, complaint in self.source.take(lane):
                took = True
                self._do(self.receiver.receive(events, self.now))
                if complaint is not None:
                    self._complain(complaint)
        return took

    def _complain(self, error: MalformedMessage) -> None:
        """Count a malformed message. Only the first of a kind in each series is logged, as thousands may come."""
        self.receiver.malformed(error.reason, self.now)
        if error.reason not in self._complained:
            self._complained.add(error.reason)
            log.warning("malformed message: %s", error)

    def _tick(self) -> None:
        self._do(self.receiver.tick(self.now))
        self.outputs.flush()
        if self.monitor is not None:
            self.monitor.answer()
        self._flush_if_due(idle=False)

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Begin():
                    self._begin(action)
                case Deliver():
                    self._deliver(action)
                case Finish():
                    self._finish(action)

    def _begin(self, action: Begin) -> None:
        series, start = action.series, action.start
        if self.writer is None or self.writer.id != series.id:
            self.writer = self._targets.unarmed(series.id, start)
        self.writer.begin(series, start)
        self.failure = None
        self._complained.clear()
        announced = start or SeriesStart()
        announced = SeriesStart(
            announced.series,
            announced.position,
            str(self.writer.path or ""),
            series.ledger.expected,
            announced.metadata,
            announced.save,
            announced.message,
        )
        for one in self.crystfel:
            one.name_series(series.id, self.writer.request.metadata)
        self.outputs.start(announced)
        if self.monitor is not None:
            self.monitor.start(announced)
        log.info("series %s started", series.id)
        self._on_change()

    def _deliver(self, action: Deliver) -> None:
        assert self.writer is not None
        frames = action.frames
        self.bytes += self.writer.statistics.came(frames)
        before = self._clock()
        self.writer.write(frames)
        self._account(before)
        self.outputs.send(frames)
        if self.monitor is not None:
            self.monitor.show(frames[-1])
        self.latest, self.latest_series = frames[-1], action.series.id
        self.frames += len(frames)
        if self._dirty_since is None:
            self._dirty_since = self._clock()

    def _finish(self, action: Finish) -> None:
        assert self.writer is not None
        before = self._clock()
        self.writer.finish(action.series)
        self._account(before)
        self.outputs.end(SeriesEnd(action.series.key, error=action.series.fault, message=action.series.end_message))
        self.last, self.failure = self.writer.report(), self.writer.failure
        self._targets.note(self.last)
        self.writer = None
        self._dirty_since = None
        self._on_change()

    def _account(self, before: float) -> None:
        """The disk has had the time since `before`."""
        spent = self._clock() - before
        self.writing += spent
        self._stalled += spent

    # Flushing: often enough that clients see frames soon, seldom enough that it costs nothing.

    def _flush_due(self) -> float | None:
        if self._dirty_since is None:
            return None
        return self._flushed_at + SHORTEST_FLUSH

    def _flush_if_due(self, *, idle: bool) -> bool:
        """Flush if it is time. True when more frames are readable than before."""
        if self._dirty_since is None or self.writer is None:
            return False
        now = self._clock()
        late = now - self._dirty_since >= self.config.files.flush_seconds
        if late or (idle and now - self._flushed_at >= SHORTEST_FLUSH):
            self._dirty_since = None
            self._flushed_at = now
            changed = self.writer.flush()
            self._account(now)
            if changed:
                self._on_change()
            return changed
        return False

    # Series that nobody armed.

    def _order_unarmed(self, start: SeriesStart | None) -> Order | None:
        if self.config.unarmed == "ignore" or not self._accepts:
            return None
        return Order(new_id(), quiet=self.config.wait.quiet_seconds)

    @property
    def state(self) -> State:
        return self.receiver.state
