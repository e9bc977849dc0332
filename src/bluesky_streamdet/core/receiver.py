"""Events in, actions out: which frames make up which series. It owns no socket, no file and no clock.

Whoever runs it feeds events as they come, calls `tick` now and then, and carries out the actions in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bluesky_streamdet.core.errors import Busy
from bluesky_streamdet.core.events import Event, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.ledger import Ledger
from bluesky_streamdet.core.resequence import Resequencer
from bluesky_streamdet.core.rules import RULES, Act, Happening, State
from bluesky_streamdet.core.series import Limits, Order, Series

REMEMBERED_KEYS = 64
"""So many closed series are remembered by the detector's name of them, to tell their late frames from a new series."""


@dataclass(slots=True)
class Begin:
    """Open the sinks for a series. `start` is None when its header was lost."""

    series: Series
    start: SeriesStart | None


@dataclass(slots=True)
class Deliver:
    """Frames of the open series, in order."""

    series: Series
    frames: list[Frame]


@dataclass(slots=True)
class Finish:
    """Close the sinks, then judge `series.outcome()`."""

    series: Series


Action = Begin | Deliver | Finish


class Receiver:
    """The rules of `core.rules`, applied to what comes.

    limits: how long a series waits. unarmed: makes the order for a series that the stream starts by itself, or returns
    None when the configuration lets nobody start one but by request.
    """

    def __init__(self, limits: Limits, unarmed: Callable[[SeriesStart | None], Order | None]) -> None:
        self.state = State.IDLE
        self.series: Series | None = None
        self.between = Ledger()
        self.last_data = 0.0
        self._limits = limits
        self._unarmed = unarmed
        self._order: Order | None = None
        self._actions: list[Action] = []
        self._deadline: float | None = None
        self._settle_by: float | None = None
        self._closed: deque[str] = deque(maxlen=REMEMBERED_KEYS)
        self._leftovers = False

    @property
    def current(self) -> str | None:
        """The id of the series that is armed or runs."""
        if self.series is not None:
            return self.series.id
        return self._order.id if self._order is not None else None

    def arm(self, order: Order, now: float) -> None:
        """Expect a series. Raises `Busy` while another is armed or runs."""
        if RULES[self.state, Happening.ARM] is Act.REFUSE:
            raise Busy(
                f"Series {self.current} is {self.state}; a second one can't be armed.",
                "Stop or abort it first.",
            )
        self._order = order
        self.state = State.ARMED
        self.last_data = now

    def receive(self, events: Iterable[Event], now: float) -> list[Action]:
        """Take what came from the stream, in its order."""
        self.last_data = now
        for event in events:
            if type(event) is Frame:
                if self.state in (State.RUNNING, State.FINISHING):
                    self._take(event, now)
                else:
                    self._begin_headless(event, now)
            elif type(event) is SeriesStart:
                self._header(event, now)
            elif type(event) is SeriesEnd:
                self._end(event, now)
        return self._take_actions()

    def malformed(self, reason: str, now: float) -> None:
        """Count a message that could not be decoded."""
        self.last_data = now
        ledger = self.series.ledger if self.series is not None else self.between
        ledger.received += 1
        ledger.malformed[reason] += 1

    def tick(self, now: float) -> list[Action]:
        """Do what time asks for: give up gaps, end a series that is silent, end the wait for what is owed."""
        series = self.series
        if series is not None:
            self._deliver(series, series.frames.tick(now))
            if self._time_is_up(series, now):
                self._close(series)
        return self._take_actions()

    def stop(self, now: float, expected: int | None = None) -> list[Action]:
        """End the series after what is on its way. `expected` replaces the number of frames it was started with."""
        match RULES[self.state, Happening.STOP]:
            case Act.CLOSE:
                self._end_unstarted("stopped before the first frame", aborted=False, expected=expected)
            case Act.FINISH:
                assert self.series is not None
                self.series.reason = self.series.reason or "stopped by request"
                if expected is not None:
                    self.series.ledger.expected = expected
                self._finish(self.series, now)
        return self._take_actions()

    def abort(self, reason: str = "aborted by request") -> list[Action]:
        """End the series at once; frames that are not in the file yet are discarded and counted."""
        if RULES[self.state, Happening.ABORT] is Act.DISCARD:
            if self.series is None:
                self._end_unstarted(reason, aborted=True)
            else:
                self._discard(self.series, reason)
        return self._take_actions()

    # What the table calls for.

    def _header(self, start: SeriesStart, now: float) -> None:
        if RULES[self.state, Happening.HEADER] is Act.SUPERSEDE:
            series = self.series
            assert series is not None
            if _repeats(start, series):
                return
            series.reason = "a new header came before the end of the series"
            self._close(series)
        self._leftovers = False
        order = self._order or self._unarmed(start)
        if order is not None:
            self._begin(order, start, start.series, None if start.position is None else start.position + 1)

    def _begin(self, order: Order, start: SeriesStart | None, key: str | None, first: int | None) -> Series:
        frames = Resequencer(first, self._limits.gap_bytes, self._limits.gap_seconds)
        series = self.series = Series(order, start, key, frames)
        announced = start.frames if start is not None and not order.open_ended else None
        series.ledger.expected = order.expected if order.expected is not None else announced
        self._order = None
        self._deadline = self._settle_by = None
        self.state = State.RUNNING
        self._actions.append(Begin(series, start))
        return series

    def _begin_headless(self, frame: Frame, now: float) -> None:
        """A frame, and no series: the header was lost, unless the frame is left over from a series that closed."""
        left_over = frame.series in self._closed if frame.series is not None else self._leftovers
        order = None if left_over else self._order or self._unarmed(None)
        if order is None:
            self.between.received += 1
            why = "left over from a series that closed" if left_over else "no series was armed"
            self.between.foreign[why] += 1
            return
        series = self._begin(order, None, frame.series, None)
        series.reason = "the header was lost"
        self._take(frame, now)

    def _take(self, frame: Frame, now: float) -> None:
        series = self.series
        assert series is not None
        if frame.series != series.key and not self._follows(frame, series, now):
            return
        ledger, frames = series.ledger, series.frames
        ledger.received += 1
        duplicates = frames.duplicates
        released = frames.push(frame, now)
        if frames.duplicates == duplicates:
            ledger.unique += 1
        else:
            ledger.duplicate += 1
        if released:
            self._deliver(series, released)
        if ledger.unique == ledger.expected or (self.state is State.FINISHING and self._all_there(series, now)):
            self._close(series)

    def _follows(self, frame: Frame, series: Series, now: float) -> bool:
        """What to do with a frame of another series. True when it does belong to this one."""
        if series.key is None or frame.series is None:
            return True
        if frame.series not in self._closed and _later(frame.series, series.key):
            series.reason = f"frames of series {frame.series} came, whose header was lost"
            self._close(series)
            self._begin_headless(frame, now)
            return False
        series.ledger.received += 1
        series.ledger.foreign["of another series"] += 1
        return False

    def _end(self, end: SeriesEnd, now: float) -> None:
        series = self.series
        self._leftovers = self._leftovers and series is not None
        if series is None or RULES[self.state, Happening.END] is Act.IGNORE:
            return
        if end.series is not None and series.key is not None and end.series != series.key:
            return  # The late end of a series that closed.
        series.end_seen = True
        series.end_position = end.position
        self._finish(series, now)

    def _finish(self, series: Series, now: float) -> None:
        """Wait for what is owed, no longer than the limits allow; close at once when nothing is."""
        if self.state is not State.FINISHING:
            self.state = State.FINISHING
            self._deadline = now + self._limits.finish_seconds
        if self._all_there(series, now):
            self._close(series)

    def _all_there(self, series: Series, now: float) -> bool:
        """Whether nothing more can come. When nobody can know, start anew the short wait for silence."""
        ledger = series.ledger
        if ledger.expected is not None and ledger.unique >= ledger.expected:
            return True
        owed = series.frames.owed(series.end_position) if series.end_seen else None
        if owed is None and (ledger.expected is None or not series.end_seen):
            self._settle_by = now + self._limits.settle_seconds
        return owed == 0

    def _time_is_up(self, series: Series, now: float) -> bool:
        if self.state is State.FINISHING:
            deadlines = [one for one in (self._deadline, self._settle_by) if one is not None]
            return now >= min(deadlines)
        quiet = series.order.quiet
        if quiet is None or now - self.last_data < quiet:
            return False
        series.reason = f"no data for {quiet:g} s and no end message"
        return True

    def _close(self, series: Series) -> None:
        self._deliver(series, series.frames.flush())
        series.frames.close(series.end_position)
        self._ended(series)

    def _discard(self, series: Series, reason: str) -> None:
        series.ledger.discarded["aborted"] += len(series.frames.flush())
        series.aborted = True
        series.reason = reason
        self._ended(series)

    def _ended(self, series: Series) -> None:
        series.ledger.ended = True
        series.settle()
        if series.key is not None:
            self._closed.append(series.key)
        self._leftovers = series.key is None and not series.end_seen
        self.series = None
        self.state = State.IDLE
        self._actions.append(Finish(series))

    def _end_unstarted(self, reason: str, *, aborted: bool, expected: int | None = None) -> None:
        """End a series that was armed and of which nothing came."""
        assert self._order is not None
        leftovers = self._leftovers
        series = self._begin(self._order, None, None, None)
        series.reason = reason
        series.aborted = aborted
        if expected is not None:
            series.ledger.expected = expected
        self._ended(series)
        self._leftovers = leftovers

    def _deliver(self, series: Series, frames: tuple[Frame, ...]) -> None:
        if not frames:
            return
        actions = self._actions
        last = actions[-1] if actions else None
        if type(last) is Deliver and last.series is series:
            last.frames.extend(frames)
        else:
            actions.append(Deliver(series, list(frames)))

    def _take_actions(self) -> list[Action]:
        if self.series is not None:
            self.series.settle()
        actions, self._actions = self._actions, []
        return actions


def _repeats(start: SeriesStart, series: Series) -> bool:
    """Whether this header is the one that began the series, once more, before any frame."""
    first = series.start
    if first is None or series.ledger.received:
        return False
    return (first.series, first.position, first.filename) == (start.series, start.position, start.filename)


def _later(one: str, other: str) -> bool:
    """Whether a detector that counts its series has begun `one` after `other`."""
    return one.isdecimal() and other.isdecimal() and int(one) > int(other)
