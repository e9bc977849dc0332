"""The detector's settings as files: the SDK writes and reads a directory of them."""

from __future__ import annotations

import os
from pathlib import Path

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.xspress3.calls import Calls


def save(calls: Calls, directory: Path | str, *, overwrite: bool = False) -> None:
    """Write the settings into `directory`, which has to exist, and to be empty unless `overwrite`.

    Raises `ConfigError` for another directory, `HardwareFailed` when the SDK cannot write.
    """
    directory = _existing(directory)
    if not overwrite and any(directory.iterdir()):
        raise ConfigError(
            f"The directory {directory} is not empty: settings in it would be replaced.",
            "Name an empty one, or ask to overwrite.",
        )
    calls("xsp3_save_settings", os.fsencode(directory))


def restore(calls: Calls, directory: Path | str, *, force: bool = False) -> None:
    """Load the settings in `directory`. force: also those of another major revision of the firmware.

    Clocks are not among them. Raises `ConfigError` for a directory that is none, `HardwareFailed` for what the SDK
    refuses.
    """
    calls("xsp3_restore_settings", os.fsencode(_existing(directory)), int(force))


def _existing(directory: Path | str) -> Path:
    directory = Path(directory).expanduser().absolute()
    if not directory.is_dir():
        there = "is not a directory" if directory.exists() else "does not exist"
        raise ConfigError(f"The directory of settings {directory} {there}.", "Make it, or correct the name.")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise ConfigError(f"The directory of settings {directory} cannot be read by this user.")
    return directory
