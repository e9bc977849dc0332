"""What can be asked of a simulated detector, by its control port or from Python, and what it says of itself.

On the wire each is a JSON object with the key "command", such as {"command": "arm", "frames": 100, "exposure": 0.01}.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from bluesky_streamdet.sim.faults import Tally

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]


class Arm(msgspec.Struct, frozen=True, tag_field="command", tag="arm", forbid_unknown_fields=True):
    """A series: `triggers` triggers of `frames` frames each.

    exposure: seconds of a frame. period: seconds from frame to frame; as long as the exposure unless given, and 0 for
    as fast as they can be sent. external: whether triggers come by cable, which the header says. pulse_period:
    seconds between the pulses of a simulated cable, which begin when the series is armed; without it, triggers come
    by the command, whoever sends it. filename: what the header proposes.
    """

    frames: Count = 1
    triggers: Count = 1
    exposure: Seconds = 0.1
    period: Seconds | None = None
    external: bool = False
    pulse_period: Seconds | None = None
    filename: Annotated[str, msgspec.Meta(max_length=1000)] = ""

    @property
    def frame_period(self) -> float:
        return self.exposure if self.period is None else self.period

    @property
    def total(self) -> int:
        """Frames of the whole series."""
        return self.frames * self.triggers


class Trigger(msgspec.Struct, frozen=True, tag_field="command", tag="trigger", forbid_unknown_fields=True):
    """Expose the frames of one trigger. One that comes during an exposure waits its turn."""


class Disarm(msgspec.Struct, frozen=True, tag_field="command", tag="disarm", forbid_unknown_fields=True):
    """End the series; its end message is sent. Nothing happens when none is armed."""


class Restart(msgspec.Struct, frozen=True, tag_field="command", tag="restart", forbid_unknown_fields=True):
    """As a power cycle: series and messages are counted anew. Refused while a series runs."""


class GetStatus(msgspec.Struct, frozen=True, tag_field="command", tag="status", forbid_unknown_fields=True):
    pass


class Quit(msgspec.Struct, frozen=True, tag_field="command", tag="quit", forbid_unknown_fields=True):
    """End the simulator."""


Command = Arm | Trigger | Disarm | Restart | GetStatus | Quit

State = Literal["idle", "armed", "exposing", "ending"]


class DetectorStatus(msgspec.Struct, frozen=True):
    """Where a simulated detector stands.

    series: the latest one, None before the first. triggers, frames: taken so far in it. total_frames, total_bytes:
    read out since the start, in encoded payload. waiting: whether nobody takes what is to be sent. tally: what
    happened to the frames of the latest series.
    """

    state: State
    series: str | None
    triggers: int
    frames: int
    total_frames: int
    total_bytes: int
    waiting: bool
    address: str
    tally: Tally
