"""What clients set on the Tango device, and what is asked of the service for it. Pure.

The attributes mean what they have always meant at their home: `ExposureTime` is the period of the frames, of which
`LatencyTime`, or the detector's own gap if that is longer, is taken off once to give the live time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from bluesky_streamdet.core.errors import ConfigError, PathRefused
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.xspress3.timing import GAPS, gap_mode, timing_of

LONGEST_GAP = max(GAPS.values())
SLACK = 1e-12
"""Seconds; what is lost when a latency is written as a decimal number."""


class TriggerMode(StrEnum):
    """The values of `TriggerMode`. The first three are the field's own."""

    SOFTWARE = "SOFTWARE"
    """A software trigger starts nFramesPerTrigger frames."""
    EXTERNAL_MULTI = "EXTERNAL_MULTI"
    """An edge at the trigger input starts nFramesPerTrigger frames."""
    EXTERNAL_MULTI_GATE = "EXTERNAL_MULTI_GATE"
    """A frame lasts as long as the gate is open."""
    INTERNAL = "INTERNAL"
    """Arm starts nFramesPerTrigger frames."""
    SOFTWARE_TIMED = "SOFTWARE_TIMED"
    """A frame lasts from SoftwareTrigger to SoftwareRelease."""


MODES: Mapping[str, str] = {
    TriggerMode.SOFTWARE: "software",
    TriggerMode.EXTERNAL_MULTI: "hardware",
    TriggerMode.EXTERNAL_MULTI_GATE: "gate",
    TriggerMode.INTERNAL: "internal",
    TriggerMode.SOFTWARE_TIMED: "software_timed",
}
"""How the service calls them."""
LEVELS = (TriggerMode.EXTERNAL_MULTI_GATE, TriggerMode.SOFTWARE_TIMED)
"""Modes in which not the exposure time, but whoever opens and closes, says how long a frame is."""


@dataclass(slots=True)
class Settings:
    """The attributes that say how the next series is to be. Times in seconds.

    file_name: of the file, relative to the data directory or absolute and inside of it; empty for none. write: whether
    the service writes that file, or leaves it to who receives the stream. number_taken: whether the name of a file that
    exists is numbered, rather than refused.
    """

    exposure_time: float = 0.1
    triggers: int = 1
    frames_per_trigger: int = 1
    latency_time: float = 0.0
    trigger_mode: str = TriggerMode.SOFTWARE
    file_name: str = ""
    overwritable: bool = False
    write: bool = True
    invert: bool = False
    debounce: int = 80
    triggers_per_frame: int = 1
    gate_input: str = "ttl_veto"
    number_taken: bool = False

    @property
    def total(self) -> int:
        """Frames of the whole series."""
        return self.triggers * self.frames_per_trigger

    @property
    def gap(self) -> float:
        """Seconds between two frames: the shortest that the detector offers which is not shorter than the latency."""
        return GAPS[gap_mode(min(self.latency_time, LONGEST_GAP))]

    @property
    def live_time(self) -> float:
        """Seconds of a frame in which the detector counts."""
        gap = self.gap
        return self.exposure_time - (self.latency_time if self.latency_time > gap + SLACK else gap)

    def timing(self) -> dict[str, Any]:
        """The arguments of the service's instruction "arm". Raises `ConfigError` for what does not fit together."""
        self._check()
        timing = {
            "mode": MODES[self.trigger_mode],
            "exposure": self.exposure_time if self.trigger_mode in LEVELS else self.live_time,
            "frames": self.frames_per_trigger,
            "triggers": self.triggers,
            "gap": self.gap,
            "triggers_per_frame": self.triggers_per_frame,
            "invert": self.invert,
            "debounce": self.debounce,
            "gate_input": self.gate_input,
        }
        # The service makes several bursts of what the hardware does in one.
        timing_of(
            timing | {"triggers": 1}
            if self.trigger_mode == TriggerMode.SOFTWARE and self.frames_per_trigger > 1
            else timing
        )
        return timing | {"save": bool(self.file_name), "filename": self.file_name}

    def request(self, number: int = 0) -> ArmRequest:
        """What is asked of the service's file writer. Raises `PathRefused`.

        number: added to the name of the file, when it is not 0.
        """
        path = PurePath(self.file_name)
        if number:
            path = path.with_name(f"{path.stem}_{number}{path.suffix}")
        try:
            return ArmRequest(
                directory=str(path.parent) if path.name else None,
                name=path.name or None,
                expected_frames=self.total,
                save=self.write and bool(self.file_name),
                replace=self.overwritable,
            )
        except ValidationError as error:
            raise PathRefused(
                f"{self.file_name[:60]!r} is no usable DestinationFileName: {error.errors()[0]['msg']}."
            ) from error

    def _check(self) -> None:
        if self.trigger_mode in LEVELS:
            if self.frames_per_trigger != 1:
                raise ConfigError(
                    f"nFramesPerTrigger is {self.frames_per_trigger}, but with TriggerMode {self.trigger_mode} each "
                    "opening is one frame.",
                    "Set nFramesPerTrigger to 1, and nTriggers to the number of frames.",
                )
            return
        if self.trigger_mode == TriggerMode.INTERNAL and self.triggers != 1:
            raise ConfigError(
                f"nTriggers is {self.triggers}, but TriggerMode INTERNAL knows no triggers.",
                "Set nTriggers to 1, and nFramesPerTrigger to the number of frames.",
            )
        if self.trigger_mode == TriggerMode.EXTERNAL_MULTI and self.triggers != 1 and self.frames_per_trigger != 1:
            raise ConfigError(
                f"nTriggers is {self.triggers} and nFramesPerTrigger is {self.frames_per_trigger}; after an edge the "
                "detector takes either one frame, or all.",
                "Set one of them to 1.",
            )
        if self.live_time <= 0:
            raise ConfigError(
                f"ExposureTime {self.exposure_time:g} s leaves nothing after LatencyTime {self.latency_time:g} s and "
                f"the detector's gap of {self.gap:g} s.",
                "Choose a longer exposure, or a shorter latency.",
            )
        if self.latency_time > LONGEST_GAP + SLACK and self.frames_per_trigger != 1:
            raise ConfigError(
                f"LatencyTime {self.latency_time:g} s is longer than {LONGEST_GAP:g} s, the longest gap between frames "
                "that follow one trigger.",
                "Choose a shorter latency, or trigger each frame.",
            )


def mode_of(text: str) -> TriggerMode:
    """Read a `TriggerMode`. Raises `ConfigError`."""
    try:
        return TriggerMode(text)
    except ValueError:
        raise ConfigError(f"There is no TriggerMode {text[:40]!r}.", f"Take {', '.join(TriggerMode)}.") from None
