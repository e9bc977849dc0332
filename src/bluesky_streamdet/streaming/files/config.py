"""Where files go, what they are called, what is in them, and whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from bluesky_streamdet.streaming.endpoints import Section


class FileConfig(Section):
    """Where files go and how they are called.

    directory: no file is written outside of it. name: of series that nobody named; {detector}, {id} and {date} are
    filled in. stream_names: whether the stream may name its file (inside the directory all the same).
    replace: whether an existing file may be overwritten by a series that the stream started.
    append: whether such a series goes on in an existing file, behind the frames that it has.
    flush_seconds: at most so long after a frame has been written can others read it.
    also_at: path at which readers of older files look for the frames, besides where they are; None for none.

    layout: where in the file each thing goes, of series that name none: one that is shipped, or a key of `layouts`.
    layouts: the beamline's own, each a YAML file. frames_per_file: 0 for one file; otherwise a series goes on in files
    of so many frames each, and a master file shows them as one.

    swmr: whether others can read a file while it grows; "auto" does without on network file systems, which SWMR was not
    made for. locking: HDF5's lock on the file while it is written; "auto" tries, and does without where the file system
    has none or a reader has it.
    owner, group, mode: of new files, as names or numbers, and as octal text such as "0640"; folder_mode: of new
    folders. least_free_megabytes: a series is refused when less than this would be left. spill: a second directory, for
    frames that the first can take no more. hook: a command that is run when a series has been closed, each argument
    with {file}, {id}, {detector} and {outcome} filled in; it may take hook_seconds.
    """

    directory: Path = Path("data")
    name: str = "{detector}_{id}"
    stream_names: bool = False
    replace: bool = False
    append: bool = False
    flush_seconds: float = Field(default=0.1, ge=0)
    also_at: str | None = Field(default=None, pattern=r"^(/[A-Za-z0-9_.-]+){2,}$")
    layout: str = "nexus"
    layouts: dict[str, Path] = {}
    frames_per_file: int = Field(default=0, ge=0)
    swmr: Literal["auto", "on", "off"] = "auto"
    locking: Literal["auto", "on", "off"] = "auto"
    owner: str | int | None = None
    group: str | int | None = None
    mode: str | None = Field(default=None, pattern=r"^0?[0-7]{3}$")
    folder_mode: str | None = Field(default=None, pattern=r"^0?[0-7]{3,4}$")
    least_free_megabytes: float = Field(default=100.0, ge=0)
    spill: Path | None = None
    hook: list[str] = []
    hook_seconds: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _replaces_or_appends(self) -> Self:
        if self.replace and self.append:
            raise ValueError("replace and append exclude each other; choose one")
        return self
