"""Where files go and what they are called: path providers, ours or ophyd-async's.

A path provider is called with the device's name for each file, and returns something with `directory_path` and
`filename` (without suffix). A relative directory lies inside the service's data directory; an absolute one has to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath, PurePosixPath
from typing import Protocol
from uuid import uuid4

from bluesky_streamdet.documents import file_uri


class PathChoice(Protocol):
    """What a path provider returns; ophyd-async's `PathInfo` is one too."""

    @property
    def directory_path(self) -> PurePath: ...
    @property
    def filename(self) -> str: ...
    @property
    def directory_uri(self) -> str: ...


class PathProvider(Protocol):
    def __call__(self, datakey_name: str | None = None) -> PathChoice: ...


@dataclass(frozen=True, slots=True)
class PathInfo:
    """directory_uri: where readers find that directory, empty when the path map or the path itself says so."""

    directory_path: PurePath
    filename: str
    directory_uri: str = ""


class SessionPaths:
    """Files in folders of a proposal and a session: `PROPOSAL/SESSION/DEVICE_DATE_TIME_xxxxxx.h5`.

    Either may be left out; a session named "today" is the date of each file. `proposal` and `session` may be set at any
    time, and count from the next file on. clock: the time, for names.
    """

    def __init__(
        self,
        proposal: str = "",
        session: str = "today",
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self.proposal = proposal
        self.session = session
        self._clock = clock

    def __call__(self, datakey_name: str | None = None) -> PathInfo:
        now = self._clock()
        session = f"{now:%Y-%m-%d}" if self.session == "today" else self.session
        # The time alone may repeat; and no file is ever overwritten.
        name = f"{datakey_name or 'frames'}_{now:%Y%m%d_%H%M%S}_{uuid4().hex[:6]}"
        return PathInfo(PurePosixPath(self.proposal) / session, name)

    def __repr__(self) -> str:
        return f"SessionPaths(proposal={self.proposal!r}, session={self.session!r})"


class StaticPaths:
    """All files in one directory, named after the device and numbered by time as `SessionPaths` does."""

    def __init__(self, directory: str) -> None:
        self._directory = PurePosixPath(directory)
        self._names = SessionPaths(session="")

    def __call__(self, datakey_name: str | None = None) -> PathInfo:
        return PathInfo(self._directory, self._names(datakey_name).filename)

    def __repr__(self) -> str:
        return f"StaticPaths({str(self._directory)!r})"


def readers_uri(file: str, choice: PathChoice, path_map: Mapping[str, str]) -> str:
    """The URI of a file for those who read it.

    The path map decides; without one the provider's own URI of the directory does, as ophyd-async has it.
    """
    directory_uri = choice.directory_uri
    if path_map or not directory_uri:
        return file_uri(file, path_map)
    return f"{directory_uri.rstrip('/')}/{PurePosixPath(file).name}"
