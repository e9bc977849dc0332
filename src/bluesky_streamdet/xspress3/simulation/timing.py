"""What makes frames of time: the internal frame generator, a gate, or another card."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from bluesky_streamdet.xspress3.constants import (
    GAP_CYCLES,
    MAX_TICKS,
    AcquireInPause,
    GapMode,
    ItfgTrigger,
    TimeStatus,
)
from bluesky_streamdet.xspress3.simulation.config import BehaviourConfig
from bluesky_streamdet.xspress3.simulation.timeline import ENDLESS, Ticks, Timeline


class ItfgSetup(NamedTuple):
    """What `xsp3_itfg_setup2` is told. frames: 0 for no end. cycles: of a frame; or triggers of one, in a pause."""

    frames: int = 1
    cycles: int = 8000000
    trigger: ItfgTrigger = ItfgTrigger.BURST
    gap: GapMode = GapMode.NS25
    in_pause: AcquireInPause = AcquireInPause.OFF

    @property
    def counts_triggers(self) -> bool:
        """Whether frames are as long as it takes for `cycles` triggers to come."""
        return self.in_pause != AcquireInPause.OFF and self.trigger in {ItfgTrigger.SOFTWARE, ItfgTrigger.HARDWARE}


class FrameSource(Protocol):
    """Frames of one run of one card. All moments are clock cycles and never go back."""

    def enable(self, now: int, high: bool) -> None:
        """CountEnb goes high or low: `histogram_start` and `continue`, or `pause`."""
        ...

    def level(self, now: int, high: bool) -> None:
        """The trigger input goes high or low, debounced."""
        ...

    def begun(self, now: int) -> int:
        """Frames that have begun; the last of them may be under way."""
        ...

    def complete(self, now: int) -> int:
        """Frames that can be read."""
        ...

    def status(self, now: int) -> TimeStatus: ...

    def start(self, frame: int) -> int:
        """When a frame began that has."""
        ...

    def lengths(self, first: int, count: int, now: int) -> Ticks:
        """Clock cycles of frames that have begun, up to `now` for one that is under way."""
        ...

    def first_after(self, moment: int) -> int:
        """Number of the first frame that begins at `moment` or later."""
        ...

    def stop(self, now: int) -> None:
        """End the run; a frame under way is cut."""
        ...

    def limit(self, frames: int) -> None:
        """End the run with so many frames, forgetting those that have begun since."""
        ...


class _Frames:
    """What generator and gate have in common: a timeline, and a frame whose end nobody knows yet."""

    def __init__(self, behaviour: BehaviourConfig) -> None:
        self.timeline = Timeline()
        self._behaviour = behaviour
        self._opened: int | None = None
        self._stopped = False

    def begun(self, now: int) -> int:
        under_way = self._opened is not None and self._opened <= now
        return self.timeline.begun(now) + under_way

    def start(self, frame: int) -> int:
        if frame < self.timeline.total:
            return self.timeline.start(frame)
        assert self._opened is not None
        return self._opened

    def lengths(self, first: int, count: int, now: int) -> Ticks:
        lengths = np.empty(count, np.int64)
        done = 0
        while done < count:
            frame = first + done
            known = frame < self.timeline.total
            length, equal = self.timeline.lengths(frame) if known else (now - self.start(frame), 1)
            lengths[done : done + equal] = length
            done += equal
        lengths[-1] = min(lengths[-1], max(now - self.start(first + count - 1), 0))
        return np.minimum(lengths, MAX_TICKS)

    def first_after(self, moment: int) -> int:
        missed = self._opened is not None and self._opened < moment
        return self.timeline.first_after(moment) + missed

    def stop(self, now: int) -> None:
        if self._stopped:
            return
        self._stopped = True
        cut = self.timeline.cut(now)
        if self._opened is not None and self._opened < now:
            self._close(now)
            cut = True
        self._opened = None
        if cut and self._behaviour.partial == "drop":
            self.timeline.shorten(self.timeline.total - 1)

    def limit(self, frames: int) -> None:
        self._stopped = True
        self._opened = None
        self.timeline.shorten(frames)

    def _close(self, now: int) -> None:
        assert self._opened is not None
        if now > self._opened:
            self.timeline.add(self._opened, now - self._opened)
        self._opened = None


class Generator(_Frames):
    """ITFG, the internal frame generator."""

    def __init__(self, setup: ItfgSetup, behaviour: BehaviourConfig, now: int) -> None:
        super().__init__(behaviour)
        self.setup = setup
        self._enabled = False
        self._triggers = 0
        self.restart(now)

    def restart(self, now: int) -> None:
        """`xsp3_itfg_start`: generate all frames once more, counting on."""
        self._end = self.timeline.total + (self.setup.frames or ENDLESS)
        if self.setup.counts_triggers and self.setup.in_pause == AcquireInPause.ALL:
            self._opened, self._triggers = now, 0
        elif self.setup.trigger == ItfgTrigger.BURST and self._enabled:
            self._edge(now)

    def interrupt(self, now: int) -> None:
        """`xsp3_itfg_stop`: no more frames, while the system goes on."""
        self.stop(now)
        self._stopped = False
        self._end = self.timeline.total

    def enable(self, now: int, high: bool) -> None:
        # A pause means nothing to a frame: continue and pause together are one pulse.
        rises = high and not self._enabled
        self._enabled = high
        if rises and self.setup.trigger not in {ItfgTrigger.HARDWARE, ItfgTrigger.HARDWARE_ONLY_FIRST}:
            self._edge(now)

    def level(self, now: int, high: bool) -> None:
        wanted = self.setup.trigger in {ItfgTrigger.HARDWARE, ItfgTrigger.HARDWARE_ONLY_FIRST}
        if high and wanted and self._enabled:
            self._edge(now)

    def complete(self, now: int) -> int:
        return self.timeline.ended(now)

    def status(self, now: int) -> TimeStatus:
        if self._stopped:
            return TimeStatus(0)
        if self.complete(now) >= self._end:
            return TimeStatus.RUNNING | TimeStatus.FINISHED
        counting = self.begun(now) > self.complete(now)
        # Between the frames of a train, the gap, it isn't paused.
        awaited = not counting and self.timeline.ended(now) == self.timeline.total
        return TimeStatus.RUNNING | TimeStatus.COUNTING * counting | TimeStatus.PAUSED * awaited

    @property
    def gap(self) -> int:
        return GAP_CYCLES[self.setup.gap]

    def _edge(self, now: int) -> None:
        if self._stopped or self.timeline.total >= self._end:
            return
        if self.setup.counts_triggers:
            self._count(now)
        elif self._ready(now):
            alone = self.setup.trigger in {ItfgTrigger.SOFTWARE, ItfgTrigger.HARDWARE}
            count = 1 if alone else self._end - self.timeline.total
            self.timeline.add(now, self.setup.cycles, count, self.setup.cycles + self.gap)

    def _ready(self, now: int) -> bool:
        last = self.timeline.last
        return last is None or now >= last.start + last.frames * last.period

    def _count(self, now: int) -> None:
        if self._opened is None:
            self._opened, self._triggers = now, 0
            return
        if now <= self._opened:
            return
        self._triggers += 1
        if self._triggers >= self.setup.cycles:
            self._close(now)
            self._triggers = 0
            if self.timeline.total < self._end:
                self._opened = now + self.gap


class Gate(_Frames):
    """Frames last as long as a level: that of the input if `follows_input`, or CountEnb's alone."""

    def __init__(self, follows_input: bool, high: bool, behaviour: BehaviourConfig) -> None:
        super().__init__(behaviour)
        self._enabled = False
        self._high = high or not follows_input
        self._follows_input = follows_input

    def enable(self, now: int, high: bool) -> None:
        self._enabled = high
        self._look(now)

    def level(self, now: int, high: bool) -> None:
        if self._follows_input:
            self._high = high
            self._look(now)

    def complete(self, now: int) -> int:
        held = self._behaviour.completes == "next" and self._opened is None and not self._stopped
        return max(self.timeline.ended(now) - held, 0)

    def status(self, now: int) -> TimeStatus:
        if self._stopped:
            return TimeStatus(0)
        return TimeStatus.RUNNING | TimeStatus.COUNTING * (self._opened is not None)

    def _look(self, now: int) -> None:
        counts = self._enabled and self._high and not self._stopped
        if counts and self._opened is None:
            self._opened = now
        elif not counts and self._opened is not None:
            self._close(now)


class Follower:
    """A card that the first card's veto gates: the same frames, but those that had begun before it was started.

    Its frames are as long as the first card's, give or take a clock cycle. A debounce that is longer than the gap hides
    the gaps, so that all frames are one. master: the first card's frames, as soon as that is started.
    """

    def __init__(self, card: int, debounce: int, now: int) -> None:
        self.master: FrameSource | None = None
        self._card = card
        self._debounce = debounce
        self._since = now
        self._end: int | None = None

    def enable(self, now: int, high: bool) -> None:
        """Nothing: the first card's veto is all that it looks at."""

    def level(self, now: int, high: bool) -> None:
        """Nothing: its input is the first card's veto."""

    def begun(self, now: int) -> int:
        return 0 if self.master is None else self._counted(self.master.begun(now))

    def complete(self, now: int) -> int:
        if self.master is None or (self._merged and not self._is_over(self.master.status(now))):
            return 0
        return self._counted(self.master.complete(now))

    def status(self, now: int) -> TimeStatus:
        if self._end is not None:
            return TimeStatus(0)
        counting = TimeStatus(0) if self.master is None else self.master.status(now) & TimeStatus.COUNTING
        return TimeStatus.RUNNING | counting

    def start(self, frame: int) -> int:
        assert self.master is not None
        return self.master.start(frame + self._missed)

    def lengths(self, first: int, count: int, now: int) -> Ticks:
        assert self.master is not None
        if self._merged:
            last = self.master.begun(now) - 1
            end = self.master.start(last) + int(self.master.lengths(last, 1, now)[0])
            return np.full(count, min(end - self.start(0), MAX_TICKS))
        jitter = (5 * np.arange(first, first + count) + self._card) % 3 - 1
        return np.clip(self.master.lengths(first + self._missed, count, now) + jitter, 0, MAX_TICKS)

    def first_after(self, moment: int) -> int:
        return 0 if self.master is None else max(self.master.first_after(moment) - self._missed, 0)

    def stop(self, now: int) -> None:
        # A frame under way ends with the first card's, which is stopped before, or goes on.
        self._end = self.begun(now) if self._end is None else self._end

    def limit(self, frames: int) -> None:
        self._end = frames if self._end is None else min(self._end, frames)

    @property
    def _merged(self) -> bool:
        return isinstance(self.master, Generator) and self._debounce >= self.master.gap

    @property
    def _missed(self) -> int:
        assert self.master is not None
        return self.master.first_after(self._since)

    def _counted(self, frames: int) -> int:
        seen = max(frames - self._missed, 0)
        seen = min(seen, 1) if self._merged else seen
        return seen if self._end is None else min(seen, self._end)

    def _is_over(self, status: TimeStatus) -> bool:
        return self._end is not None or not status & TimeStatus.RUNNING or bool(status & TimeStatus.FINISHED)
