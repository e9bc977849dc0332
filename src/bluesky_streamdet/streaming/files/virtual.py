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
from bluesky_streamdet.streaming.files.places import Places

FILL = "_FillValue"
"""Attribute of a column: what it has where nobody said a value."""


class Kind(NamedTuple):
    """Of a dataset that has a row of each frame."""

    dtype: np.dtype[Any]
    tail: tuple[int, ...]


class Piece(NamedTuple):
    """One source. file: relative path. kinds: of the datasets that it has, by their paths. rows: of each of them.

    stretches: where its rows are in the whole.
    """

    file: str
    kinds: Mapping[str, Kind]
    rows: int
    stretches: Sequence[Stretch]


class Whole:
    """A file `target` that shall have the objects of others, and `rows` rows of what they have of each frame.

    counted: attributes that say how many frames there are, and their values.
    """

    def __init__(
        self, target: h5py.File, places: Places, pieces: Sequence[Piece], rows: int, counted: Mapping[str, Any]
    ) -> None:
        self._target = target
        self._frames = places.frames
        self._pieces = pieces
        self._rows = rows
        self._counted = counted
        self._mapped = {path for piece in pieces for path in piece.kinds}
        self._made: dict[int, str] = {}

    def copy(self, source: h5py.File, skip: frozenset[str]) -> None:
        """Make the objects of a file, without those at the paths `skip`. Raises what h5py raises."""
        self._made.clear()
        self._copy(source["/"], self._target["/"], skip)

    def _copy(self, source: h5py.Group, target: h5py.Group, skip: frozenset[str]) -> None:
        _describe(source, target)
        for name in source:
            path = f"{str(source.name).rstrip('/')}/{name}"
            if path in skip:
                continue
            link = source.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target[name] = link
                continue
            one = source[name]
            place = h5py.h5o.get_info(one.id).addr
            if place in self._made:
                target[name] = self._target[self._made[place]]
                continue
            self._made[place] = path
            if isinstance(one, h5py.Group):
                self._copy(one, target.create_group(name), skip)
            elif path in self._mapped:
                self.map(one)
            elif not one.is_virtual:  # a view of the source's own frames
                h5py.h5o.copy(source.id, name.encode(), target.id, name.encode())

    def map(self, one: h5py.Dataset) -> None:
        """Make a dataset like this one, whose rows are those of all sources that have it."""
        path, tail = str(one.name), one.shape[1:]
        pieces = [piece for piece in self._pieces if path in piece.kinds and piece.kinds[path].tail == tail]
        dtype = _common(piece.kinds[path].dtype for piece in pieces)
        if dtype is None:
            self._gather(path, tail, pieces)
        else:
            self._link(one, path, dtype, pieces)
        _describe(one, self._target[path])
        for attribute, value in self._counted.items():
            if attribute in one.attrs:
                self._target[path].attrs.modify(attribute, value)

    def _link(self, one: h5py.Dataset, path: str, dtype: np.dtype[Any], pieces: Sequence[Piece]) -> None:
        tail = one.shape[1:]
        zeros, ones = (0,) * len(tail), (1,) * len(tail)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        fill = _no_pixel(dtype) if path == self._frames else one.attrs.get(FILL, np.nan if dtype.kind == "f" else None)
        if fill is not None:
            properties.set_fill_value(np.array(fill, dtype))
        whole = h5py.h5s.create_simple((self._rows, *tail))
        for piece in pieces:
            space = h5py.h5s.create_simple((piece.rows, *tail))
            for first, place, step, length in piece.stretches:
                whole.select_hyperslab((place, *zeros), (length, *ones), (step, *ones), (1, *tail))
                space.select_hyperslab((first, *zeros), (1, *ones), None, (length, *tail))
                properties.set_virtual(whole, piece.file.encode(), path.encode(), space)
        whole.select_all()
        kind = one.id.get_type() if dtype == one.dtype else h5py.h5t.py_create(dtype, logical=True)
        folder, _, name = path.rpartition("/")
        group = self._target.require_group(folder or "/")
        h5py.h5d.create(group.id, name.encode(), kind, whole, properties)

    def _gather(self, path: str, tail: tuple[int, ...], pieces: Sequence[Piece]) -> None:
        """Of texts of different kinds, which HDF5 can't map into one: all of them, here."""
        texts = np.full((self._rows, *tail), "", object)
        for piece in pieces:
            with h5py.File(Path(self._target.filename).parent / piece.file, "r", locking=False) as file:
                values = file[path]
                rows = (values.asstr() if values.dtype.kind in "SO" else values)[()]
            for first, place, step, length in piece.stretches:
                texts[place : place + step * length : step] = rows[first : first + length].astype(str)
        self._target.create_dataset(path, data=texts, dtype=h5py.string_dtype())


def kinds_of(file: h5py.File, places: Places) -> dict[str, Kind]:
    """What a file has of each frame, by one of the paths of each."""
    own = (f"{places.account}/series", f"{places.account}/{APART}")
    columns = set(places.columns.values())
    found: dict[str, Kind] = {}

    def look(name: str, one: Any) -> None:
        path = f"/{name}"
        if not isinstance(one, h5py.Dataset) or not one.shape or one.is_virtual:
            return
        if path in columns or (
            one.maxshape[0] is None and path not in own and not path.startswith(f"{places.account}/ledger/")
        ):
            found[path] = Kind(one.dtype, one.shape[1:])

    file.visititems(look)
    return found


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
