"""The NeXus layout: where in the file each quantity goes, with its units.

    /entry                      NXentry, default "data"
      data                      NXdata: data (a hard link), signal "data"
      instrument                NXinstrument
        beam                    NXbeam: incident_energy, incident_wavelength
        DETECTOR                NXdetector: data, sequence_number, receive_time, settings, flatfield, pixel_mask
          collection            NXcollection: outcome, reason, what the header said besides
            ledger              NXcollection: the account of the series
            parameters          NXcollection: what came with the request, or later

Source: NeXus definitions, https://manual.nexusformat.org/classes/base_classes/NXdetector.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import h5py
import numpy as np

from bluesky_streamdet import __version__
from bluesky_streamdet.core.metadata import UNITS
from bluesky_streamdet.streaming.messages import LedgerReport, SeriesReport

DATA = "/entry/data/data"
"""Where readers find the frames."""

EVENT_ATTRIBUTE = "frames_per_event"
"""Of the frames' dataset, where its second axis counts the frames of an event."""

ELSEWHERE = {
    "photon_energy": "/entry/instrument/beam/incident_energy",
    "wavelength": "/entry/instrument/beam/incident_wavelength",
}
"""Quantities that belong to another group than the detector's."""


def detector_group(detector: str) -> str:
    return f"/entry/instrument/{detector}"


def collection_group(detector: str) -> str:
    return f"{detector_group(detector)}/collection"


def create(file: h5py.File, detector: str, series: str, started: datetime, metadata: Mapping[str, Any]) -> None:
    """Make the groups, and write what is known of the detector before the first frame."""
    file.attrs.update(default="entry", NX_class="NXroot", creator="bluesky-streamdet", creator_version=__version__)
    entry = _group(file, "/entry", "NXentry")
    entry.attrs["default"] = "data"
    put(entry, "start_time", started.isoformat())
    put(entry, "entry_identifier", series)
    put(entry, "program_name", "bluesky-streamdet")
    entry["program_name"].attrs["version"] = __version__
    _group(file, "/entry/instrument", "NXinstrument")
    beam = _group(file, "/entry/instrument/beam", "NXbeam")
    group = _group(file, detector_group(detector), "NXdetector")
    put(group, "local_name", detector)
    collection = _group(file, collection_group(detector), "NXcollection")
    _group(file, "/entry/data", "NXdata").attrs["signal"] = "data"
    for name, value in metadata.items():
        if name in ELSEWHERE:
            put(beam, ELSEWHERE[name].rpartition("/")[2], value, UNITS[name])
        elif name in UNITS:
            put(group, name, value, UNITS[name])
        else:
            put(collection, name, value)


def link_data(file: h5py.File, data: h5py.Dataset, event: int) -> None:
    """Make the frames the default plot."""
    file[DATA] = data
    if event > 1:
        data.attrs[EVENT_ATTRIBUTE] = event
    data.attrs["interpretation"] = "image"
    file["/entry/data"].attrs["axes"] = ["."] * data.ndim


def finish(file: h5py.File, detector: str, report: SeriesReport, parameters: Mapping[str, Any]) -> None:
    """Write what is known after the last frame: the end, the verdict, the ledger, the parameters."""
    collection = _group(file, collection_group(detector), "NXcollection")
    if report.ended_at is not None:
        put(file["/entry"], "end_time", report.ended_at.isoformat())
    put(collection, "reason", report.reason)
    _put_ledger(_group(collection, "ledger", "NXcollection"), report.ledger)
    if parameters:
        put(collection, "parameters", dict(parameters))
    # The last thing written: a file without an outcome was not closed.
    put(collection, "outcome", str(report.outcome))


def _put_ledger(group: h5py.Group, ledger: LedgerReport) -> None:
    for name, value in ledger.model_dump().items():
        if name == "missing_ranges":
            put(group, name, np.array(value, np.int64).reshape(-1, 2))
        elif isinstance(value, dict):
            put(group, name, sum(value.values()))
            group[name].attrs["reasons"] = json.dumps(value)
        elif value is not None:
            put(group, name, value)


def read_ledger(file: h5py.File, detector: str) -> LedgerReport | None:
    """The ledger of a closed file, None when it has none."""
    group = file.get(f"{collection_group(detector)}/ledger")
    if not isinstance(group, h5py.Group):
        return None
    values: dict[str, Any] = {}
    for name, dataset in group.items():
        reasons = dataset.attrs.get("reasons")
        values[name] = json.loads(reasons) if reasons is not None else dataset[()].tolist()
    return LedgerReport.model_validate(values)


def put(group: h5py.Group, name: str, value: Any, unit: str = "") -> None:
    """Write `value` under `name`, whatever it is: a dict as a group, what HDF5 can't hold as JSON, None not at all."""
    name = name.replace("/", "_").strip(". ") or "unnamed"
    if name in group:
        del group[name]
    if value is None:
        return
    if isinstance(value, Mapping):
        child = _group(group, name, "NXcollection")
        for key, item in value.items():
            put(child, str(key), item)
        return
    group[name] = _storable(value)
    if unit:
        group[name].attrs["units"] = unit


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, bytes):
        return np.void(value) if value else ""
    if isinstance(value, list | tuple):
        try:
            array = np.array(value)
        except ValueError:
            return json.dumps(value, default=str)
        if array.dtype.kind in "biuf":
            return array
        if array.dtype.kind == "U" and all(isinstance(one, str) for one in value):
            return np.array([one.replace("\0", "") for one in value], dtype=h5py.string_dtype())
        return json.dumps(value, default=str)
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.require_group(name)
    group.attrs["NX_class"] = kind
    return group
