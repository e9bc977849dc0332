"""Values of any kind as fields of an HDF5 file: under names that it can have, in types that it can hold, with units."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.quantities import DEEPEST, Quantity, quantity_of

log = logging.getLogger(__name__)

LONGEST_NAME = 200
SAID = "said_as"
"""Attribute of a field whose name HDF5 can't have: the name that it was said under."""


def put(group: h5py.Group, name: str, value: Any, unit: str = "", level: int = 0) -> None:
    """Write `value` under `name`, whatever it is; a value of that name is replaced. Raises `OSError`.

    A quantity becomes a number with its unit, another dict a group, what HDF5 can't hold JSON, None nothing. What can't
    be written even so is left out with a warning, as no setting is worth the frames. unit: of what is no quantity.
    level: of the dict that it is in; one deeper than `DEEPEST` becomes JSON.
    """
    said, name = text(str(name)), name_in(group, name)
    if name in group:
        del group[name]
    if value is None:
        return
    _write(group, name, value, unit, level)
    if name != said and name in group:
        group[name].attrs[SAID] = said


def _write(group: h5py.Group, name: str, value: Any, unit: str, level: int) -> None:
    if (quantity := _quantity(value)) is not None:
        value, unit = quantity.value, quantity.units or unit
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


def name_in(group: h5py.Group, name: str) -> str:
    """What `name` is called in the group, or will be: not as another one, of which as much is left."""
    said, free = text(str(name)), clean(name)
    while free in group and group[free].attrs.get(SAID, free) != said:
        free += "_"
    return free


def clean(name: str) -> str:
    """A name that HDF5 can have, and that leads nowhere else."""
    name = "".join(letter if letter.isprintable() else "_" for letter in str(name)).replace("/", "_")
    return name[:LONGEST_NAME].strip(". ") or "unnamed"


def _quantity(value: Any) -> Quantity | None:
    """None, too, for what only looks like one: nobody who could be told has sent it."""
    try:
        return quantity_of(value)
    except ValueError:
        return None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        return np.void(value) if value else ""
    if isinstance(value, np.ndarray) and value.dtype.kind in "UO":
        value = value.tolist()
    if isinstance(value, list | tuple):
        array = uniform(value)
        return text(json.dumps(value, default=str)) if array is None else array
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, bool | int | float | complex | np.generic | np.ndarray):
        return value
    return text(json.dumps(value, default=str))


def uniform(values: list[Any] | tuple[Any, ...]) -> NDArray[Any] | None:
    """The array that says the same as the list; None where there is none."""
    try:
        array = np.array(values)
    except ValueError:
        return None
    if array.dtype.kind in "biuf" and not (array.dtype.kind == "f" and array.size and _all_whole(values)):
        return array
    if array.dtype.kind == "U" and all(isinstance(one, str) for one in values):
        return np.array([text(one) for one in values], dtype=h5py.string_dtype())
    return None


def _all_whole(values: Any) -> bool:
    """Whether they are integers, which NumPy makes floats of when they fit into no integer type together."""
    return all(_all_whole(one) if isinstance(one, list | tuple) else isinstance(one, int) for one in values)


def text(value: str) -> str:
    """What HDF5 can hold as UTF-8."""
    return value.replace("\0", "").encode(errors="replace").decode()


def add_group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    """The group `name` in `parent`, of NeXus class `kind`, made unless it is there."""
    group = parent.require_group(name)
    group.attrs["NX_class"] = kind
    return group
