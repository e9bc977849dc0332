"""Which files may be written: only such as lie in the data directory, and only such as do not exist unless asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bluesky_streamdet.core.errors import FileTaken, PathRefused
from bluesky_streamdet.streaming.files.ownership import UNCHANGED, Ownership
from bluesky_streamdet.streaming.files.several.naming import SUFFIXES

LONGEST_NAME = 200
"""Bytes of a file name; the file system's own limit of 255 has to hold the journal's suffix too."""
EXISTS = "Choose another name, or ask to replace it, or to append to it."
"""What to do about a file that is there."""
RECORDS = Path(".streamdet", "series")
"""Where services keep what they know of their last series, below their data directory."""
MOST_FOLDERS = 50
"""Folders below the root; nobody means more."""


def record_name(detector: str, series: str) -> str:
    """Of the file in `RECORDS`. Detectors that share a data directory may have series of the same id."""
    return f"{detector}.{series}.json"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Makes paths inside of `root`, whatever a request or a stream may ask for. ownership: of new folders."""

    root: Path
    ownership: Ownership = UNCHANGED

    def file(self, directory: str | None, name: str, *, existing: bool = False) -> Path:
        """The absolute path of a file that may be written.

        directory: relative to the root, or absolute and inside of it. name: with or without one of `SUFFIXES`.
        existing: whether it may be a file that is there.
        Raises `PathRefused` for a path outside of the root or one that can be no file, `FileTaken` when it exists.
        """
        root = self.root.resolve()
        wanted = root / (directory or "") / name
        if not (str(wanted).isprintable() and name.strip("/. ")):
            raise PathRefused(
                f"{str(Path(directory or '', name))[:100]!r} is no usable file name.",
                "Take letters, digits, _ and -, and / for folders.",
            )
        if wanted.suffix not in SUFFIXES:
            wanted = wanted.with_name(wanted.name + SUFFIXES[0])
        path = self._resolved(wanted)
        if not path.is_relative_to(root) or path == root:
            linked = Path(os.path.normpath(wanted)).is_relative_to(root)
            raise PathRefused(
                f"The file {str(wanted)[:1000]!r} lies outside of the data directory {root}"
                f"{', as a link leads there' if linked else ''}.",
                "Give a path relative to the data directory, or change files.directory in the configuration.",
            )
        folders = len(path.relative_to(root).parts)
        if len(path.name.encode()) > LONGEST_NAME or wanted.stem in SUFFIXES or folders > MOST_FOLDERS:
            raise PathRefused(f"{path.name[:60]!r} is no usable file name.", "It is too long, or in too many folders.")
        if os.path.lexists(path) and not (existing and path.is_file()):
            if existing:
                raise FileTaken(f"{path} is there, and is no file.", "Choose another name.")
            raise FileTaken(f"The file {path} exists.", EXISTS)
        return path

    def free_file(self, directory: str | None, name: str) -> Path:
        """As `file`, but with a number added to the name while it is taken."""
        stem, suffix = os.path.splitext(name)
        if suffix not in SUFFIXES:
            stem, suffix = name, ""
        for number in range(10_000):
            try:
                return self.file(directory, f"{stem}_{number}{suffix}" if number else name)
            except FileTaken:
                continue
        raise FileTaken(f"Ten thousand files called {name} exist.", "Tidy up the data directory.")

    def prepare(self, path: Path) -> None:
        """Make the folders of `path`. Raises `PathRefused` when nothing can be written there."""
        try:
            self.ownership.make_folder(path.parent)
        except OSError as error:
            raise PathRefused(f"The folder {path.parent} can't be made: {error.strerror}.") from error
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PathRefused(f"The folder {path.parent} can't be written to.", "Mend its owner or mode.")

    @staticmethod
    def _resolved(path: Path) -> Path:
        try:
            return path.resolve()
        except (OSError, RuntimeError) as error:
            raise PathRefused(f"The path {str(path)!r} can't be resolved: {error}.") from error
