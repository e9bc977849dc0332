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

from bluesky_streamdet.core.errors import DatasetTaken, FileTaken
from bluesky_streamdet.streaming.files import fields
from bluesky_streamdet.streaming.files.inspect import FileReport, NotOurFile, inspect
from bluesky_streamdet.streaming.files.layouts import Chosen, places, placing
from bluesky_streamdet.streaming.files.layouts.layout import Layout
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.reader import open_to_read

OLDER = "an older version wrote it, which says too little of where things are."


def look(
    path: Path,
    detector: str,
    series: str,
    event: int,
    dataset: str = places.FIRST_DATASET,
    layout: str | None = None,
) -> FileReport:
    """What the file says of a dataset, if `series` may go on in it, `event` frames an event. Raises `FileTaken`.

    layout: that the file shall have; None for any.
    """
    report = _closed_report(path, layout)
    if dataset not in report.datasets:
        raise refused(path, f"it has no dataset {dataset!r}.", "Ask to add it, or choose another name.")
    report = _closed_report(path, layout, dataset)
    if report.outcome is None:
        raise _unclosed(path)
    if not report.growable:
        raise refused(path, OLDER)
    if report.detector != detector:
        raise refused(path, f"it is of the detector {report.detector}, and not of {detector}.")
    if report.frames_per_event != event:
        raise refused(path, f"it has {report.frames_per_event} frames an event, and {event} are asked for.")
    if report.readable % event:
        raise refused(path, f"its last event has {report.readable % event} of {event} frames only.")
    if series in (report.series, *(one.series for one in report.earlier)):
        raise refused(path, f"it has a series {series} already.", "Give the series another id.")
    _check_writable(path)
    return report


def look_beside(path: Path, detector: str, dataset: str, layout: str | None = None) -> Chosen:
    """The layout of the file, if another dataset may be put into it. Raises `FileTaken`.

    layout: that the file shall have; None for any.
    """
    report = _closed_report(path, layout)
    if dataset in report.datasets:
        raise _dataset_taken(path, dataset)
    if report.outcome is None:
        raise _unclosed(path)
    if not report.growable:
        raise refused(path, OLDER)
    _check_writable(path)
    try:
        with open_to_read(path) as file:
            chosen = places.layout_in(file, places.read(file))
            wanted = places.places_by(chosen, detector, dataset)
            own = (wanted.frames, wanted.account, wanted.identifier, *wanted.columns.values())
            taken = next((one for one in own if one in file), None)
    except (OSError, KeyError, ValueError) as error:
        raise refused(path, f"its layout can't be read: {error}.") from error
    if taken is not None:
        raise _dataset_taken(path, dataset, taken)
    return chosen


def _closed_report(path: Path, layout: str | None, dataset: str | None = None) -> FileReport:
    try:
        report = inspect(path, dataset)
        _check_closed(path)
    except NotOurFile as error:
        raise refused(path, error.message.removeprefix(f"{path} ")) from error
    if report.parts or report.part is not None:
        raise refused(path, "its series has several files, of which this is one.")
    if layout not in (None, report.layout):
        raise refused(path, f"it has the layout {report.layout}, and not {layout}.")
    return report


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise refused(path, "it can't be written to.", "Mend its owner or mode, or choose another name.")


def _dataset_taken(path: Path, dataset: str, inside: str = "") -> DatasetTaken:
    where = f", as {inside} is there" if inside else ""
    hint = "Choose another name, or ask to append to it."
    return DatasetTaken(f"The dataset {dataset!r} of the file {path} is taken{where}.", hint)


def refused(path: Path, why: str, hint: str = "Choose another name.") -> FileTaken:
    return FileTaken(f"The file {path} can't go on with another series: {why}", hint)


def add_account(
    file: h5py.File,
    layout: Layout,
    there: Places,
    series: str,
    said: Mapping[str, Mapping[str, Any]],
    late: Mapping[str, Any],
) -> None:
    """Write settings and parameters of a series that followed others, once it is over. Raises `OSError`.

    said: `settings`, `parameters`, and `late`, which the series before had left beside the file.
    """
    placing.add_parameters(file, layout, there, said["late"])
    group = fields.add_group(file, there.inside("appended"), "NXcollection")
    own = {"settings": said["settings"], "parameters": {**said["parameters"], **late}}
    fields.put(group, series, {name: values for name, values in own.items() if values})


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
