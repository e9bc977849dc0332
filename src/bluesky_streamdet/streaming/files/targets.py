"""Where a series goes: files of the name that a client, the stream or the configuration gives it, and its writer."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from uuid import uuid4

from bluesky_streamdet.core.errors import FileTaken, RequestRefused, StreamdetError
from bluesky_streamdet.core.events import SeriesStart
from bluesky_streamdet.streaming.config import PlaneConfig
from bluesky_streamdet.streaming.files import appending
from bluesky_streamdet.streaming.files.access import Access
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.layouts import Chosen, Layouts
from bluesky_streamdet.streaming.files.paths import DataDirectory
from bluesky_streamdet.streaming.files.room import Room, check_room
from bluesky_streamdet.streaming.files.several.naming import Name, fill_in
from bluesky_streamdet.streaming.files.several.parts import Part
from bluesky_streamdet.streaming.files.several.rolling import Rolling, RollingFile
from bluesky_streamdet.streaming.files.spill import Spill
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport
from bluesky_streamdet.streaming.writer import SeriesWriter

log = logging.getLogger(__name__)

MOST_OF_A_NAME = 10_000
"""Files that differ by a number behind their names only."""


class Targets:
    """Makes the writers of one detector's series.

    Raises `ConfigError` for layouts that can't be read, `PathRefused` if files can't belong to whom they should.
    """

    def __init__(self, config: PlaneConfig) -> None:
        self._config = config
        self._access = Access.of(config.files)
        self._access.ownership.check()
        self._layouts = Layouts(config.files.layout, config.files.layouts)
        self._least = round(config.files.least_free_megabytes * 1e6)
        self._frame_bytes: float | None = None

    def note(self, report: SeriesReport) -> None:
        """Learn from a series that has ended how large frames are."""
        if report.ledger.written:
            self._frame_bytes = report.statistics.bytes_written / report.ledger.written

    def armed(self, id: str, request: ArmRequest) -> SeriesWriter:
        """Of a series that a client asked for. Raises `PathRefused`, `FileTaken`, `NoRoom` or `RequestRefused`."""
        chosen = self._layouts.chosen(request.layout)
        if not request.save:
            return self._writer(id, None, request)
        self._access_of(request).ownership.check()
        name = fill_in(request.name or self._config.files.name, self._config.detector, id)
        place = self._place(id, request.directory, name, request)
        path = place.path if isinstance(place, Rolling) else place
        check_room(path.parent, self._least, request.expected_frames, self._frame_bytes)
        return self._writer(id, self._file(id, place, request, chosen), request)

    def unarmed(self, id: str, start: SeriesStart | None) -> SeriesWriter:
        """Of a series that the stream started; what can't be named as it should is called otherwise, and says why."""
        files = self._config.files
        request = ArmRequest(id=id, replace=files.replace, append=files.append)
        chosen = self._layouts.chosen(None)
        note = ""
        if self._config.unarmed == "forward" or (start is not None and not start.save):
            return self._writer(id, None, request)
        proposed = start.filename if start is not None and files.stream_names else None
        if proposed or files.append:
            try:
                # The stream's own name is none with places to fill in.
                name = Name(proposed) if proposed else fill_in(files.name, self._config.detector, id)
                return self._writer(id, self._file(id, self._place(id, None, name, request), request, chosen), request)
            except StreamdetError as error:
                whose = "the stream's own file name" if proposed else "the file"
                note = f"{whose} was refused: {error.message}"
                log.warning("series %s: %s", id, note)
        request = ArmRequest(id=id)
        try:
            place = self._free_place(id, fill_in(files.name, self._config.detector, id), request)
        except StreamdetError as error:
            return self._writer(id, None, request, note, error)
        return self._writer(id, self._file(id, place, request, chosen), request, note)

    def _place(self, id: str, directory: str | None, name: Name, request: ArmRequest) -> Path | Rolling:
        """The file of a name, or the files. Raises what `DataDirectory` raises."""
        frames = self._config.files.frames_per_file if request.frames_per_file is None else request.frames_per_file
        if frames:
            return self._rolling(directory, name, frames, request)
        existing = request.replace or request.append or request.add
        path = self._folders(request).file(directory, name.file(), existing=existing)
        self._folders(request).prepare(path)
        if path.exists() and request.append:
            event = request.frames_per_event
            appending.look(path, self._config.detector, id, event, request.dataset, request.layout)
        elif path.exists() and request.add:
            appending.look_beside(path, self._config.detector, request.dataset, request.layout)
        return path

    def _rolling(self, directory: str | None, name: Name, frames: int, request: ArmRequest) -> Rolling:
        """The files of a series that has several, and their master."""
        if request.append or request.add:
            raise RequestRefused(
                f"A series of files of {frames} frames each can't go into a file that is there.",
                "Ask for frames_per_file: 0, or for files of its own.",
            )
        if frames % request.frames_per_event:
            raise RequestRefused(
                f"Files of {frames} frames would cut events of {request.frames_per_event} frames.",
                "Ask for a multiple of that.",
            )
        name = name.numbered()
        self._folders(request).file(directory, name.file(), existing=request.replace)
        path = self._folders(request).file(directory, name.whole, existing=request.replace)
        self._folders(request).prepare(path)
        return Rolling(path, name, frames)

    def _free_place(self, id: str, name: Name, request: ArmRequest) -> Path | Rolling:
        """As `_place`, but with a number added to the name while it is taken."""
        for number in range(MOST_OF_A_NAME):
            try:
                return self._place(id, None, name.again(number), request)
            except FileTaken:
                continue
        raise FileTaken(f"Ten thousand files called {name.whole} exist.", "Tidy up the data directory.")

    def _file(self, id: str, place: Path | Rolling, request: ArmRequest, chosen: Chosen) -> SeriesFile | RollingFile:
        if isinstance(place, Path):
            return self._single(id, place, request, chosen)
        return RollingFile(
            place,
            self._config.detector,
            id,
            lambda path, part: self._single(id, path, request, chosen, part),
            layout=chosen.name,
            replace=request.replace,
            ownership=self._access_of(request).ownership,
        )

    def _single(self, id: str, path: Path, request: ArmRequest, chosen: Chosen, part: Part | None = None) -> SeriesFile:
        return SeriesFile(
            path,
            self._config.detector,
            id,
            event=request.frames_per_event,
            replace=request.replace,
            append=request.append,
            add=request.add,
            also=self._config.files.also_at,
            layout=chosen,
            dataset=request.dataset,
            access=self._access_of(request),
            part=part,
        )

    def _writer(
        self,
        id: str,
        file: SeriesFile | RollingFile | None,
        request: ArmRequest,
        note: str = "",
        failure: StreamdetError | None = None,
    ) -> SeriesWriter:
        room = None if file is None else Room(file.path, self._least)
        spill = None
        if self._config.files.spill is not None and (file is not None or failure is not None):
            spill = self._spill(self._config.files.spill, id, file, request)
        return SeriesWriter(id, self._config.detector, file, request, note, failure, room, spill)

    def _spill(self, directory: Path, id: str, file: SeriesFile | RollingFile | None, request: ArmRequest) -> Spill:
        """Where frames go that the file can take no more."""
        root = self._config.files.directory.resolve()
        fresh = request.model_copy(update={"replace": False, "append": False, "add": False})
        chosen = self._layouts.chosen(request.layout)
        if file is None:
            inside = Path(fill_in(self._config.files.name, self._config.detector, id).file())
        else:
            inside = file.path.relative_to(root)
        whose = self._access_of(request).ownership
        return Spill(DataDirectory(directory, whose), inside, lambda path: self._single(id, path, fresh, chosen))

    def _folders(self, request: ArmRequest) -> DataDirectory:
        return DataDirectory(self._config.files.directory, self._access_of(request).ownership)

    def _access_of(self, request: ArmRequest) -> Access:
        return self._access if request.owner is None else Access.of(self._config.files, request.owner)


def new_id() -> str:
    """Sorts by time, and is unique among services that share a data directory."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid4().hex[:6]}"
