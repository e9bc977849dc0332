"""What a pipeline takes in: events, wherever they come from.

A detector that sends over ZeroMQ is `StreamIntake`. A detector whose library this process owns implements `Intake`
itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import zmq
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import Decoder
from bluesky_streamdet.core.assemble import Assembler
from bluesky_streamdet.core.errors import MalformedMessage, RequestRefused
from bluesky_streamdet.core.events import Event
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.source import Source
from bluesky_streamdet.streaming.status import SourceReport, TransformReport

BATCH = 64
BATCH_BYTES = 16 << 20
"""So much is taken at once before it is ordered and written; a batch costs one extension of the file."""
PARTS_BYTES = 256 << 20
"""So much of frames may wait for the parts of other modules."""
SILENCE = 2.0
"""Seconds without any message after which the parts that wait for those of other modules are given up."""
NONE: Sequence[zmq.Socket[bytes]] = ()


class Taken(NamedTuple):
    """Events in their order, and what was wrong with the message behind them."""

    events: list[Event]
    complaint: MalformedMessage | None = None


class Intake(Protocol):
    """Where a pipeline's events come from. `take` never waits.

    lanes: how many inputs there are, each with an order of its own. sockets: that tell when something has come; the
    same object as long as they are the same.
    patience: seconds after which it wants to be asked again, as no socket tells; infinite when all do.
    """

    @property
    def lanes(self) -> int: ...

    @property
    def sockets(self) -> Sequence[zmq.Socket[bytes]]: ...

    @property
    def patience(self) -> float: ...

    @property
    def trouble(self) -> str | None:
        """Why no series can be taken until somebody does something about it."""
        ...

    @property
    def busy(self) -> bool:
        """Whether frames that came are still worked on, so that the time is not the detector's."""
        ...

    def take(self, lane: int) -> Iterator[Taken]:
        """What has come at one input; nothing at all when nothing has."""
        ...

    def take_no_frames(self) -> Iterator[Taken]:
        """Called in place of `take` while an output has no room for frames: what ends the series all the same."""
        ...

    def end(self) -> None:
        """Nobody wants more of this series."""
        ...

    def pause(self, paused: bool) -> None:
        """Take nothing more, or go on. Raises `RequestRefused` where what comes can't wait."""
        ...

    def move(self, config: SourceConfig) -> None:
        """Take events from elsewhere from now on. Raises `AddressTaken`, `ConfigError` or `RequestRefused`."""
        ...

    def keep_messages(self, keep: bool) -> None:
        """Whether events shall carry the message that they came in."""
        ...

    def report(self) -> list[SourceReport]: ...

    def work(self) -> TransformReport | None:
        """What is done to frames on the way, if anything is."""
        ...

    def obey(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Have the hardware do something. Raises `StreamdetError`."""
        ...

    def close(self) -> None: ...


class StreamIntake:
    """The messages of a detector's sockets, decoded, and put together where each socket carries a module's part.

    decoder: makes one. paused: whether nothing is taken, so that who pushes waits, and what is published is lost when
    ZeroMQ's queues are full, or at once where a paused source is `let_go`. clock: seconds, monotonic. Raises
    `AddressTaken` or `ConfigError`.
    """

    trouble = None
    busy = False

    def __init__(
        self,
        config: SourceConfig,
        decoder: Callable[[], Decoder],
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Callable[[], float] = time.monotonic,
        *,
        paused: bool = False,
    ) -> None:
        self.paused = paused
        self._keeps_messages = False
        self._decoder, self._context, self._clock = decoder, context, clock
        self._open(config)

    def _open(self, config: SourceConfig) -> None:
        self._source = Source(config, self._context, away=self.paused and config.let_go)
        modules = len(config.endpoints) if config.modules else 1
        self._assembler = Assembler(modules, PARTS_BYTES) if modules > 1 else None
        # Modules send each a stream of its own; several senders of whole frames share one.
        one = self._decoder
        self._decoders = [one() for _ in range(modules)] if modules > 1 else [one()] * self.lanes
        self._heard = self._clock()
        self._empty = 0  # inputs in turn, from the first on, at which nothing had come

    @property
    def lanes(self) -> int:
        return len(self._source.config.endpoints)

    @property
    def sockets(self) -> Sequence[zmq.Socket[bytes]]:
        return NONE if self.paused else self._source.sockets

    @property
    def patience(self) -> float:
        """Until parts of modules that never became whole are given up."""
        if self._assembler is None or not self._assembler.waiting or self.paused:
            return math.inf
        return max(0.0, self._heard + SILENCE - self._clock())

    def take(self, lane: int) -> Iterator[Taken]:
        if self.paused:
            return iter(())
        taken = self._decoded(lane)
        return taken if self._assembler is None else self._assembled(self._assembler, lane, taken)

    def _decoded(self, lane: int) -> Iterator[Taken]:
        decode, received = self._decoders[lane].decode, time.time_ns
        events: list[Event] = []
        took = False
        for parts in self._source.take(lane, BATCH, BATCH_BYTES):
            took = True
            try:
                decoded = decode(parts, received())
            except MalformedMessage as error:
                yield Taken(events, error)
                events = list(error.events)
                continue
            if self._keeps_messages:
                keep(decoded, parts)
            events += decoded
        if took:
            yield Taken(events)

    def _assembled(self, assembler: Assembler, lane: int, taken: Iterator[Taken]) -> Iterator[Taken]:
        self._empty = self._empty + 1 if lane else 1
        for some, complaint in taken:
            self._empty, self._heard = 0, self._clock()
            yield from _in_turn((one for event in some for one in assembler.add(lane, event)), complaint)
        # Only after a look at all of them: what came while nobody looked is no silence.
        if assembler.waiting and self._empty == self.lanes and self._clock() - self._heard >= SILENCE:
            yield from _in_turn(assembler.give_up(), None)

    def take_no_frames(self) -> Iterator[Taken]:
        """Nothing: who sends waits."""
        return iter(())

    def end(self) -> None:
        """The detector is not ours to stop."""

    def pause(self, paused: bool) -> None:
        """Raises `AddressTaken` or `ConfigError` for a source that had been let go; then it stays paused."""
        was, self.paused = self.paused, paused
        self._heard = self._clock()
        if paused != was and self._source.config.let_go:
            try:
                self.move(self._source.config)
            except BaseException:
                self.paused = was
                raise

    def move(self, config: SourceConfig) -> None:
        """Raises `AddressTaken` or `ConfigError`; then all is as it was. What the old sockets hold is given up."""
        before = self._source
        self._open(config)
        before.close()

    def keep_messages(self, keep: bool) -> None:
        self._keeps_messages = keep

    def report(self) -> list[SourceReport]:
        reports = self._source.report()
        if self._assembler is not None:
            for report, owed in zip(reports, self._assembler.owed(), strict=True):
                report.owed = owed
        return reports

    def work(self) -> None:
        """Nothing."""

    def obey(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        raise RequestRefused(
            f"This service only receives; it can't have the detector do {command!r}.",
            "Steer the detector where its own program runs.",
        )

    def close(self) -> None:
        self._source.close()


def keep(events: Sequence[Event], message: Sequence[Buffer]) -> None:
    """Have the first event of a message carry it; the others nothing, so that it is handed on once."""
    for event in events:
        event.message, message = message, ()


def _in_turn(assembled: Iterator[Event | MalformedMessage], complaint: MalformedMessage | None) -> Iterator[Taken]:
    """Events and complaints in their order, `complaint` behind them."""
    events: list[Event] = []
    for one in assembled:
        if isinstance(one, MalformedMessage):
            yield Taken(events, one)
            events = []
        else:
            events.append(one)
    yield Taken(events, complaint)
