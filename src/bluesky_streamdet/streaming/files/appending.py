"""Going on in a file that is there: whether that may be, and how it is opened.

Only a file of ours that was closed well, of the same detector and the same frames of an event, goes on. While it grows
it is open for SWMR from the first moment on, so that a kill leaves it readable, with all that it held before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.streaming.files import experiment, nexus
from bluesky_streamdet.streaming.files.inspect import FileReport, NotOurFile, inspect


def look(path: Path, detector: str, series: str, event: int) -> FileReport:
    """What the file says of itself, if `series` may follow in it, with `event` frames an event. Raises `FileTaken`."""
    try:
        report = inspect(path)
        _check_closed(path)
    except NotOurFile as error:
        raise refused(path, error.message.removeprefix(f"{path} ")) from error
    if report.outcome is None:
        raise _unclosed(path)
    if not report.growable:
        raise refused(path, "an older version wrote it, which left no room for the account of a second series.")
    if report.detector != detector:
        raise refused(path, f"it is of the detector {report.detector}, and not of {detector}.")
    if report.frames_per_event != event:
        raise refused(path, f"it has {report.frames_per_event} frames an event, and {event} are asked for.")
    if report.readable % event:
        raise refused(path, f"its last event has {report.readable % event} of {event} frames only.")
    if series in (report.series, *(one.series for one in report.earlier)):
        raise refused(path, f"it has a series {series} already.", "Give the series another id.")
    if not os.access(path, os.W_OK):
        raise refused(path, "it can't be written to.", "Mend its owner or mode, or choose another name.")
    return report


def refused(path: Path, why: str, hint: str = "Choose another name.") -> FileTaken:
    return FileTaken(f"The file {path} can't go on with another series: {why}", hint)


def open_to_write(path: Path) -> h5py.File:
    """The file, to be written by SWMR from the first moment on. Raises `OSError`."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_locking(False, False)
    # h5py's own opening has no such mode, and one that is set later leaves a moment in which a kill costs the file.
    return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE, access))


def growing(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The datasets beside the frames that have a row of each frame, by name."""
    found = {name: one for name, one in group.items() if isinstance(one, h5py.Dataset) and name != "data"}
    return {name: one for name, one in found.items() if one.maxshape[:1] == (None,)}


def add_account(
    file: h5py.File, detector: str, series: str, said: Mapping[str, Mapping[str, Any]], late: Mapping[str, Any]
) -> None:
    """Write settings and parameters of a series that followed others, once it is over. Raises `OSError`.

    said: `settings`, `parameters`, and `late`, which the series before had left beside the file.
    """
    experiment.add_parameters(file, detector, said["late"])
    place = nexus.add_group(file, f"{nexus.collection_group(detector)}/appended", "NXcollection")
    own = {"settings": said["settings"], "parameters": {**said["parameters"], **late}}
    nexus.put(place, series, {name: values for name, values in own.items() if values})


def _check_closed(path: Path) -> None:
    """Raise `FileTaken` for a file that somebody writes, or died while writing."""
    try:
        h5py.File(path, "r", locking=False).close()
    except OSError as error:
        raise _unclosed(path) from error


def _unclosed(path: Path) -> FileTaken:
    return refused(
        path,
        "its last series was never closed. Somebody is writing it, or died while writing.",
        "Wait for the end of that series, or choose another name; what is in a file whose writer died stays readable.",
    )
