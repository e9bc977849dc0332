"""Where a series goes: a file of the name that a client, the stream or the configuration gives it, and its writer."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from uuid import uuid4

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.events import SeriesStart
from bluesky_streamdet.streaming.config import PlaneConfig
from bluesky_streamdet.streaming.files import appending
from bluesky_streamdet.streaming.files.paths import DataDirectory, fill_in
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.writer import SeriesWriter

log = logging.getLogger(__name__)


class Targets:
    """Makes the writers of one detector's series."""

    def __init__(self, config: PlaneConfig) -> None:
        self._config = config
        self._directory = DataDirectory(config.files.directory)

    def armed(self, id: str, request: ArmRequest) -> SeriesWriter:
        """Of a series that a client asked for. Raises `PathRefused` or `FileTaken`."""
        path = None
        if request.save:
            path = self._path(id, request.directory, request.name or self._config.files.name, request)
        return self._writer(id, path, request)

    def unarmed(self, id: str, start: SeriesStart | None) -> SeriesWriter:
        """Of a series that the stream started; what can't be named as it should is called otherwise, and says why."""
        files = self._config.files
        request = ArmRequest(id=id, replace=files.replace, append=files.append)
        note, failure, path = "", None, None
        if self._config.unarmed == "forward" or (start is not None and not start.save):
            return self._writer(id, None, request)
        proposed = start.filename if start is not None and files.stream_names else None
        if proposed or files.append:
            try:
                return self._writer(id, self._path(id, None, proposed or files.name, request, bool(proposed)), request)
            except StreamdetError as error:
                whose = "the stream's own file name" if proposed else "the file"
                note = f"{whose} was refused: {error.message}"
                log.warning("series %s: %s", id, note)
        try:
            path = self._directory.free_file(None, fill_in(files.name, self._config.detector, id))
            self._directory.prepare(path)
        except StreamdetError as error:
            path, failure = None, error
        return self._writer(id, path, ArmRequest(id=id), note, failure)

    def _path(self, id: str, directory: str | None, name: str, request: ArmRequest, verbatim: bool = False) -> Path:
        """The file of a name, which is none with places to fill in when it is taken `verbatim`."""
        name = name if verbatim else fill_in(name, self._config.detector, id)
        path = self._directory.file(directory, name, existing=request.replace or request.append)
        self._directory.prepare(path)
        if request.append and path.exists():
            appending.look(path, self._config.detector, id, request.frames_per_event)
        return path

    def _writer(
        self, id: str, path: Path | None, request: ArmRequest, note: str = "", failure: StreamdetError | None = None
    ) -> SeriesWriter:
        return SeriesWriter(id, self._config.detector, path, request, note, failure, self._config.files.also_at)


def new_id() -> str:
    """Sorts by time, and is unique among services that share a data directory."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid4().hex[:6]}"
