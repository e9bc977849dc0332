"""When frames begin and end: what a user asks for, and what the SDK is told for it.

| mode             | a frame is                                           | triggers                               |
| ---------------- | ---------------------------------------------------- | -------------------------------------- |
| "internal"       | `exposure` long, and they follow one another at once | none                                   |
| "software"       | `exposure` long, after `trigger()`                   | one starts all frames, or each its own |
| "hardware"       | `exposure` long, after an edge at TTL_IN(1)          | one starts all frames, or each its own |
| "gate"           | as long as the input is high                         | each gate is one frame                 |
| "software_timed" | from `trigger()` to `release()`                      | each pair is one frame                 |

With `triggers_per_frame` above 1 a "hardware" frame lasts for so many edges, instead of for a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.streaming.endpoints import Section
from bluesky_streamdet.streaming.wording import in_words
from bluesky_streamdet.xspress3.constants import (
    GAP_CYCLES,
    GAP_DEBOUNCE,
    ITFG_MAX_FRAMES,
    MAX_DEBOUNCE,
    MAX_TICKS,
    NOMINAL_CLOCK_HZ,
    TIME_A_DEBOUNCE_SHIFT,
    AcquireInPause,
    GapMode,
    ItfgTrigger,
    TimeA,
    TimeSource,
)

Mode = Literal["internal", "software", "hardware", "gate", "software_timed"]
GateInput = Literal["ttl_veto", "ttl_both", "lvds_veto", "lvds_both", "idc"]

NOMINAL_PERIOD = 1 / NOMINAL_CLOCK_HZ
"""Seconds of a clock cycle; the hardware's own may differ, and is measured."""
GAPS = {mode: cycles * NOMINAL_PERIOD for mode, cycles in GAP_CYCLES.items()}
"""Seconds between two frames, at the nominal clock."""
_SLACK = 1e-12
"""Seconds; what is lost when a gap is written as a decimal number."""

_GATES = {
    "ttl_veto": TimeSource.TTL_VETO_ONLY,
    "ttl_both": TimeSource.TTL_BOTH,
    "lvds_veto": TimeSource.LVDS_VETO_ONLY,
    "lvds_both": TimeSource.LVDS_BOTH,
    "idc": TimeSource.IDC,
}
_ONE_TRIGGER = {
    "internal": ItfgTrigger.BURST,
    "software": ItfgTrigger.SOFTWARE_ONLY_FIRST,
    "hardware": ItfgTrigger.HARDWARE_ONLY_FIRST,
}
_TRIGGER_EACH = {"software": ItfgTrigger.SOFTWARE, "hardware": ItfgTrigger.HARDWARE}


class Timing(Section):
    """How a series is timed. Raises `ConfigError` for what does not fit together.

    exposure: live time of a frame in seconds, rounded to clock cycles; "gate" and "software_timed" measure it instead.
    frames: for each trigger, or in all without triggers. triggers: how many will come; frames or triggers is 1. gap:
    seconds from one frame to the next, 25e-9, 200e-9, 500e-9 or 1e-6; the next larger one is taken. A frame takes
    exposure and gap. triggers_per_frame: edges that are counted into one frame; there are `triggers` frames still.
    invert: count on the falling edge, or while the input is low. invert_frame_zero: the same for the input that goes
    back to the first frame. debounce: clock cycles, 0 to 255, that an input has to last. gate_input: which.
    """

    mode: Mode = "internal"
    exposure: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    frames: int = Field(default=1, ge=1, le=ITFG_MAX_FRAMES)
    triggers: int = Field(default=1, ge=1, le=ITFG_MAX_FRAMES)
    gap: float = Field(default=GAPS[GapMode.NS25], ge=0, allow_inf_nan=False)
    triggers_per_frame: int = Field(default=1, ge=1, le=MAX_TICKS)
    invert: bool = False
    invert_frame_zero: bool = False
    debounce: int = Field(default=80, ge=0, le=MAX_DEBOUNCE)
    gate_input: GateInput = "ttl_veto"

    @model_validator(mode="after")
    def _fits(self) -> Timing:
        if self.frames != 1 and self.triggers != 1:
            raise ConfigError(
                f"{self.frames} frames for each of {self.triggers} triggers is not possible.",
                "Either one trigger starts all frames, or each trigger one frame.",
            )
        if self.mode == "internal" and self.triggers != 1:
            raise ConfigError(
                f"triggers is {self.triggers}, but mode internal awaits none.", "Give frames, or another mode."
            )
        if self.mode in {"gate", "software_timed"} and self.frames != 1:
            raise ConfigError(
                f"frames is {self.frames}, but in mode {self.mode} each frame needs its own trigger.",
                f"Give triggers={self.frames}.",
            )
        if self.triggers_per_frame != 1 and (self.mode != "hardware" or self.frames != 1):
            raise ConfigError(
                f"triggers_per_frame is {self.triggers_per_frame}, which only mode hardware with frames=1 can have."
            )
        self.gap = GAPS[gap_mode(self.gap)]
        return self

    @property
    def total(self) -> int:
        """Frames of the series."""
        return self.frames * self.triggers

    @property
    def timed(self) -> bool:
        """Whether frames last for `exposure`, rather than for what comes in."""
        return self.mode in _ONE_TRIGGER and self.triggers_per_frame == 1

    @property
    def period(self) -> float:
        """Seconds from one frame to the next, when nothing has to be awaited in between."""
        return self.exposure + self.gap

    @property
    def triggered_by_software(self) -> bool:
        return self.mode in {"software", "software_timed"}


def timing_of(arguments: Mapping[str, Any]) -> Timing:
    """The timing of these settings. Raises `ConfigError` that says what is wrong with each."""
    try:
        return Timing.model_validate(dict(arguments))
    except ValidationError as error:
        raise ConfigError(in_words(error.errors(include_url=False), Timing)) from error


def gap_mode(gap: float) -> GapMode:
    """The shortest gap that is not below `gap` seconds. Raises `ConfigError` beyond the longest."""
    for mode, seconds in GAPS.items():
        if gap <= seconds + _SLACK:
            return mode
    raise ConfigError(
        f"gap is {gap:g} s, and the longest is {GAPS[GapMode.US1]:g} s.",
        "For more time between frames, let a trigger start each.",
    )


def ticks_of(exposure: float, clock_period: float) -> int:
    """`exposure` seconds in clock cycles, rounded. Raises `ConfigError` for less than one, or more than 32 bits."""
    ticks = math.floor(exposure / clock_period + 0.5)
    if ticks > MAX_TICKS:
        raise ConfigError(
            f"exposure is {exposure:g} s, and the longest is {math.floor(MAX_TICKS * clock_period * 1000) / 1000:g} s: "
            f"it is counted in cycles of {clock_period * 1e9:g} ns with 32 bits.",
            "Take several frames and add them.",
        )
    if ticks < 1:
        raise ConfigError(f"exposure is {exposure:g} s, less than a clock cycle of {clock_period:g} s.")
    return ticks


@dataclass(frozen=True)
class FrameGenerator:
    """What `xsp3_itfg_setup` is told. ticks: clock cycles of a frame, or edges when it acquires while it pauses."""

    frames: int
    ticks: int
    trigger: ItfgTrigger
    gap: GapMode
    acquire: AcquireInPause = AcquireInPause.OFF


@dataclass(frozen=True)
class Setup:
    """A timing in the terms of the SDK.

    starts: whether `xsp3_histogram_start` begins it, or `xsp3_histogram_arm`. exposure: as rounded, None when it is
    not known beforehand. gap: seconds between two frames. debounce: clock cycles. follower_debounce: of further cards,
    which take their frames from the first one's veto.
    """

    source: TimeSource
    generator: FrameGenerator | None
    starts: bool
    exposure: float | None
    gap: float
    debounce: int
    follower_debounce: int
    invert: bool
    invert_frame_zero: bool

    @property
    def register(self) -> int:
        """Timing register A of the only card; its other bits are the SDK's."""
        inversions = (TimeA.VETO_INV if self.invert else 0) | (TimeA.F0_INV if self.invert_frame_zero else 0)
        return int(self.source) | int(inversions) | self.debounce << TIME_A_DEBOUNCE_SHIFT


def setup_of(timing: Timing, clock_period: float = NOMINAL_PERIOD) -> Setup:
    """What the SDK has to be told for `timing`, at a clock of this period. Raises `ConfigError`."""
    gap = gap_mode(timing.gap)
    ticks = ticks_of(timing.exposure, clock_period) if timing.timed else None
    generator = None
    if timing.mode in _ONE_TRIGGER:
        generator = _generator(timing, ticks if ticks is not None else timing.triggers_per_frame, gap)
    return Setup(
        source=_source(timing),
        generator=generator,
        starts=not timing.triggered_by_software,
        exposure=None if ticks is None else ticks * clock_period,
        gap=GAP_CYCLES[gap] * clock_period,
        debounce=timing.debounce if timing.mode in {"hardware", "gate"} else 0,
        follower_debounce=GAP_DEBOUNCE[gap],
        invert=timing.invert,
        invert_frame_zero=timing.invert_frame_zero,
    )


def _source(timing: Timing) -> TimeSource:
    if timing.mode == "gate":
        return _GATES[timing.gate_input]
    return TimeSource.SOFTWARE if timing.mode == "software_timed" else TimeSource.INTERNAL


def _generator(timing: Timing, ticks: int, gap: GapMode) -> FrameGenerator:
    if timing.triggers_per_frame > 1:
        return FrameGenerator(timing.triggers, ticks, ItfgTrigger.HARDWARE, gap, AcquireInPause.ALL)
    trigger = _ONE_TRIGGER[timing.mode] if timing.triggers == 1 else _TRIGGER_EACH[timing.mode]
    return FrameGenerator(timing.total, ticks, trigger, gap)
