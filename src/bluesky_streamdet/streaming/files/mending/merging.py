"""Values that stood apart of their columns go into them, in a file that is open for any change.

A column becomes as wide as its longest text, and of a type that holds all of its values: numbers become floats where
one is, and what is not all of one kind becomes JSON. A key that the first frame did not have gets a column.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.streaming.files import apart, kinds
from bluesky_streamdet.streaming.files.columns import ColumnPlace, Rows
from bluesky_streamdet.streaming.files.fields import clean
from bluesky_streamdet.streaming.files.layouts.layout import Layout, fill, literal
from bluesky_streamdet.streaming.files.layouts.places import Places, keep, words_of

log = logging.getLogger(__name__)

MOST_VALUES = 20_000_000
"""Of all columns that are put together anew; what is beyond them stays apart."""
LARGEST_COLUMN = 64 << 20
"""Bytes of a column of texts of one length; a larger one gets texts of different lengths, and can't grow any more."""
OF_ITS_TYPE = ("content", "_FillValue")


def merge(file: h5py.File, layout: Layout, places: Places, event: int, frames: int) -> None:
    """Put all that stands apart into columns of so many frames. Raises `OSError`."""
    account = file[places.account]
    found = apart.read(account, frames)
    room = MOST_VALUES // max(1, frames)
    for key, values in list(found.items())[:room]:
        path = places.columns.get(key) or _free_path(file, layout, places, key)
        _merge_column(file, path, key, values, (event, frames, layout.columns.second_axis))
        places.columns[key] = path
    if found and room:
        keep(file, places)
    if len(found) <= room:
        apart.empty(account)
    else:
        log.warning("%s/%s keeps values of single frames, as there are %d frames", account.name, apart.APART, frames)


def _free_path(file: h5py.File, layout: Layout, places: Places, key: str) -> str:
    said = layout.columns.names.get(key)
    name = literal(clean(key)) if said is None else said.path
    path = fill(layout.column_path(name), words_of(layout, places))
    while path in file:
        path += "_"
    return path


def _merge_column(
    file: h5py.File, path: str, key: str, values: Mapping[int, Any], extent: tuple[int, int, bool]
) -> None:
    event, frames, second_axis = extent
    attributes: dict[str, Any] = {}
    all_: list[Any] = [None] * frames
    if path in file:
        old = file[path]
        attributes = {name: value for name, value in old.attrs.items() if name not in OF_ITS_TYPE}
        all_ = _values(old, values, extent)
        del file[path]
    for row, value in zip(values, kinds.shown(key, "", list(values.values())), strict=True):
        all_[row] = value
    block, content = _block(all_)
    if content:
        attributes["content"] = content
    if block.dtype.kind == "i":
        attributes["_FillValue"] = kinds.missing(block.dtype)
    shape = block.shape[1:] or ((1,) if second_axis else ())
    place = ColumnPlace(path, block.dtype.str, "", shape, attributes)
    if block.dtype.kind == "O":
        rows = np.full(-(-frames // event) * event, "", object)
        rows[:frames] = block
        shaped = rows.reshape(-1, *(() if event == 1 else (event,)), *shape)
        file.create_dataset(path, data=shaped, dtype=h5py.string_dtype()).attrs.update(attributes)
    else:
        Rows(file, place, event).append(block.reshape(-1, *shape))


def _values(column: h5py.Dataset, better: Mapping[int, Any], extent: tuple[int, int, bool]) -> list[Any]:
    """What a column says of each frame; None where it says nothing, and where `better` knows better."""
    event, frames, second_axis = extent
    shape = column.shape[1 + (event > 1) :]
    is_text = column.dtype.kind in "SO"
    block = (column.asstr() if is_text else column)[()].reshape(-1, *(() if shape == (1,) and second_axis else shape))
    if is_text:
        read = json.loads if column.attrs.get("content") == kinds.JSON else str
        texts = enumerate(block[:frames].tolist())
        return [read(text) if text and row not in better else None for row, text in texts]
    nothing = kinds.absent(block[:frames])
    said = [not np.all(row) for row in nothing]
    return [value if one else None for one, value in zip(said, block[:frames].tolist(), strict=True)]


def _block(values: Sequence[Any]) -> tuple[NDArray[Any], str]:
    """The block of a column that holds all values, and how it says them, where that is in JSON."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in there):
        return _texts(values), ""
    shape = np.shape(there[0]) if not isinstance(there[0], dict | str) else ()
    for dtype in ("<i8", "<f8"):
        try:
            block, unfit = kinds.packed(values, np.dtype(dtype), shape)
        except ValueError:
            break
        if not unfit:
            return block, ""
    return _texts([None if value is None else json.dumps(value) for value in values]), kinds.JSON


def _texts(values: Sequence[Any]) -> NDArray[Any]:
    """Texts of one length, empty for None; or of different ones, where the first would take too much room."""
    longest = max(len(value.encode(errors="replace")) for value in values if value is not None)
    size = max(kinds.LEAST_TEXT, -(-longest // 16) * 16)
    if size * len(values) > LARGEST_COLUMN:
        return np.array([(value or "").replace("\0", "") for value in values], object)
    return kinds.packed(values, np.dtype(f"S{size}"), ())[0]
