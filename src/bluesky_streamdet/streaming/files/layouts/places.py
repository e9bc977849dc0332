"""Where everything of one frames' dataset is in one file. The file itself says so, so that readers need no layout.

The root's attribute `frames` lists the datasets of frames, in the order in which they were made. Each has the
attribute `account`, the path of the group of its verdict and ledger, in which `places` says the rest, as JSON, and
`layout` is the layout by which it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from pydantic import BaseModel

from bluesky_streamdet import __version__
from bluesky_streamdet.documents import COLUMN_UNITS, COLUMNS
from bluesky_streamdet.streaming.files import layouts
from bluesky_streamdet.streaming.files.layouts import Chosen
from bluesky_streamdet.streaming.files.layouts.layout import Layout, fill
from bluesky_streamdet.streaming.status import ScalarReport

FRAMES = "frames"
ACCOUNT = "account"
PLACES, LAYOUT = "places", "layout"
FIRST_DATASET = "data"
FIRST_ENTRY = "entry"


class Places(BaseModel):
    """Paths in the file. columns: of what each frame has beside it, by the stream's key. settings: of what the header
    said and the layout has a place for; the rest is in `account`, under its own name.
    """

    layout: str
    detector: str
    dataset: str
    frames: str
    account: str
    identifier: str
    start_time: str
    end_time: str
    columns: dict[str, str]
    settings: dict[str, str]

    def inside(self, name: str) -> str:
        """A path in the account."""
        return f"{self.account}/{name}"

    @property
    def collected(self) -> str:
        """The group of parameters."""
        return self.inside("parameters")


def names(detector: str, dataset: str) -> dict[str, str]:
    """What paths of a layout may name first."""
    entry = FIRST_ENTRY if dataset == FIRST_DATASET else dataset
    return {"detector": detector, "dataset": dataset, "entry": entry}


def places_by(chosen: Chosen, detector: str, dataset: str) -> Places:
    """The places that a layout has for a dataset, the columns of each frame's number and time among them."""
    layout = chosen.layout
    words = layout.words(names(detector, dataset))
    keys = layout.columns.names
    columns = {key: fill(layout.column_path(keys[key].path if key in keys else key), words) for key in COLUMNS}
    return Places(
        layout=chosen.name,
        detector=detector,
        dataset=dataset,
        frames=words["frames"],
        account=words["account"],
        identifier=fill(layout.identifier, words),
        start_time=fill(layout.start_time, words),
        end_time=fill(layout.end_time, words),
        columns=columns,
        settings={key: fill(place.path, words) for key, place in layout.header.items()},
    )


def first_columns(chosen: Chosen, detector: str, dataset: str) -> list[ScalarReport]:
    """Where number and time of each frame will be, and what they will be like."""
    there, names = places_by(chosen, detector, dataset).columns, chosen.layout.columns.names
    shape = (1,) if chosen.layout.columns.second_axis else ()
    reports = []
    for key, dtype in COLUMNS.items():
        said = names.get(key)
        unit = COLUMN_UNITS.get(key, "")
        if said is not None:
            dtype = np.dtype(said.dtype or dtype).newbyteorder("<").str
            unit = unit if said.units is None else said.units
        reports.append(ScalarReport(name=key, dtype=dtype, shape=shape, unit=unit, dataset=there[key]))
    return reports


def write(file: h5py.File, chosen: Chosen, places: Places) -> None:
    """Have the file say where things are. The dataset of the frames and the account are there."""
    data = file[places.frames]
    data.attrs.update({ACCOUNT: places.account, LAYOUT: places.layout, "detector": places.detector})
    account = file[places.account]
    account.attrs["creator"], account.attrs["creator_version"] = "bluesky-streamdet", __version__
    account[PLACES] = places.model_dump_json()
    account[LAYOUT] = chosen.layout.model_dump_json(exclude_defaults=True)
    file.attrs[FRAMES] = [*datasets(file), places.frames]


def keep(file: h5py.File, places: Places) -> None:
    """Have a file that is open for any change say where things are by now."""
    account = file[places.account]
    del account[PLACES]
    account[PLACES] = places.model_dump_json()


def datasets(file: h5py.File) -> list[str]:
    """The paths of the frames' datasets of a file of ours, in the order in which they were made."""
    said = file.attrs.get(FRAMES)
    return [] if said is None else [str(one) for one in said]


def dataset_names(file: h5py.File) -> list[str]:
    """What the frames' datasets are called."""
    return [_said(file, path).dataset for path in datasets(file)]


def read(file: h5py.File, dataset: str | None = None) -> Places:
    """Where things are of one of the datasets: of that name or path, of the last one for None.

    Raises `KeyError` for a dataset that is not there, and what h5py raises for a file that is not ours.
    """
    paths = datasets(file)
    if not paths:
        return _of_older_version(file)
    found = [_said(file, path) for path in (paths[-1:] if dataset is None else paths)]
    for one in found:
        if dataset in (None, one.dataset, one.frames):
            return one
    raise KeyError(f"it has no dataset {dataset!r}, but {', '.join(one.dataset for one in found)}")


def layout_in(file: h5py.File, places: Places) -> Chosen:
    """The layout by which the dataset was made. Raises `KeyError` or `ValueError` where this version can't read it."""
    return Chosen(places.layout, Layout.model_validate_json(file[places.inside(LAYOUT)].asstr()[()]))


def growable(file: h5py.File, places: Places) -> bool:
    """Whether the file has what another series needs to follow."""
    account = file[places.account]
    return all(name in account for name in (PLACES, LAYOUT, "series", "apart"))


def _said(file: h5py.File, path: str) -> Places:
    account = file[file[path].attrs[ACCOUNT]]
    return Places.model_validate_json(account[PLACES].asstr()[()])


def _of_older_version(file: h5py.File) -> Places:
    """Of a file that does not say it: all of those are NeXus, and have one dataset."""
    instrument = file["/entry/instrument"]
    detector = next((name for name, group in instrument.items() if _is_detector(group)), None)
    if detector is None:
        raise ValueError("it has no NXdetector")
    # A group may have several names; its own is in it.
    own = instrument[detector].get("local_name")
    detector = own.asstr()[()] if isinstance(own, h5py.Dataset) else detector
    return places_by(layouts.nexus(), detector, FIRST_DATASET)


def _is_detector(group: Any) -> bool:
    return isinstance(group, h5py.Group) and group.attrs.get("NX_class") == "NXdetector"


def words_of(layout: Layout, places: Places) -> Mapping[str, str]:
    """What paths of the layout may name, of the file that has these places."""
    return layout.words(names(places.detector, places.dataset))
