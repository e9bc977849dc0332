"""Settings in a directory, one file for the system and one for each channel; what `restore` reads, `save` has written.

The files are the simulation's own: JSON, where the real SDK writes registers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from bluesky_streamdet.streaming.endpoints import Section
from bluesky_streamdet.xspress3.abi import TRIGGER_B_FIELDS
from bluesky_streamdet.xspress3.constants import BINS_PER_MCA, NUM_WINDOWS, ErrorCode
from bluesky_streamdet.xspress3.simulation.channel import Channel, DeadTimeParameters
from bluesky_streamdet.xspress3.simulation.refusal import Refusal

SYSTEM_FILE = "system.json"

SomeSection = TypeVar("SomeSection", bound=Section)


class SystemSettings(Section):
    """What belongs to no channel. revision: of the firmware that saved it. energy: of dead-time corrections, keV."""

    generation: str
    revision: int
    run_flags: int
    energy: float | None = None


class ChannelSettings(Section):
    windows: list[tuple[int, int]] = Field(min_length=NUM_WINDOWS, max_length=NUM_WINDOWS)
    threshold: int = Field(ge=0, lt=BINS_PER_MCA)
    trigger: dict[str, int]
    dead_time: DeadTimeParameters

    def channel(self) -> Channel:
        trigger = dict.fromkeys(TRIGGER_B_FIELDS, 0) | self.trigger
        return Channel(self.threshold, trigger, self.dead_time, self.windows)


def save(directory: Path, system: SystemSettings, channels: list[Channel]) -> None:
    """Write all files, over those that are there. Raises `Refusal`."""
    if not directory.is_dir():
        raise Refusal(ErrorCode.CANNOT_OPEN_FILE, f"there is no directory {directory}")
    contents = {SYSTEM_FILE: system.model_dump()}
    for number, one in enumerate(channels):
        settings = ChannelSettings(
            windows=one.windows, threshold=one.threshold, trigger=one.trigger, dead_time=one.dead_time
        )
        contents[channel_file(number)] = settings.model_dump()
    try:
        for name, content in contents.items():
            (directory / name).write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise Refusal(ErrorCode.FILE_WRITE_FAILED, f"cannot write into {directory}: {error.strerror}") from error


def restore(
    directory: Path, channels: int, fits: Callable[[SystemSettings], bool]
) -> tuple[SystemSettings, list[Channel]]:
    """Read all files of a directory. Raises `Refusal` for one that is missing or unreadable, and when the system's
    settings don't fit.
    """
    if not directory.is_dir():
        raise Refusal(ErrorCode.CANNOT_OPEN_FILE, f"there is no directory {directory}")
    system = _read(directory / SYSTEM_FILE, SystemSettings)
    if not fits(system):
        raise Refusal(
            ErrorCode.ERROR,
            f"the settings in {directory} are of revision {system.revision:#x} of an {system.generation}, which is not "
            "what this is",
        )
    found = [_read(directory / channel_file(number), ChannelSettings) for number in range(channels)]
    return system, [one.channel() for one in found]


def channel_file(number: int) -> str:
    return f"channel_{number:02d}.json"


def _read(path: Path, kind: type[SomeSection]) -> SomeSection:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise Refusal(ErrorCode.CANNOT_OPEN_FILE, f"cannot open {path}") from error
    except (OSError, ValidationError) as error:
        raise Refusal(ErrorCode.FILE_READ_FAILED, f"cannot read {path}") from error
