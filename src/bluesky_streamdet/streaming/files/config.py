"""Where files go, what they are called, what is in them, and whose they are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from bluesky_streamdet.core.errors import ConfigError, PathRefused
from bluesky_streamdet.streaming.endpoints import Section
from bluesky_streamdet.streaming.files.layouts import Layouts
from bluesky_streamdet.streaming.files.ownership import group_number, user_number
from bluesky_streamdet.streaming.files.several.naming import fill_in

PLACE = re.compile(r"\{(file|id|detector|outcome)\}")
"""What is filled in in the command that is run for a closed series."""


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

    swmr: whether files are written by SWMR, which keeps them whole when the writer is killed; "auto" does without on
    network file systems, which SWMR was not made for. locking: whether HDF5 locks a
    file that it opens to write: then a viewer that has it open ends a series that would go on in it, and one that is
    written without SWMR is closed to readers who heed locks.
    owner, group, mode: of new files, as names or numbers, and as octal text such as "0640"; folder_mode: of new
    folders. least_free_megabytes: a series is refused when less than this would be left. spill: a second directory, for
    frames that the first can take no more. hook: a command that is run in the data directory when a series with a
    file has been closed: a list, without a shell, each argument with {file}, {id}, {detector} and {outcome} filled in;
    it may take hook_seconds.
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
    locking: Literal["on", "off"] = "off"
    owner: str | int | None = None
    group: str | int | None = None
    mode: str | None = Field(default=None, pattern=r"^0?[0-7]{3}$")
    folder_mode: str | None = Field(default=None, pattern=r"^0?[0-7]{3,4}$")
    least_free_megabytes: float = Field(default=100.0, ge=0)
    spill: Path | None = None
    hook: list[str] = []
    hook_seconds: float = Field(default=60.0, gt=0)

    @field_validator("swmr", "locking", mode="before")
    @classmethod
    def _as_yaml_has_it(cls, choice: object) -> object:
        return {True: "on", False: "off"}[choice] if isinstance(choice, bool) else choice

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        try:
            fill_in(name, "detector", "id")
        except PathRefused as error:
            raise ValueError(str(error).removesuffix(".")) from error
        if os.path.normpath(name).startswith(".."):
            raise ValueError("it leads out of the data directory")
        return name

    @field_validator("mode", "folder_mode", mode="before")
    @classmethod
    def _is_quoted(cls, mode: object) -> object:
        if isinstance(mode, int):  # YAML takes 0640 as octal, and 640 as it is: nobody can tell what was meant.
            raise ValueError('put it between quotes, such as "0640"')
        return mode

    @field_validator("owner")
    @classmethod
    def _is_a_user(cls, owner: str | int | None) -> str | int | None:
        if owner is not None:
            user_number(owner)
        return owner

    @field_validator("group")
    @classmethod
    def _is_a_group(cls, group: str | int | None) -> str | int | None:
        if group is not None:
            group_number(group)
        return group

    @field_validator("hook")
    @classmethod
    def _is_a_command(cls, hook: list[str]) -> list[str]:
        if hook and (not hook[0] or PLACE.search(hook[0])):
            raise ValueError("it begins with the name of a program")
        for argument in hook:
            if set(PLACE.sub("", argument)) & set("{}\0"):
                raise ValueError(f"{argument!r}: allowed in braces: {{file}}, {{id}}, {{detector}}, {{outcome}}")
        return hook

    @field_validator("layouts")
    @classmethod
    def _are_layouts(cls, own: dict[str, Path]) -> dict[str, Path]:
        own = {name: path.expanduser().absolute() for name, path in own.items()}
        try:
            Layouts("nexus", own)
        except ConfigError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return own

    @model_validator(mode="after")
    def _knows_its_layout(self) -> Self:
        try:
            Layouts(self.layout, self.layouts)
        except ConfigError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return self

    @model_validator(mode="after")
    def _replaces_or_appends(self) -> Self:
        if self.replace and self.append:
            raise ValueError("replace and append exclude each other; choose one")
        if self.append and self.frames_per_file:
            raise ValueError("append and frames_per_file exclude each other, as a series of several files has its own")
        return self
