"""One run of all cards, from the first that is started until the next run: which frames there are, and when."""

from __future__ import annotations

from collections.abc import Sequence

from bluesky_streamdet.xspress3.constants import ErrorCode, ErrorFlag, TimeStatus
from bluesky_streamdet.xspress3.simulation.inputs import Debounce, Inputs
from bluesky_streamdet.xspress3.simulation.memory import FrameMemory
from bluesky_streamdet.xspress3.simulation.refusal import Refusal
from bluesky_streamdet.xspress3.simulation.timeline import Ticks
from bluesky_streamdet.xspress3.simulation.timing import Follower, FrameSource, Generator


class Run:
    """number: of the run, from 1. cards: the channels of each. Nothing runs before `start`.

    `advance` comes before all that asks or changes something, with the moment (clock cycles) at which it does.
    """

    def __init__(self, number: int, cards: Sequence[range], memory: FrameMemory, debounce: Debounce) -> None:
        self.number = number
        self.memory = memory
        self.debounce = debounce
        self._cards = cards
        self._sources: list[FrameSource | None] = [None] * len(cards)

    def advance(self, now: int, inputs: Inputs) -> None:
        """Take what has happened at the inputs and in memory by `now`."""
        for change in inputs.taken(now):
            for passed in self.debounce.change(change):
                self._level(passed.moment, passed.high)
        for passed in self.debounce.passed(now):
            self._level(passed.moment, passed.high)
        for channels, source in zip(self._cards, self._sources, strict=True):
            if source is not None:
                self.memory.fill(channels, source.begun(now))
        if self.memory.end is not None:
            for source in self._sources:
                if source is not None and source.begun(now) > self.memory.end:
                    source.limit(self.memory.end)

    def start(self, card: int, source: FrameSource, now: int, enable: bool) -> None:
        self._sources[card] = source
        if isinstance(source, Follower):
            source.master = self._sources[0]
        if card == 0:
            for other in self._sources:
                if isinstance(other, Follower):
                    other.master = source
        if enable:
            source.enable(now, True)

    def enable(self, cards: Sequence[int], now: int, high: bool) -> None:
        """Continue or pause. Raises `Refusal` when a card is not running."""
        for card in cards:
            self._running(card, now).enable(now, high)

    def restart(self, card: int, now: int, begin: bool) -> None:
        """Begin or interrupt the internal frame generator of a running card. Raises `Refusal` for one without."""
        source = self._running(card, now)
        if not isinstance(source, Generator):
            raise Refusal(ErrorCode.ERROR, f"card {card} does not take its frames from the internal generator")
        source.interrupt(now)
        if begin:
            source.restart(now)

    def stop(self, cards: Sequence[int], now: int) -> None:
        for card in cards:
            source = self._sources[card]
            if source is not None:
                source.stop(now)

    def was_started(self, card: int) -> bool:
        return self._sources[card] is not None

    def is_running(self, card: int, now: int) -> bool:
        """Whether more frames may come of a card."""
        return bool(self.status(card, now) & TimeStatus.RUNNING) and not self._is_finished(now)

    def status(self, card: int, now: int) -> TimeStatus:
        source = self._sources[card]
        return TimeStatus(0) if source is None else source.status(now)

    def begun(self, card: int, now: int) -> int:
        source = self._sources[card]
        return 0 if source is None else source.begun(now)

    def complete(self, now: int, cards: Sequence[int] | None = None) -> int:
        """Frames that all of `cards` have, of all cards when left out."""
        chosen = range(len(self._cards)) if cards is None else cards
        sources = [self._sources[card] for card in chosen]
        return min(0 if source is None else source.complete(now) for source in sources)

    def furthest(self, now: int) -> int:
        """Frames that have begun in the card that is the furthest."""
        return max(self.begun(card, now) for card in range(len(self._cards)))

    @property
    def flags(self) -> ErrorFlag:
        return self.memory.flags

    def began(self, frame: int) -> int:
        """When a frame began in the first card that has it."""
        source = next(source for source in self._sources if source is not None)
        return source.start(frame)

    def lengths(self, card: int, first: int, count: int, now: int) -> Ticks:
        """Clock cycles of frames that have begun."""
        source = self._sources[card]
        assert source is not None
        return source.lengths(first, count, now)

    def _level(self, moment: int, high: bool) -> None:
        for source in self._sources:
            if source is not None:
                source.level(moment, high)

    def _running(self, card: int, now: int) -> FrameSource:
        source = self._sources[card]
        if source is None or not source.status(now) & TimeStatus.RUNNING:
            raise Refusal(ErrorCode.ERROR, f"card {card} is not running: arm or start it first")
        return source

    def _is_finished(self, now: int) -> bool:
        """Whether the first card, which makes the frames, has made all."""
        return bool(self.status(0, now) & TimeStatus.FINISHED)
