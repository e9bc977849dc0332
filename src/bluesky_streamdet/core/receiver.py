"""Events in, actions out: which frames make up which series. It owns no socket, no file and no clock.

Whoever runs it feeds events as they come, calls `tick` now and then, and carries out the actions in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bluesky_streamdet.core.actions import Action, Begin, Deliver, Finish
from bluesky_streamdet.core.errors import Busy
from bluesky_streamdet.core.events import Event, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.ledger import Ledger
from bluesky_streamdet.core.leftovers import Leftovers
from bluesky_streamdet.core.resequence import Resequencer
from bluesky_streamdet.core.rules import RULES, Act, Happening, State
from bluesky_streamdet.core.series import Limits, Order, Series, differ, is_later
from bluesky_streamdet.core.sharing import SharedFrames
from bluesky_streamdet.core.upcoming import Upcoming


class Receiver:
    """The rules of `core.rules`, applied to what comes.

    limits: how long a series waits. unarmed: makes the order for a series that the stream starts by itself, or returns
    None when the configuration lets nobody start one but by request. announced: whether the stream has headers, as all
    but a few have; without them the first frame begins a series, and one of a number that came before the next.
    shared: whether other services get some of the frames, of the headers and of the ends.
    """

    def __init__(
        self,
        limits: Limits,
        unarmed: Callable[[SeriesStart | None], Order | None],
        *,
        announced: bool = True,
        shared: bool = False,
    ) -> None:
        self.state = State.IDLE
        self.series: Series | None = None
        self.between = Ledger()
        self.last_data = 0.0
        self.announced = announced
        self.shared = shared
        self._limits = limits
        self._unarmed = unarmed
        self._now = 0.0
        self._silence = 0.0
        self._order: Order | None = None
        self._actions: list[Action] = []
        self._begun = False
        self._deadline = 0.0
        self._settle_by: float | None = None
        self._leftovers = Leftovers()
        self._next = Upcoming()

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
        self._silence = now - self.last_data
        self._now = self.last_data = now
        for event in events:
            self._event(event)
            if self._next.events:
                self._catch_up()
        return self._take_actions()

    def malformed(self, reason: str, now: float) -> None:
        """Count a message that could not be decoded."""
        self.last_data = now
        self._count_malformed(reason, now)

    def _count_malformed(self, reason: str, now: float) -> None:
        if self._next.events:  # It is of the next series too, as far as anybody can tell.
            self._next.add(reason, now)
            return
        ledger = self.series.ledger if self.series is not None else self.between
        ledger.received += 1
        ledger.malformed[reason] += 1

    def tick(self, now: float) -> list[Action]:
        """Do what time asks for: give up gaps, end a series that is silent, end the wait for what is owed."""
        self._now = now
        series = self.series
        if series is not None:
            released = series.frames.tick(now)
            self._deliver(series, released)
            if released and series.all_came:
                self._close(series)
            elif self.state is State.FINISHING:
                if now >= self._deadline or (self._settle_by is not None and now >= self._settle_by):
                    self._close(series)
            elif self._is_silent(series.order):
                series.reason = f"no data for {series.order.quiet:g} s{' and no end message' * self.announced}"
                self._close(series, silent=True)
        elif self._order is not None and self._is_silent(self._order):
            self._end_unstarted(f"no data for {self._order.quiet:g} s", aborted=False)
        return self._take_actions()

    def stop(self, now: float, expected: int | None = None) -> list[Action]:
        """End the series after what is on its way. `expected` replaces the number of frames it was started with."""
        self._now = now
        match RULES[self.state, Happening.STOP]:
            case Act.CLOSE:
                self._end_unstarted("stopped before the first frame", aborted=False, expected=expected)
            case Act.FINISH:
                series = self.series
                assert series is not None
                series.reason = series.reason or "stopped by request"
                if expected is not None and not self.shared:
                    series.ledger.expected = expected
                    series.promised = True
                self._finish(series)
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

    def _event(self, event: Event) -> None:
        if self._next.events and self._is_next(event):
            self._postpone(event)
        elif type(event) is Frame:
            if RULES[self.state, Happening.FRAME] is Act.TAKE:
                self._take(event)
            else:
                self._begin_headless(event)
        elif type(event) is SeriesStart:
            self._header(event)
        elif type(event) is SeriesEnd:
            self._end(event)

    def _header(self, start: SeriesStart) -> None:
        if RULES[self.state, Happening.HEADER] is Act.SUPERSEDE:
            series = self.series
            assert series is not None
            repeated = self.state is State.RUNNING and series.repeats(start)
            if not repeated and not self._adopt(start, series):
                self._supersede(start, series)
            return
        order = self._order or self._unarmed(start)
        if order is None:
            self._leftovers.refused(start)
            return
        self._leftovers.header_came()
        first = None if start.position is None else start.position + 1
        frames = SharedFrames() if self.shared else Resequencer(first, *self._limits.of_gaps)
        series = self._begin(order, start, start.series, frames)
        self._announce(series)

    def _begin(self, order: Order, start: SeriesStart | None, key: str | None, frames: Resequencer) -> Series:
        series = self.series = Series(order, start, key, frames)
        series.ledger.shared = self.shared
        # How many come here of those that the order or the stream counts, nobody can tell.
        series.ledger.expected = None if self.shared else order.expected_of(start)
        self._order = None
        self._begun = False
        self._settle_by = None
        self.state = State.RUNNING
        return series

    def _announce(self, series: Series) -> None:
        self._begun = True
        self._actions.append(Begin(series, series.start))

    def _begin_headless(self, frame: Frame) -> None:
        left_over = self._is_left_over(frame)
        order = None if left_over else self._order or self._unarmed(None)
        if order is None:
            self.between.received += 1
            why = "left over from a series that closed" if left_over else "no series was armed"
            self.between.foreign[why] += 1
            self._leftovers.refused(frame)
            return
        if self.shared:
            self._begin(order, None, frame.series, SharedFrames())
            self._take(frame)
            return
        if not self.announced:
            limits = self._limits
            self._begin(order, None, frame.series, Resequencer(None, *limits.of_gaps, settle=limits.settle_seconds))
            self._take(frame)
            return
        first = self._leftovers.resumed_at(frame)
        series = self._begin(order, None, frame.series, Resequencer(first, *self._limits.of_gaps, wait=True))
        series.reason = "the header was lost" if first is None else "goes on after the series before fell silent"
        self._take(frame)

    def _is_left_over(self, frame: Frame) -> bool:
        armed = self._order is not None
        # Of a shared stream, a number and a position that go on may be of any series.
        in_doubt = self.shared and frame.series is None and (armed or frame.position is None)
        if self.announced and not in_doubt:
            return self._leftovers.has(frame, armed=armed)
        # A camera that nobody stops counts on from one order to the next: who arms wants what comes.
        if armed or self._silence >= self._limits.quiet_seconds:
            return False
        return self._leftovers.counts_on(frame)

    def _adopt(self, start: SeriesStart, series: Series) -> bool:
        """Whether this is the header that the frames so far had overtaken."""
        if self._begun or start.position is None or start.series != series.key:
            return False
        if not series.frames.follows(start.position):
            return False
        series.start = start
        series.reason = ""
        if not series.promised:
            series.ledger.expected = series.order.expected_of(start)
        self._deliver(series, series.frames.start_at(start.position + 1))
        self._look_whether_all_came(series)
        return True

    def _supersede(self, start: SeriesStart, series: Series) -> None:
        due = series.frames.next
        self._postpone(start)
        if start.position is not None and due is not None and start.position >= due:
            self._end_before(start.position, series)
        elif self.series is series and not differ(start.series, series.key):
            self._close(series)
        self._make_room(series)

    def _take(self, frame: Frame) -> None:
        series = self.series
        assert series is not None
        if (frame.series != series.key or series.end_position is not None) and not self._belongs(frame, series):
            return
        ledger, frames = series.ledger, series.frames
        if (self.shared or not self.announced) and frames.begins_anew(frame, self._now):
            self._postpone(frame)
            if self.series is series:
                self._close(series)
            return
        ledger.received += 1
        duplicates = frames.duplicates
        released = frames.push(frame, self._now)
        if frames.duplicates == duplicates:
            ledger.unique += 1
        else:
            ledger.duplicate += 1
        if not (released or self.announced) and series.enough_came:
            released = frames.settled()
        if released:
            self._deliver(series, released)
        self._look_whether_all_came(series)

    def _look_whether_all_came(self, series: Series) -> None:
        if series.all_came:
            self._close(series)
        elif self.state is State.FINISHING:
            self._finish(series)

    def _belongs(self, frame: Frame, series: Series) -> bool:
        """Whether the frame is one of the series that runs; otherwise it is counted as foreign, or postponed."""
        if differ(frame.series, series.key):
            late = self.announced and not is_later(str(frame.series), str(series.key))
            if late or self._leftovers.named(str(frame.series)):
                series.ledger.received += 1
                series.ledger.foreign["of another series"] += 1
                return False
        elif frame.position is None or series.end_position is None or frame.position < series.end_position:
            return True
        self._postpone(frame)
        self._make_room(series)
        return False

    def _end(self, end: SeriesEnd) -> None:
        series = self.series
        if series is None or RULES[self.state, Happening.END] is Act.IGNORE:
            self._leftovers.end_came(end)
            return
        first, due, position = series.frames.first, series.frames.next, end.position
        if differ(end.series, series.key) or (position is not None and first is not None and position < first):
            return  # The late end of a series that closed.
        series.end_seen, series.end_message = True, end.message
        series.fault = series.fault or end.error
        if position is not None and (due is None or position >= due):
            self._end_before(position, series)
        if self._next.events:
            self._make_room(series)
        else:
            self._finish(series)

    def _end_before(self, position: int, series: Series) -> None:
        """What lies at or behind `position` is not of this series, also if it has been taken for it."""
        if series.end_position is None or position < series.end_position:
            series.end_position = position
        beyond = series.frames.take_from(position)
        series.ledger.received -= len(beyond)
        series.ledger.unique -= len(beyond)
        for frame in beyond:
            self._postpone(frame)

    def _finish(self, series: Series) -> None:
        """Wait for what is owed, no longer than the limits allow; close at once when nothing is."""
        if self.series is not series:
            return  # It had to make room already.
        if self.state is not State.FINISHING:
            self.state = State.FINISHING
            self._deadline = self._now + self._limits.finish_seconds
        owed = series.owed()
        if owed == 0:
            self._close(series)
        else:
            # When nobody can know, each frame starts anew the short wait for silence.
            self._settle_by = self._now + self._limits.settle_seconds if owed is None else None

    # The next series.

    def _is_next(self, event: Event) -> bool:
        """Whether `event` is one of the next series, some of which has come. What is older than both is not."""
        series = self.series
        if series is None or type(event) is SeriesStart:
            return True
        if differ(event.series, series.key):
            return self._next.has_header_of(event.series) or not self._leftovers.named(str(event.series))
        end = series.end_position
        return end is not None and event.position is not None and event.position >= end

    def _postpone(self, event: Event) -> None:
        self._next.add(event, self._now)
        if self.series is not None and self._next.nbytes > self._limits.gap_bytes:
            self._close(self.series)

    def _make_room(self, series: Series) -> None:
        """Finish `series`, if it still runs, but let it hold up the next no longer than a gap may."""
        self._finish(series)
        self._deadline = min(self._deadline, self._now + self._limits.gap_seconds)

    def _catch_up(self) -> None:
        now = self._now
        while self._next.events and self.series is None:
            for event, came in self._next.take():
                self._now = came  # They have waited already: a gap among them lasts since then.
                if isinstance(event, str):
                    self._count_malformed(event, self._now)
                else:
                    self._event(event)
        self._now = now

    # The end of a series.

    def _is_silent(self, order: Order) -> bool:
        return order.quiet is not None and self._now - self.last_data >= order.quiet

    def _close(self, series: Series, *, silent: bool = False) -> None:
        if self._next.events and not (series.end_seen or series.all_came):
            series.reason = series.reason or "the next series began before the end of this one"
        self._deliver(series, series.frames.flush())
        series.frames.close(series.end_position)
        self._ended(series, silent=silent)

    def _discard(self, series: Series, reason: str) -> None:
        series.ledger.discarded["aborted"] += len(series.frames.flush())
        series.aborted = True
        series.reason = reason
        self._ended(series)

    def _ended(self, series: Series, *, silent: bool = False) -> None:
        series.settle()
        self._leftovers.ended(series, silent=silent)
        self._leave(series)

    def _end_unstarted(self, reason: str, *, aborted: bool, expected: int | None = None) -> None:
        """End a series that was armed and of which nothing came."""
        assert self._order is not None
        series = self._begin(self._order, None, None, Resequencer(None, *self._limits.of_gaps))
        series.reason = reason
        series.aborted = aborted
        if expected is not None and not self.shared:
            series.ledger.expected = expected
        self._leave(series)

    def _leave(self, series: Series) -> None:
        series.ledger.end()
        if not self._begun:
            self._announce(series)
        self.series = None
        self.state = State.IDLE
        self._actions.append(Finish(series))

    def _deliver(self, series: Series, frames: tuple[Frame, ...]) -> None:
        if not frames:
            return
        if not self._begun:
            self._announce(series)
        actions = self._actions
        last = actions[-1] if actions else None
        if type(last) is Deliver and last.series is series:
            last.frames.extend(frames)
        else:
            actions.append(Deliver(series, list(frames)))

    def _take_actions(self) -> list[Action]:
        self._catch_up()
        if self.series is not None:
            self.series.settle()
        actions, self._actions = self._actions, []
        return actions
