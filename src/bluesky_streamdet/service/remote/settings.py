"""What a `RemoteWriter` is to do next: checked as it is given, and made into the request for one series."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bluesky_streamdet.core.errors import ConfigError, PathRefused
from bluesky_streamdet.streaming.endpoints import checked_address
from bluesky_streamdet.streaming.files.paths import LONGEST_NAME
from bluesky_streamdet.streaming.files.several.naming import SUFFIXES, fill_in
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.wording import in_words

LONGEST_PATH = 1000
"""Characters of a path, as in `ArmRequest`."""


class ByName(BaseModel, Mapping[str, Any]):
    """Values by name; a mapping too, as scripts for the client of the old writer have them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __getitem__(self, name: str) -> Any:
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # pydantic's gives pairs
        return iter(type(self).model_fields)

    def __len__(self) -> int:
        return len(type(self).model_fields)


def checked_file(value: Any) -> str:
    """The path of a file of ours, if it can be one on any machine. Raises `PathRefused`, `ValueError`."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError("it should be the path of a file")
    text = str(os.fspath(value))
    path = PurePosixPath(text)
    shown = repr(text[:100])
    if not (text.isprintable() and path.stem.strip("/. ")) or len(text) > LONGEST_PATH:
        raise PathRefused(f"{shown} is no usable path of a file.", f"Take at most {LONGEST_PATH} printable characters.")
    if path.suffix not in SUFFIXES:
        raise PathRefused(f"The file {shown} has no suffix of HDF5.", f"Let it end in {', '.join(SUFFIXES)}.")
    if ".." in path.parts or path.parts[0].startswith("~"):
        raise PathRefused(
            f"The path {shown} has a step that leads elsewhere.", "Write the whole path, without .. or ~."
        )
    if len(path.name.encode()) > LONGEST_NAME:
        raise PathRefused(f"The name {path.name[:60]!r} is too long.", f"Take at most {LONGEST_NAME} characters.")
    # The service fills in others; which places there are is the same. Raises for other braces and percent signs.
    fill_in(path.name, "detector", "id")
    return text


def checked_source(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it should be an address such as tcp://HOST:PORT")
    return checked_address(value)


def whole(value: Any) -> int:
    """A whole number, also one of NumPy. Raises `ValueError` for another kind, text among them."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ValueError("it should be a whole number") from None


def user(value: Any) -> int | None:
    """The number of a user; None for -1, which left it to the old writer too."""
    if value is None or whole(value) == -1:
        return None
    if whole(value) < 1:
        raise ValueError("it should be the number of a user, who is not root")
    return whole(value)


Count = Annotated[int, BeforeValidator(whole), Field(ge=0, le=1 << 53)]


class WriterSettings(ByName):
    """output_file: on the service's machine, absolute or relative to its data directory. dataset_name: of the frames;
    one that is new in a file that is there goes beside those that it has. n_frames: 0 for as many as come until `stop`.
    max_frames_per_file: 0 for one file, as has a series that one can take. parameters: metadata for the file.
    As the service is configured where they are None: connection_address of the camera; user_id, the number of the user
    whose the file shall be, where the service may give files away; layout of the file.
    """

    output_file: Annotated[str, BeforeValidator(checked_file)] = ""
    dataset_name: str = "data"
    n_frames: Count = 0
    connection_address: Annotated[str, BeforeValidator(checked_source)] | None = None
    user_id: Annotated[int | None, BeforeValidator(user)] = None
    max_frames_per_file: Count = 0
    layout: str | None = None
    parameters: dict[str, Any] = {}

    def changed(self, **changes: Any) -> Self:
        """The same with those that are not None. Raises `ConfigError` or `PathRefused`, which name what is wrong."""
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            new = type(self).model_validate({name: self[name] for name in self.model_fields_set} | given)
            # What the service would refuse of the words in it is refused here, by the same rules.
            new.request("checked")
        except ValidationError as error:
            raise ConfigError(in_words(error.errors(include_url=False), type(self))) from error
        return new

    def request(self, id: str) -> ArmRequest:
        """What a service is asked for a series of this id."""
        path = PurePosixPath(self.output_file)
        files = self._frames_per_file
        return ArmRequest(
            id=id,
            directory=str(path.parent) if path.parent.parts else None,
            name=path.name or None,
            expected_frames=self.n_frames or None,
            open_ended=not self.n_frames,
            add=not files,
            dataset=self.dataset_name,
            layout=self.layout,
            owner=self.user_id,
            frames_per_file=files,
            metadata=self.parameters,
        )

    @property
    def _frames_per_file(self) -> int:
        return 0 if 0 < self.n_frames <= self.max_frames_per_file else self.max_frames_per_file
