"""A file that has the objects of another one, but for what each frame has: that is mapped from several files.

Sources are named relative to the file's own folder, so that all may be moved, or mounted elsewhere. HDF5 gives fill
values for a source that it can't open; of frames, these are the most that their type holds, or no numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from bluesky_streamdet.core.union import Stretch
from bluesky_streamdet.streaming.files.apart import APART
from bluesky_streamdet.streaming.files.layouts.places import Places

FILL = "_FillValue"
"""Attribute of a column: what it has where nobody said a value."""


class Kind(NamedTuple):
    """Of a dataset that has a row of each frame. path: in the file that has it."""

    path: str
    dtype: np.dtype[Any]
    tail: tuple[int, ...]


class Piece(NamedTuple):
    """One source. file: relative path. kinds: of the datasets that it has, see `kinds_of`. rows: of each of them.

    stretches: where its rows are in the whole.
    """

    file: str
    kinds: Mapping[str, Kind]
    rows: int
    stretches: Sequence[Stretch]


Found = Sequence[tuple[Piece, Kind]]
"""The sources that have a dataset, and what it is in each."""


class Whole:
    """A file `target` that shall have the objects of others, and `rows` rows of what they have of each frame.

    counted: attributes that say how many frames there are, and their values.
    """

    def __init__(
        self, target: h5py.File, places: Places, pieces: Sequence[Piece], rows: int, counted: Mapping[str, Any]
    ) -> None:
        self._target = target
        self._detector = places.detector
        self._frames = places.frames
        self._pieces = pieces
        self._rows = rows
        self._counted = counted
        self._mapped = {name for piece in pieces for name in piece.kinds}
        self._made: dict[int, str] = {}

    def copy(self, source: h5py.File, skip: frozenset[str]) -> None:
        """Make the objects of a file, without those at the paths `skip`. Raises what h5py raises."""
        self._made.clear()
        self._copy(source["/"], self._target["/"], {_address(source[path]) for path in skip if path in source})

    def _copy(self, source: h5py.Group, target: h5py.Group, skip: set[int]) -> None:
        _describe(source, target)
        for name in source:
            path = f"{str(source.name).rstrip('/')}/{name}"
            link = source.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target[name] = link
                continue
            one = source[name]
            place = _address(one)
            if place in skip:
                continue
            if place in self._made:
                target[name] = self._target[self._made[place]]
                continue
            self._made[place] = path
            if isinstance(one, h5py.Group):
                self._copy(one, target.create_group(name), skip)
            elif common_path(path, self._detector) in self._mapped:
                self.map(one, path)
            elif not one.is_virtual:  # a view of the source's own frames
                h5py.h5o.copy(source.id, name.encode(), target.id, name.encode())

    def map(self, one: h5py.Dataset, path: str) -> None:
        """Make a dataset like this one at `path`, whose rows are those of all sources that have it."""
        name, tail = common_path(path, self._detector), one.shape[1:]
        found = [(piece, piece.kinds[name]) for piece in self._pieces if name in piece.kinds]
        found = [(piece, kind) for piece, kind in found if kind.tail == tail]
        dtype = _common(kind.dtype for _, kind in found)
        if dtype is None:
            self._gather(path, tail, found)
        else:
            self._link(one, path, dtype, found)
        _describe(one, self._target[path])
        for attribute, value in self._counted.items():
            if attribute in one.attrs:
                self._target[path].attrs.modify(attribute, value)

    def _link(self, one: h5py.Dataset, path: str, dtype: np.dtype[Any], found: Found) -> None:
        tail = one.shape[1:]
        zeros, ones = (0,) * len(tail), (1,) * len(tail)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        is_frames = _address(one) == _address(one.file[self._frames])
        fill = _no_pixel(dtype) if is_frames else one.attrs.get(FILL, np.nan if dtype.kind == "f" else None)
        if fill is not None:
            properties.set_fill_value(np.array(fill, dtype))
        whole = h5py.h5s.create_simple((self._rows, *tail))
        for piece, kind in found:
            space = h5py.h5s.create_simple((piece.rows, *tail))
            for first, place, step, length in piece.stretches:
                whole.select_hyperslab((place, *zeros), (length, *ones), (step, *ones), (1, *tail))
                space.select_hyperslab((first, *zeros), (1, *ones), None, (length, *tail))
                properties.set_virtual(whole, piece.file.encode(), kind.path.encode(), space)
        whole.select_all()
        own = one.id.get_type() if dtype == one.dtype else h5py.h5t.py_create(dtype, logical=True)
        folder, _, name = path.rpartition("/")
        group = self._target.require_group(folder or "/")
        h5py.h5d.create(group.id, name.encode(), own, whole, properties)

    def _gather(self, path: str, tail: tuple[int, ...], found: Found) -> None:
        """Of texts of different kinds, which HDF5 can't map into one: all of them, here."""
        texts = np.full((self._rows, *tail), "", object)
        for piece, kind in found:
            with h5py.File(Path(self._target.filename).parent / piece.file, "r", locking=False) as file:
                values = file[kind.path]
                rows = (values.asstr() if values.dtype.kind in "SO" else values)[()]
            for first, place, step, length in piece.stretches:
                texts[place : place + step * length : step] = rows[first : first + length].astype(str)
        self._target.create_dataset(path, data=texts, dtype=h5py.string_dtype())


def common_path(path: str, detector: str, other: str = "") -> str:
    """The path with the name of another detector, by default of none."""
    return "/".join(other if step == detector else step for step in path.split("/"))


def kinds_of(file: h5py.File, places: Places) -> dict[str, Kind]:
    """What a file has of each frame, by the path that it has in common with files of other detectors."""
    account = file[places.account]
    tables = [*account["ledger"].values(), *(account[name] for name in ("series", APART) if name in account)]
    own = {_address(one) for one in tables}
    columns = {_address(file[path]) for path in places.columns.values()}
    found: dict[str, Kind] = {}

    def look(name: str, one: Any) -> None:
        if not isinstance(one, h5py.Dataset) or not one.shape or one.is_virtual:
            return
        if _address(one) in columns or (one.maxshape[0] is None and _address(one) not in own):
            path = f"/{name}"
            found[common_path(path, places.detector)] = Kind(path, one.dtype, one.shape[1:])

    file.visititems(look)
    return found


def _address(one: h5py.Group | h5py.Dataset) -> int:
    """Where an object is in its file, whatever its names are."""
    return h5py.h5o.get_info(one.id).addr


def _common(dtypes: Iterable[np.dtype[Any]]) -> np.dtype[Any] | None:
    """A type that HDF5 makes each of these into; None where there is none."""
    found = list(dict.fromkeys(dtypes))
    if len(found) == 1:
        return found[0]
    if all(one.kind in "iufb" and one.names is None for one in found):
        return np.result_type(*found)
    if all(one.kind == "S" for one in found):
        return h5py.string_dtype("utf-8", max(one.itemsize for one in found))
    return None


def _describe(source: h5py.Group | h5py.Dataset, target: h5py.Group | h5py.Dataset) -> None:
    for name in source.attrs:
        target.attrs.create(name, source.attrs[name], dtype=source.attrs.get_id(name).dtype)


def _no_pixel(dtype: np.dtype[Any]) -> Any:
    """What a pixel that can't be read shows."""
    if dtype.kind in "ui":
        return np.iinfo(dtype).max if dtype.kind == "u" else np.iinfo(dtype).min
    return np.nan if dtype.kind == "f" else None
