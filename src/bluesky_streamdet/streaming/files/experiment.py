"""What a Bluesky start document says of sample, beam, proposal and people, and where it goes in a NeXus file.

    /entry                      title, experiment_identifier, experiment_description; entry_identifier_uuid, of the run
      user, user_2, ...         NXuser
      sample, sample_2, ...     NXsample
      instrument                name: the beamline
        beam                    NXbeam: incident_energy, incident_wavelength, and what is said of the beam besides
        source                  NXsource: name: the facility
      bluesky                   NXcollection
        start                   NXcollection: the whole document

What the detector has said before, such as the energy that it was set to, stays as it is. The names that facilities use
for one and the same thing are below; NeXus' own name goes before all others.

Source: NeXus definitions, https://manual.nexusformat.org/classes/base_classes/NXentry.html, NXsample, NXbeam, NXuser;
and the start documents of event_model.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import Any

import h5py

from bluesky_streamdet.core.quantities import DEEPEST
from bluesky_streamdet.streaming.files import fields

log = logging.getLogger(__name__)

ENTRY = "/entry"
PLACE = "/entry/bluesky/start"
"""Where the whole of it is, in a NeXus file."""

MOST_OBJECTS = 1000
"""Groups and datasets of one document, as each costs the time of several frames; what is more is kept as JSON."""
MOST_OF_A_KIND = 20
"""Users, and samples, that get a group of their own."""
MOST_FIELDS = 100
"""Of one of them."""
LONGEST_UNIT = 40
SMALLEST_ENERGY = 200.0
"""A number from here on can only be in eV; a smaller one that has no unit may be in keV, and nobody knows."""

IDENTIFIERS = ("experiment_identifier", "proposal_id", "proposal", "proposal_number", "data_session")
PROPOSAL_IDENTIFIERS = ("proposal_id", "id", "number", "identifier", "name")
INVESTIGATORS = ("principal_investigator", "pi", "pi_name")
USERS = {
    "user": "",
    "users": "",
    "owner": "",
    "operator": "operator",
    "operators": "operator",
    "local_contact": "local_contact",
}
"""Keys that name people, and the role that each says."""

SAMPLE_NAMES = {"sample_name": "name", "formula": "chemical_formula"}
USER_NAMES = {
    "full_name": "name",
    "institution": "affiliation",
    "mail": "email",
    "orcid": "ORCID",
    "phone": "telephone_number",
    "login": "facility_user_id",
    "username": "facility_user_id",
    "id": "facility_user_id",
}
BEAM_NAMES = {"photon_energy": "incident_energy", "energy": "incident_energy", "wavelength": "incident_wavelength"}
SAMPLE_QUANTITIES = ("mass", "density", "temperature", "pressure", "thickness", "concentration", "magnetic_field")
UNITS = {"Å": "angstrom", "\u212b": "angstrom", "A": "angstrom", "Angstrom": "angstrom", "ev": "eV", "kev": "keV"}
"""Units by other names."""
QUANTITY = re.compile(r"\s*([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)\s*([^\s\d+\-.,]\S{0,19})\s*")
"""A number and its unit, as "12.4 keV"."""


def add_start(file: h5py.File, start: Mapping[str, Any], entry: str | None = ENTRY, place: str = PLACE) -> None:
    """Write a start document: the whole at `place`, and what NeXus has a place for there too, in the group `entry`.

    entry: None for a file that has no such group. Raises `OSError`.
    """
    folder, _, name = place.rpartition("/")
    group = file[folder] if folder in file else fields.add_group(file, folder, "NXcollection")
    if name in group:
        del group[name]
    Tree().put(group, name, start)
    if entry is not None:
        _add_to(file[entry], start, place)


def _add_to(entry: h5py.Group, start: Mapping[str, Any], place: str) -> None:
    _put_identifiers(entry, start)
    _forget(entry)
    tree = Tree()
    for number, sample in enumerate(_samples(start)):
        _put_fields(tree, _anew(entry, _numbered("sample", number), "NXsample"), sample, SAMPLE_QUANTITIES)
    for number, user in enumerate(_users(start)):
        _put_fields(tree, _anew(entry, _numbered("user", number), "NXuser"), user)
    _fill_instrument(tree, fields.add_group(entry, "instrument", "NXinstrument"), start, place)


class Tree:
    """Writes whatever JSON can say as groups and datasets of at most `room` in number.

    A dict is an NXcollection; a list is an array where that says the same, otherwise an NXcollection of "0", "1" and so
    on, with the attribute `list`; None is that word, with the attribute `none`. What is too deep or too much is kept as
    JSON.
    """

    def __init__(self, room: int = MOST_OBJECTS) -> None:
        self._room = room

    def put(self, group: h5py.Group, name: str, value: Any, level: int = 0) -> None:
        """Write `value` under `name`, or under another where that is taken. Raises `OSError`."""
        name = _free(group, fields.clean(name))
        if value is None:
            # Datasets without a value are more than some readers can take.
            group[name] = "None"
            group[name].attrs["none"] = True
            return
        items: list[tuple[Any, Any]] | None = None
        if isinstance(value, Mapping):
            items = list(value.items())
        elif isinstance(value, list | tuple) and fields.uniform(value) is None:
            items = list(enumerate(value))
        if items is None or level >= DEEPEST or len(items) > self._room:
            fields.put(group, name, value, level=DEEPEST)
            return
        self._room -= len(items)
        inner = fields.add_group(group, name, "NXcollection")
        if not isinstance(value, Mapping):
            inner.attrs["list"] = True
        for key, item in items:
            self.put(inner, str(key), item, level + 1)


def _free(group: h5py.Group, name: str) -> str:
    """The name, or one like it where two keys become the same name."""
    if name not in group:
        return name
    stem = name[: fields.LONGEST_NAME - 20]
    return next(one for number in count(len(group)) if (one := f"{stem}_{number}") not in group)


def _forget(entry: h5py.Group) -> None:
    """Remove samples and users of an older document."""
    for name in [name for name, one in entry.items() if one.attrs.get("NX_class") in ("NXsample", "NXuser")]:
        del entry[name]


def _anew(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    """An empty group, of NeXus class `kind`; an older one of that name is replaced."""
    if name in parent:
        del parent[name]
    return fields.add_group(parent, name, kind)


def _numbered(name: str, number: int) -> str:
    return name if number == 0 else f"{name}_{number + 1}"


def _put_identifiers(entry: h5py.Group, start: Mapping[str, Any]) -> None:
    proposal = start.get("proposal")
    within = proposal if isinstance(proposal, Mapping) else {}
    texts = {
        "entry_identifier_uuid": _text(start.get("uid")),
        "title": _text(start.get("title")),
        "experiment_identifier": _first(start, IDENTIFIERS) or _first(within, PROPOSAL_IDENTIFIERS),
        "experiment_description": _text(start.get("experiment_description")) or _text(within.get("title")),
    }
    for name, text in texts.items():
        fields.put(entry, name, text or None)


def _samples(start: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    said = [one if isinstance(one, Mapping) else {"name": _text(one)} for one in _several(start.get("sample"))]
    name = _text(start.get("sample_name"))
    if name:
        said[:1] = [{"name": name, **(said[0] if said else {})}]
    for one in said[:MOST_OF_A_KIND]:
        yield _renamed(one, SAMPLE_NAMES)


def _users(start: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    proposal = start.get("proposal")
    named = [(start.get(key), role) for key, role in USERS.items()]
    for within in (start, proposal if isinstance(proposal, Mapping) else {}):
        named += [(within.get(key), "principal_investigator") for key in INVESTIGATORS]
    users: list[Mapping[str, Any]] = []
    for said, role in named:
        for one in _several(said)[:MOST_OF_A_KIND]:
            user = dict(_renamed(one, USER_NAMES)) if isinstance(one, Mapping) else {"name": _text(one)}
            if role and "role" not in user:
                user["role"] = role
            if user not in users:
                users.append(user)
    return users[:MOST_OF_A_KIND]


def _fill_instrument(tree: Tree, instrument: h5py.Group, start: Mapping[str, Any], place: str) -> None:
    """Write what is said of beamline, facility and beam where the detector has said nothing of it."""
    said = start.get("instrument")
    name = _text(said.get("name")) if isinstance(said, Mapping) else _text(said)
    if "name" not in instrument and (name or _text(start.get("beamline"))):
        fields.put(instrument, "name", name or _text(start["beamline"]))
    facility = start.get("facility")
    facility = _text(facility.get("name")) if isinstance(facility, Mapping) else _text(facility)
    if "source" not in instrument and facility:
        fields.put(fields.add_group(instrument, "source", "NXsource"), "name", facility)
    of_the_beam = _beam(start)
    if not of_the_beam:
        return
    beam = instrument.require_group("beam")
    if beam.attrs.setdefault("NX_class", "NXbeam") == "NXbeam":
        for field, value in of_the_beam.items():
            if field not in beam:
                _put_beam(tree, beam, field, value, place)


def _beam(start: Mapping[str, Any]) -> dict[str, Any]:
    known = {*BEAM_NAMES, *BEAM_NAMES.values()}
    plain = {key: value for key, value in start.items() if key in known}
    within = start.get("beam")
    return {**_renamed(plain, BEAM_NAMES), **_renamed(within if isinstance(within, Mapping) else {}, BEAM_NAMES)}


def _put_beam(tree: Tree, beam: h5py.Group, field: str, value: Any, place: str) -> None:
    if field not in BEAM_NAMES.values():
        _put_fields(tree, beam, {field: value})
        return
    said, unit = _quantity(value, parse=True)
    number = _number(said)
    if number is None:
        return
    if not unit and field == "incident_wavelength":
        unit = "angstrom"
    elif not unit and number >= SMALLEST_ENERGY:
        unit = "eV"
    if unit:
        fields.put(beam, field, number, unit)
    else:
        log.warning("nobody says whether the energy %g is in eV or keV, so it is in %s only", number, place)


def _put_fields(tree: Tree, group: h5py.Group, values: Mapping[str, Any], quantities: tuple[str, ...] = ()) -> None:
    for name, said in islice(values.items(), MOST_FIELDS):
        value, unit = _quantity(said, parse=name in quantities)
        if unit:
            number = _number(value)
            fields.put(group, name, value if number is None else number, unit, DEEPEST)
        elif value is not None:
            tree.put(group, name, value)


def _quantity(said: Any, *, parse: bool) -> tuple[Any, str]:
    """Value and unit of {"value": 12.4, "units": "keV"}, and, to be parsed, of "12.4 keV"; without a unit, all else."""
    unit = ""
    if isinstance(said, Mapping) and "value" in said and set(said) <= {"value", "units", "unit"}:
        unit = "".join(filter(str.isprintable, _text(said.get("units", said.get("unit")))))[:LONGEST_UNIT]
        said = said["value"]
    elif parse and isinstance(said, str) and (found := QUANTITY.fullmatch(said)):
        said, unit = float(found[1]), found[2]
    return said, UNITS.get(unit, unit)


def _number(said: Any) -> float | None:
    try:
        number = float(said) if isinstance(said, int | float) and not isinstance(said, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _renamed(said: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    """By NeXus' names; what was said under these goes before what was said under others, the first of those first."""
    others = {names[name]: said[name] for name in reversed(list(names)) if name in said}
    return {**{str(key): value for key, value in said.items() if key not in names}, **_without(others, said)}


def _without(said: Mapping[str, Any], taken: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in said.items() if name not in taken}


def _first(said: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((text for key in keys if (text := _text(said.get(key)))), "")


def _several(said: Any) -> list[Any]:
    return [one for one in (said if isinstance(said, list | tuple) else [said]) if one is not None and one != ""]


def _text(said: Any) -> str:
    """A text or a whole number, as text; empty for all else."""
    return str(said).strip() if isinstance(said, str | int) and not isinstance(said, bool) else ""
