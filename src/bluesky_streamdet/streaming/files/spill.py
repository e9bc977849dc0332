"""The second file of a series, for frames that the first one can take no more.

It holds what had been handed to the first one and could not be read there yet, and all that came after. It is a file
like any other, with an account of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.events import Frame, payload_bytes
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.failing import failed
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.mending.recovering import mend
from bluesky_streamdet.streaming.files.paths import DataDirectory
from bluesky_streamdet.streaming.files.room import Room
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport

log = logging.getLogger(__name__)

SPILLED = "spilled to the second directory"
"""Why a frame is not in the file of its series, in the ledger."""


class Spill:
    """Opened when it is needed. path: of the file, once there is one. failure: why it takes no more either.

    handed: frames that it was given. readable: those of them that others can read.

    name: of the file, relative to the directory; another one is taken if there is such a file. make: makes the file.
    """

    def __init__(self, directory: DataDirectory, name: Path, make: Callable[[Path], SeriesFile]) -> None:
        self.path: Path | None = None
        self.failure: StreamdetError | None = None
        self.handed = self.readable = 0
        self._directory = directory
        self._name = name
        self._make = make
        self._file: SeriesFile | None = None
        self._room: Room | None = None

    def open(self, first: Frame, started: datetime, metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        """Begin the file; whether that went well is in `failure`."""
        try:
            path = self._directory.free_file(str(self._name.parent), self._name.name)
            self._directory.prepare(path)
            file = self._make(path)
            file.open(first, started, metadata, parameters)
        except StreamdetError as error:
            self.failure = error
            log.warning("the frames can't be spilled either: %s", error)
        else:
            self.path, self._file, self._room = path, file, Room(path)
            log.warning("frames are spilled to %s", path)

    def accepts(self, frame: Frame) -> bool:
        return self._file is None or self._file.accepts(frame)

    def write(self, frames: Sequence[Frame]) -> None:
        """Append frames, as long as nothing has failed."""
        self.handed += len(frames)
        if self._file is None or self._room is None or self.failure is not None:
            return
        try:
            self._room.take(sum(map(payload_bytes, frames)))
            self._file.write(frames)
        except (StreamdetError, OSError) as error:
            self._fail(error)

    @property
    def is_open(self) -> bool:
        return self._file is not None and self._file.is_open

    def note(self, parameters: Mapping[str, Any]) -> None:
        """Keep parameters that came late beside the open file. Raises `OSError`."""
        assert self._file is not None
        self._file.note(parameters)

    def flush(self) -> None:
        """Make what was written readable."""
        if self._file is None or self.failure is not None:
            return
        try:
            self.readable = self._file.flush()
        except StreamdetError as error:
            self._fail(error)

    def close(self, report: SeriesReport, late: Mapping[str, Any]) -> None:
        """Close the file, with an account of what it holds. report: of the series. late: parameters that came late."""
        if self._file is None or not self.is_open:
            return
        ledger = LedgerReport(received=self.readable, unique=self.readable, written=self.readable)
        of = f"the first {report.ledger.written} frames of series {report.id} are in {report.file}"
        if not report.ledger.written:
            of = f"no frame of series {report.id} is in another file"
        reason = "; ".join(one for one in (str(self.failure or ""), f"this is the rest: {of}", report.reason) if one)
        own = {"file": str(self.path), "spill": None, "outcome": Outcome.INCOMPLETE, "reason": reason}
        whole = report.model_copy(update={**own, "ledger": ledger})
        try:
            self._file.close(whole, late)
        except StreamdetError as error:
            self.failure = self.failure or error
            log.warning("the file that frames were spilled to: %s", error)
            mend(self._file.path, whole)

    def _fail(self, error: Exception) -> None:
        assert self._file is not None and self.path is not None
        self.failure = error if isinstance(error, StreamdetError) else failed(self.path, "written", error)
        self._file.forget_unflushed()
        self.readable = self._file.readable
        log.warning("frames can be spilled no more: %s", error)
