"""The NeXus layout: where in the file each quantity goes, with its units.

    /entry                      NXentry, default "data"
      data                      NXdata: data (a hard link), signal "data"; for spectra, the axis energy
      instrument                NXinstrument
        beam                    NXbeam: incident_energy, incident_wavelength
        DETECTOR                NXdetector: data, sequence_number, receive_time, settings, flatfield, pixel_mask, and
                                what comes with each frame; for spectra, calibration
          collection            NXcollection: outcome, reason, what the header said besides
            ledger              NXcollection: the account of the series; see `streaming.files.verdict`
            parameters          NXcollection: what came with the request, or later
            series              accounts of the series that were in the file before its last one
            appended            NXcollection: settings and parameters of each series that others were followed by
        detector, xspress3      the same group again, where frames are spectra with scalars

Source: NeXus definitions, https://manual.nexusformat.org/classes/base_classes/NXdetector.html
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet import __version__
from bluesky_streamdet.core.metadata import UNITS

log = logging.getLogger(__name__)

DATA = "/entry/data/data"
"""Where readers find the frames."""

EVENT_ATTRIBUTE = "frames_per_event"
"""Of the frames' dataset, where its second axis counts the frames of an event."""

ELSEWHERE = {
    "photon_energy": "/entry/instrument/beam/incident_energy",
    "wavelength": "/entry/instrument/beam/incident_wavelength",
}
"""Quantities that belong to another group than the detector's."""

SPECTRA_NAMES = ("detector", "xspress3")
"""Groups in the instrument where others look for spectra: the XSP3 handlers, and who reads MAX IV's files."""

IDENTIFIER = "/entry/entry_identifier"
LONGEST_IDENTIFIER = 80
RESERVED = ("appended", "ledger", "outcome", "parameters", "reason", "series", "series_start")
"""Names in the collection that are ours; what a header calls by them gets an underscore behind its name."""
LONGEST_NAME = 200
DEEPEST = 10
"""Levels of dicts that become groups; what lies deeper is kept as JSON."""


def detector_group(detector: str) -> str:
    return f"/entry/instrument/{detector}"


def collection_group(detector: str) -> str:
    return f"{detector_group(detector)}/collection"


def create(file: h5py.File, detector: str, series: str, started: datetime, metadata: Mapping[str, Any]) -> None:
    """Make the groups, and write what is known of the detector before the first frame."""
    file.attrs.update(default="entry", NX_class="NXroot", creator="bluesky-streamdet", creator_version=__version__)
    entry = add_group(file, "/entry", "NXentry")
    entry.attrs["default"] = "data"
    put(entry, "start_time", started.isoformat())
    kind = h5py.string_dtype("utf-8", LONGEST_IDENTIFIER)  # of a fixed size, as another series may follow
    entry.create_dataset("entry_identifier", data=series.encode()[:LONGEST_IDENTIFIER], dtype=kind)
    put(entry, "program_name", "bluesky-streamdet")
    entry["program_name"].attrs["version"] = __version__
    add_group(file, "/entry/instrument", "NXinstrument")
    beam = add_group(file, "/entry/instrument/beam", "NXbeam")
    group = add_group(file, detector_group(detector), "NXdetector")
    put(group, "local_name", detector)
    collection = add_group(file, collection_group(detector), "NXcollection")
    add_group(file, "/entry/data", "NXdata").attrs["signal"] = "data"
    for name, value in metadata.items():
        if name in ELSEWHERE:
            put(beam, ELSEWHERE[name].rpartition("/")[2], value, UNITS[name])
        elif name in UNITS:
            put(group, name, value, UNITS[name])
        else:
            put(collection, f"{name}_" if name in RESERVED else name, value)


def add_parameters(file: h5py.File, detector: str, parameters: Mapping[str, Any]) -> None:
    """Write what came with the request, or later; a newer value replaces an older one of its name."""
    if parameters:
        group = add_group(file, f"{collection_group(detector)}/parameters", "NXcollection")
        for name, value in parameters.items():
            put(group, name, value)


def link_data(file: h5py.File, data: h5py.Dataset, event: int) -> None:
    """Make the frames the default plot."""
    file[DATA] = data
    if event > 1:
        data.attrs[EVENT_ATTRIBUTE] = event
    data.attrs["interpretation"] = "image" if data.ndim - (event > 1) > 2 else "spectrum"
    file["/entry/data"].attrs["axes"] = ["."] * data.ndim


def link_as(detector: h5py.Group, path: str) -> None:
    """Have the frames at `path` too, where readers of older files look, and all else of the detector beside them.

    What is there already stays.
    """
    folder, _, name = path.rpartition("/")
    if folder not in detector.file:
        detector.file[folder] = detector
    group = detector.file[folder]
    if isinstance(group, h5py.Group) and name not in group:
        group[name] = detector["data"]


def link_spectra(detector: h5py.Group, metadata: Mapping[str, Any]) -> None:
    """Have the group of a detector of spectra under the names that readers of Xspress3 files know, too.

    Where the header says which energy each bin has, it is the axis of the default plot, and PyMca's `calibration`.
    """
    data = detector["data"]
    data.attrs["interpretation"] = "spectrum"
    instrument = detector.parent
    for name in SPECTRA_NAMES:
        if name not in instrument:
            instrument[name] = detector
    calibration = _calibration(metadata)
    if calibration is not None and "calibration" not in detector:
        put(detector, "calibration", calibration, "keV")
        plot = detector.file["/entry/data"]
        plot["calibration"] = detector["calibration"]  # beside whichever name of the spectra is found first
        put(plot, "energy", calibration[0] + calibration[1] * np.arange(data.shape[-1]), "keV")
        plot.attrs["axes"] = [*["."] * (data.ndim - 1), "energy"]


def _calibration(metadata: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Energy of the first bin, width of a bin, and 0 for what is not linear, in keV; None where nobody can tell."""
    try:
        width, first = float(metadata["ev_per_bin"]) / 1000, int(metadata.get("first_bin", 0))
    except (KeyError, TypeError, ValueError):
        return None
    # Regions of the hardware may be of any width.
    sorted_into_regions = np.size(metadata.get("regions", ())) > 0
    return None if sorted_into_regions or not 0 < width < math.inf else np.array([first * width, width, 0.0])


def put(group: h5py.Group, name: str, value: Any, unit: str = "", level: int = 0) -> None:
    """Write `value` under `name`, whatever it is: a dict as a group, what HDF5 can't hold as JSON, None not at all.

    What can't be written even so is left out with a warning, as no setting is worth the frames. Raises `OSError`.
    """
    name = clean(name)
    if name in group:
        del group[name]
    if value is None:
        return
    if isinstance(value, Mapping) and level < DEEPEST:
        child = add_group(group, name, "NXcollection")
        for key, item in value.items():
            put(child, key, item, level=level + 1)
        return
    try:
        group[name] = _storable(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        log.warning("%s/%s is not in the file, as HDF5 can't hold it: %s", group.name, name, str(error)[:200])
        return
    if unit:
        group[name].attrs["units"] = unit


def clean(name: str) -> str:
    """A name that HDF5 can have, and that leads nowhere else."""
    name = "".join(letter if letter.isprintable() else "_" for letter in str(name)).replace("/", "_")
    return name[:LONGEST_NAME].strip(". ") or "unnamed"


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return np.void(value) if value else ""
    if isinstance(value, np.ndarray) and value.dtype.kind in "UO":
        value = value.tolist()
    if isinstance(value, list | tuple):
        array = uniform(value)
        return _text(json.dumps(value, default=str)) if array is None else array
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, bool | int | float | complex | np.generic | np.ndarray):
        return value
    return _text(json.dumps(value, default=str))


def uniform(values: list[Any] | tuple[Any, ...]) -> NDArray[Any] | None:
    """The array that says the same as the list; None where there is none."""
    try:
        array = np.array(values)
    except ValueError:
        return None
    if array.dtype.kind in "biuf" and not (array.dtype.kind == "f" and array.size and _all_whole(values)):
        return array
    if array.dtype.kind == "U" and all(isinstance(one, str) for one in values):
        return np.array([_text(one) for one in values], dtype=h5py.string_dtype())
    return None


def _all_whole(values: Any) -> bool:
    """Whether they are integers, which NumPy makes floats of when they fit into no integer type together."""
    return all(_all_whole(one) if isinstance(one, list | tuple) else isinstance(one, int) for one in values)


def _text(value: str) -> str:
    """What HDF5 can hold as UTF-8."""
    return value.replace("\0", "").encode(errors="replace").decode()


def add_group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    """The group `name` in `parent`, of NeXus class `kind`, made unless it is there."""
    group = parent.require_group(name)
    group.attrs["NX_class"] = kind
    return group
