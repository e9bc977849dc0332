"""A run of the hardware: armed, triggered, stopped, and how far it is."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_int64, c_uint32
from dataclasses import dataclass
from typing import NamedTuple

from bluesky_streamdet.core.errors import Busy, RequestRefused
from bluesky_streamdet.xspress3.abi import TimingSetup
from bluesky_streamdet.xspress3.calls import Calls
from bluesky_streamdet.xspress3.constants import (
    MAX_DEBOUNCE,
    TIME_A_DEBOUNCE_SHIFT,
    TIME_STATUS_FRAME,
    AcquireInPause,
    ErrorFlag,
    TimeStatus,
)
from bluesky_streamdet.xspress3.timing import FrameGenerator, Setup, Timing

MASTER = 0
"""The card with the frame generator, whose veto the others follow, and which alone is triggered."""
_EVERY = -1
ALL_WELL = ErrorFlag(0)
_COUNTS_EDGES_FROM = 4
"""The version of the frame generator that counts several edges into a frame."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    complete: frames that all cards have finished, and that can be read. furthest: frames that have begun in the card
    that is the furthest. flags: what went wrong so far.
    """

    complete: int = 0
    furthest: int = 0
    flags: ErrorFlag = ALL_WELL


@dataclass(frozen=True)
class Overrun:
    """Frames that were overwritten before they were acknowledged, in the channel that lost most, and the first one."""

    frames: int
    first: int


class Activity(NamedTuple):
    """What the first card is doing now. frame: the one that it takes or took last, modulo 2^24."""

    frame: int
    status: TimeStatus


@dataclass
class Run:
    """What was armed last. triggers: sent so far. open_frame: there is one that a release ends. stopped: by `stop`."""

    timing: Timing
    setup: Setup
    triggers: int = 0
    open_frame: bool = False
    last_gate_seen: bool = False
    stopped: bool = False


class Acquisition:
    """The state of the hardware of one system. Who calls from several threads holds the lock of `Calls`."""

    def __init__(self, calls: Calls, cards: int, channels: int) -> None:
        self._calls = calls
        self._cards = cards
        self._channels = channels
        self.run: Run | None = None

    @property
    def running(self) -> bool:
        """Whether frames of the run that was armed last are still to come."""
        run = self.run
        return run is not None and not run.stopped and self.progress().complete < run.timing.total

    def refuse_while_running(self, wish: str) -> None:
        """Raises `Busy`, for `wish`."""
        if self.running:
            raise Busy(f"{wish}: frames are being taken.", "Wait for the last one, or stop first.")

    def arm(self, timing: Timing, setup: Setup, capacity: int) -> None:
        """Make ready for `timing`, whose `setup` this is; frames without triggers begin at once.

        capacity: frames that fit into the memory. The format of the histograms has to be set. When a step fails, the
        hardware is stopped.
        """
        self._check_generator(setup.generator)
        self.run = None
        try:
            self._calls("xsp3_histogram_clear", 0, self._channels, 0, min(timing.total, capacity))
            self._set_timing(setup)
            # The run is known before its start: from then on there may be something to stop.
            self.run = Run(timing, setup)
            for card in range(MASTER + 1, self._cards):
                # They have to be waiting for the master's veto when it gives it.
                self._calls("xsp3_histogram_start", card)
            self._calls("xsp3_histogram_start" if setup.starts else "xsp3_histogram_arm", MASTER)
        except Exception:
            self.run = None
            self._calls.raw("xsp3_histogram_stop", _EVERY)
            raise

    def _check_generator(self, generator: FrameGenerator | None) -> None:
        if generator is None:
            return
        version = self._calls("xsp3_has_itfg", MASTER)
        if version < 1:
            raise RequestRefused("This firmware has no generator of frames.", "Use mode gate or software_timed.")
        if generator.acquire is not AcquireInPause.OFF and version < _COUNTS_EDGES_FROM:
            raise RequestRefused(
                f"This firmware's frame generator, version {version}, does not count several triggers into a frame: "
                f"that takes version {_COUNTS_EDGES_FROM}."
            )

    def _set_timing(self, setup: Setup) -> None:
        if self._cards == 1:
            self._calls("xsp3_set_glob_timeA", MASTER, setup.register)
            self._calls("xsp3_set_glob_timeFixed", MASTER, 0)
        else:
            # It makes the further cards follow the first one's veto, which each generation does in its own way.
            timing = TimingSetup(
                t_src=setup.source,
                inv_f0=setup.invert_frame_zero,
                inv_veto=setup.invert,
                debounce=setup.debounce,
                override_debounce_other=setup.follower_debounce,
            )
            self._calls("xsp3_set_timing", ctypes.byref(timing))
            self._debounce_followers(setup.follower_debounce)
        generator = setup.generator
        if generator is None:
            return
        numbers = (generator.frames, generator.ticks, generator.trigger, generator.gap)
        if generator.acquire is AcquireInPause.OFF:
            self._calls("xsp3_itfg_setup", MASTER, *numbers)
        else:
            self._calls("xsp3_itfg_setup2", MASTER, *numbers, generator.acquire, 0, 0)

    def _debounce_followers(self, cycles: int) -> None:
        """See to it that the further cards debounce as long as wanted: for the SDK, an override by 0 may be none."""
        for card in range(MASTER + 1, self._cards):
            register = c_uint32()
            self._calls("xsp3_get_glob_timeA", card, ctypes.byref(register))
            wanted = register.value & ~(MAX_DEBOUNCE << TIME_A_DEBOUNCE_SHIFT) | cycles << TIME_A_DEBOUNCE_SHIFT
            if wanted != register.value:
                self._calls("xsp3_set_glob_timeA", card, wanted)

    def trigger(self) -> None:
        """Send one software trigger. Raises `RequestRefused` when none is awaited."""
        run = self._triggered_run("A trigger")
        if run.triggers >= run.timing.triggers:
            raise RequestRefused(f"All {run.timing.triggers} triggers of this series have been sent.")
        if not self._awaits_trigger(run):
            raise Busy(
                f"Trigger {run.triggers + 1} comes too early: the frame before it is still being taken.",
                "Wait until the detector is ready for a trigger.",
            )
        self._calls("xsp3_histogram_continue", MASTER)
        run.triggers += 1
        if run.timing.mode == "software_timed":
            run.open_frame = True
        else:
            # The pair is one pulse; how long it lasts means nothing.
            self._calls("xsp3_histogram_pause", MASTER)

    def release(self) -> None:
        """End the frame that a trigger began. Raises `RequestRefused` when there is none."""
        run = self._triggered_run("A release")
        if not run.open_frame:
            raise RequestRefused("There is no frame to end.", "In mode software_timed, a trigger begins one.")
        self._calls("xsp3_histogram_pause", MASTER)
        run.open_frame = False

    @property
    def ready_for_trigger(self) -> bool:
        """Whether a software trigger is awaited now."""
        run = self.run
        return (
            run is not None
            and not run.stopped
            and run.timing.triggered_by_software
            and run.triggers < run.timing.triggers
            and self._awaits_trigger(run)
        )

    def _awaits_trigger(self, run: Run) -> bool:
        if run.timing.mode == "software_timed":
            return not run.open_frame
        # The generator says it itself; the count of frames lags behind it.
        return TimeStatus.PAUSED in self.activity().status

    def _triggered_run(self, what: str) -> Run:
        if self.run is None or self.run.stopped:
            raise RequestRefused(f"{what} is not awaited: nothing is armed.", "Arm first.")
        if not self.run.timing.triggered_by_software:
            raise RequestRefused(f"{what} is not awaited in mode {self.run.timing.mode}.", "Arm in mode software.")
        return self.run

    def stop(self) -> None:
        """End the run, and let the hardware hand over what it still holds. Harmless when there is none."""
        if self.run is not None and not self.run.stopped:
            self._calls("xsp3_histogram_stop", _EVERY)
            self.run.stopped = True
            self.run.open_frame = False

    def progress(self) -> Progress:
        """How far the run is, or how far it came after it ended."""
        if self.run is None:
            return Progress()  # a Mini takes the question for an error before it was armed
        flags, furthest = c_int(), c_int64()
        complete = self._calls("xsp3_scaler_check_progress_details", ctypes.byref(flags), 1, ctypes.byref(furthest))
        return Progress(complete, furthest.value, ErrorFlag(flags.value))

    def overrun(self) -> Overrun:
        """Frames lost because nobody acknowledged those before them in time."""
        if self.run is None:
            return Overrun(0, 0)
        first = c_int64()
        frames = self._calls("xsp3_histogram_get_circ_overrun", _EVERY, ctypes.byref(first))
        return Overrun(frames, first.value if frames else 0)

    def activity(self) -> Activity:
        """What the first card is doing."""
        register = c_uint32()
        self._calls("xsp3_get_glob_time_statA", MASTER, ctypes.byref(register))
        known = TimeStatus.COUNTING | TimeStatus.RUNNING | TimeStatus.PAUSED | TimeStatus.FINISHED
        return Activity(register.value & TIME_STATUS_FRAME, TimeStatus(register.value) & known)

    @property
    def last_frame_is_over(self) -> bool:
        """Whether the last frame has ended, but counts as complete only at the next one, and so at `stop`.

        That is so where frames last as long as what comes in: nothing else says that no further one will come. Of a
        gate it is known only where the hardware's status tells of gates, which is documented for the frame generator
        alone; otherwise False, and who gates has to stop.
        """
        run = self.run
        if run is None or run.stopped or run.setup.generator is not None:
            return False
        if run.timing.mode == "software_timed":
            return run.triggers >= run.timing.triggers and not run.open_frame
        frame, status = self.activity()
        if TimeStatus.RUNNING not in status:
            return False
        last = run.timing.total - 1
        if TimeStatus.COUNTING in status:
            run.last_gate_seen |= frame == last & TIME_STATUS_FRAME
            return False
        # The number of the frame changes when a gate opens; but the very first one has to be seen, or to leave data.
        moved_on = 0 < last & TIME_STATUS_FRAME == frame
        return moved_on or run.last_gate_seen or self.progress().furthest > last

    def is_busy(self) -> bool:
        """Whether events are still on their way into the memory; of no meaning on a Mini."""
        return self._calls("xsp3_histogram_is_any_busy") > 0
