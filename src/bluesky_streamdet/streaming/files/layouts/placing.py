"""Puts into a file what a layout has a place for: groups, fixed values, links, what the header says, parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import h5py

from bluesky_streamdet.core.metadata import unit_of
from bluesky_streamdet.core.quantities import converted, quantity_of
from bluesky_streamdet.streaming.files import experiment
from bluesky_streamdet.streaming.files.fields import add_group, clean, name_in, put
from bluesky_streamdet.streaming.files.growth import stored, value_of
from bluesky_streamdet.streaming.files.layouts.layout import Layout, Place, fill
from bluesky_streamdet.streaming.files.layouts.places import Places, words_of
from bluesky_streamdet.streaming.messages import START

log = logging.getLogger(__name__)

COMES_LATER = ("appended", "parameters", "places", "layout")
"""Names in the account that are ours, and not taken yet when the header is written."""
REFUSED = "refused"
"""Attribute of a value that could not be what the layout wants, and so is not where the layout wants it: why not."""


def make(file: h5py.File, layout: Layout, facts: Mapping[str, Any]) -> None:
    """Make the groups and fixed values that are not there yet. Raises `OSError`."""
    for path, attributes in layout.groups.items():
        group = file.require_group(fill(path, facts))
        _describe(group, attributes, facts)
    for path, fixed in layout.values.items():
        path, value = fill(path, facts), value_of(fixed.value, facts)
        if value is None or path in file:
            continue
        folder, _, name = path.rpartition("/")
        put(file.require_group(folder or "/"), name, converted(value, fixed.dtype), fixed.units)
        _describe(file[path], fixed.attributes, facts)


def link(file: h5py.File, layout: Layout, facts: Mapping[str, Any], *, scalars: bool) -> None:
    """Make the links; one to what is not in this file is left out, and what is there already stays."""
    for path, one in layout.links.items():
        path, to = fill(path, facts), fill(one.to, facts)
        if path in file or (one.only == "scalars" and not scalars):
            continue
        if one.soft:
            file[path] = h5py.SoftLink(to)
        elif to in file:
            file[path] = file[to]


def other_paths(layout: Layout, words: Mapping[str, str], *, scalars: bool) -> list[str]:
    """Where the frames are besides, by the layout's links to them, and to the group that has them."""
    links = {
        fill(path, words): fill(one.to, words)
        for path, one in layout.links.items()
        if one.only is None or (one.only == "scalars" and scalars)
    }
    frames = [path for path, to in links.items() if to == words["frames"]]
    columns = words["columns"].rstrip("/")
    inside = [path.removeprefix(columns) for path in (words["frames"], *frames) if path.startswith(f"{columns}/")]
    groups = [path for path, to in links.items() if to == words["columns"]]
    return [*frames, *(f"{group}{path}" for path in inside for group in groups)]


def link_also(file: h5py.File, places: Places, columns: str, path: str) -> None:
    """Have the frames at `path` too, where readers of older files look, and all else of the detector beside them.

    What is there already stays.
    """
    folder, _, name = path.rpartition("/")
    if folder not in file:
        file[folder] = file[columns]
    group = file[folder]
    if isinstance(group, h5py.Group) and name not in group:
        group[name] = file[places.frames]


def add_settings(file: h5py.File, layout: Layout, places: Places, metadata: Mapping[str, Any]) -> None:
    """Write what the header says: where the layout wants it, all else into the account. Raises `OSError`."""
    words = words_of(layout, places)
    settings: dict[str, str] = {}
    rest = fill(layout.settings, words)
    group = file.require_group(rest)
    taken = {fill(path, words) for _, path in layout.datasets()} | layout.later(words)
    taken |= {places.inside(name) for name in COMES_LATER}
    for name, value in metadata.items():
        if value is None:
            continue
        why, place = "", layout.header.get(name)
        unit = unit_of(name)
        if place is not None:
            path = fill(place.path, words)
            why = f"not at {path}: another dataset has it" if path in file else ""
            why = why or _placed(file, path, place, value, unit, words)
            if not why:
                settings[name] = path
                continue
        path = f"{rest.rstrip('/')}/{clean(name)}"
        while path in file or path in taken:
            path += "_"
        put(group, path.rpartition("/")[2], value, unit)
        if path in file:
            settings[name] = path
            if why:
                file[path].attrs[REFUSED] = why
    places.settings = settings


def add_parameters(file: h5py.File, layout: Layout, places: Places, parameters: Mapping[str, Any]) -> None:
    """Write what came with the request, or later; a newer value replaces an older one of its name. Raises `OSError`.

    What the layout has no place for goes into the account.
    """
    words = words_of(layout, places)
    for name, value in parameters.items():
        if name == START and isinstance(value, Mapping):
            entry = None if layout.run.entry is None else fill(layout.run.entry, words)
            experiment.add_start(file, value, entry, fill(layout.run.document, words))
            continue
        why, place = "", layout.parameters.get(name)
        if place is not None:
            why = _placed(file, fill(place.path, words), place, value, "", words)
            if not why:
                continue
        group = add_group(file, places.collected, "NXcollection")
        put(group, name, value)
        if why and (kept := name_in(group, name)) in group:
            group[kept].attrs[REFUSED] = why


def missing(layout: Layout, parameters: Mapping[str, Any]) -> list[str]:
    """The parameters that the layout requires, and nobody gave."""
    return [name for name, one in layout.parameters.items() if one.required and parameters.get(name) is None]


def _placed(file: h5py.File, path: str, place: Place, value: Any, unit: str, words: Mapping[str, Any]) -> str:
    """Write a value where the layout wants it; why that can't be, or nothing."""
    folder, _, name = path.rpartition("/")
    unit = unit if place.units is None else place.units
    try:
        if (quantity := quantity_of(value)) is not None:
            # Nothing converts units, so that whoever gave the number knows its own best.
            value, unit = quantity.value, quantity.units or unit
        value = converted(value, place.dtype)
        group = file.require_group(folder or "/")
    except (ValueError, TypeError, OverflowError) as error:
        log.warning("%s is not in the file, but in the account: %s", path, error)
        return f"not at {path}: {str(error)[:200]}"
    put(group, name, value, unit)
    if path in file:
        _describe(file[path], place.attributes, words)
    return ""


def _describe(thing: h5py.Group | h5py.Dataset, attributes: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Give it the attributes that it does not have; one whose value nobody knows is left out."""
    for name, said in attributes.items():
        value = value_of(said, facts)
        if value is not None and name not in thing.attrs:
            thing.attrs[name] = stored(value)
