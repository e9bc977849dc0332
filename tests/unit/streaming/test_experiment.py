"""Where a file has what a start document says of sample, beam, proposal and people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky.plans import scan
from hypothesis import given, settings
from hypothesis import strategies as st
from ophyd.sim import SynAxis

from bluesky_streamdet.streaming.files.experiment import MOST_OBJECTS, PLACE
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.messages import START
from bluesky_streamdet.streaming.status import SeriesReport
from tests.unit.streaming.frames import frame

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
FULL: dict[str, Any] = {
    "uid": "0e2e5c3a-7a53-4a8b-9d5e-0b1d0f6a2c11",
    "time": 1767225600.5,
    "scan_id": 42,
    "plan_name": "scan",
    "title": "Phases of iron under pressure",
    "sample": {"name": "cell 7", "formula": "Fe2O3", "mass": "1.5 mg", "pressure": {"value": 12, "units": "GPa"}},
    "proposal": {"id": 20260123, "title": "Iron in the deep", "pi": "M. Curie"},
    "user": ["E. Noether", {"full_name": "L. Meitner", "orcid": "0000-0001", "institution": "Example"}],
    "operator": "night shift",
    "beamline": "X01",
    "facility": "Example Light Source",
    "energy": "12.4 keV",
    "wavelength": 0.9999,
}


def written(path: Path, start: Any, *, late: bool = False, header: dict[str, Any] | None = None) -> h5py.File:
    """A closed file whose series was told of `start` with the request, or late; opened to read."""
    file = SeriesFile(path, "eiger", "s1")
    file.open(frame(0), STARTED, header or {}, {} if late else {START: start})
    file.write([frame(0), frame(1)])
    file.close(SeriesReport(id="s1", detector="eiger"), {START: start} if late else {})
    return h5py.File(path, "r")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def plain(node: h5py.Group | h5py.Dataset) -> Any:
    """What was said, read back."""
    if isinstance(node, h5py.Group):
        if node.attrs.get("list"):
            return [plain(node[str(number)]) for number in range(len(node))]
        return {name: plain(one) for name, one in node.items()}
    if node.attrs.get("none"):
        return None
    if h5py.check_string_dtype(node.dtype):
        return node.asstr()[()] if node.shape == () else node.asstr()[()].tolist()
    return node[()].tolist()


@pytest.mark.parametrize("late", [False, True], ids=["with the request", "late"])
def test_what_nexus_has_a_place_for(path: Path, late: bool) -> None:
    with written(path, FULL, late=late) as file:
        entry = file["/entry"]
        assert entry["title"].asstr()[()] == FULL["title"]
        assert entry["entry_identifier_uuid"].asstr()[()] == FULL["uid"]
        assert entry["entry_identifier"].asstr()[()] == "s1"
        assert entry["experiment_identifier"].asstr()[()] == "20260123"
        assert entry["experiment_description"].asstr()[()] == "Iron in the deep"
        assert entry["sample"].attrs["NX_class"] == "NXsample"
        assert plain(entry["sample"]) == {"name": "cell 7", "chemical_formula": "Fe2O3", "mass": 1.5, "pressure": 12}
        assert [entry["sample"][name].attrs["units"] for name in ("mass", "pressure")] == ["mg", "GPa"]
        assert plain(entry["user"]) == {"name": "E. Noether"}
        assert plain(entry["user_2"]) == {"name": "L. Meitner", "ORCID": "0000-0001", "affiliation": "Example"}
        assert plain(entry["user_3"]) == {"name": "night shift", "role": "operator"}
        assert plain(entry["user_4"]) == {"name": "M. Curie", "role": "principal_investigator"}
        assert {entry[name].attrs["NX_class"] for name in entry if name.startswith("user")} == {"NXuser"}
        assert entry["instrument/name"].asstr()[()] == "X01"
        assert plain(entry["instrument/source"]) == {"name": "Example Light Source"}
        beam = entry["instrument/beam"]
        assert (beam["incident_energy"][()], beam["incident_energy"].attrs["units"]) == (12.4, "keV")
        assert (beam["incident_wavelength"][()], beam["incident_wavelength"].attrs["units"]) == (0.9999, "angstrom")
        assert plain(file[PLACE]) == FULL
        assert file["/entry/data/data"].shape == (2, 4, 6)


def test_a_start_document_of_bluesky_survives_whole(path: Path, RE: Any) -> None:
    documents: list[dict[str, Any]] = []
    RE.subscribe(lambda _, document: documents.append(document), "start")
    motors = [SynAxis(name="x"), SynAxis(name="y")]
    odd = {"none": None, "list": [{"a": 1}, None, [1, "b", [2.5]]], "empty": {}, "none of": [], "ß": [True, False]}
    RE(scan([], motors[0], 0, 1, motors[1], 1, 2, num=2, md={"odd": odd}))
    with written(path, documents[0]) as file:
        found = plain(file[PLACE])
    assert found == json.loads(json.dumps(documents[0]))
    assert found["odd"] == odd


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"energy": 12400}, (12400, "eV")),
        ({"energy": 12.4}, None),
        ({"energy": {"value": 12.4, "unit": "keV"}}, (12.4, "keV")),
        ({"energy": "12.4keV"}, (12.4, "keV")),
        ({"photon_energy": 1.0, "energy": 9000.0}, None),
        ({"incident_energy": "7.1e3 eV", "energy": 9000.0}, (7100, "eV")),
        ({"beam": {"energy": 8000}}, (8000, "eV")),
        ({"energy": [1, 2]}, None),
        ({"energy": True}, None),
        ({"energy": "high"}, None),
        ({"energy": float("nan")}, None),
        ({"energy": 10**400}, None),
        ({"energy": None}, None),
    ],
    ids=repr,
)
def test_an_energy_has_a_unit_or_is_none(
    path: Path, said: dict[str, Any], found: tuple[float, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with written(path, said) as file:
        energy = file["/entry/instrument/beam"].get("incident_energy")
        assert (None if energy is None else (energy[()], energy.attrs["units"])) == found
    assert ("eV or keV" in caplog.text) == (said.get("energy") == 12.4 or "photon_energy" in said)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"sample": "LaB6"}, "LaB6"),
        ({"sample_name": "LaB6"}, "LaB6"),
        ({"sample_name": "LaB6", "sample": {"formula": "LaB6"}}, "LaB6"),
        ({"sample_name": "a", "sample": {"name": "b"}}, "b"),
        ({"sample": ["a", "b"]}, "a"),
        ({"sample": 7}, "7"),
    ],
    ids=repr,
)
def test_a_sample_by_any_other_name(path: Path, said: dict[str, Any], name: str) -> None:
    with written(path, said) as file:
        assert file["/entry/sample/name"].asstr()[()] == name
        assert ("sample_2" in file["/entry"]) == (said.get("sample") == ["a", "b"])


@pytest.mark.parametrize(
    "said",
    [{"proposal": "123"}, {"proposal_id": 123}, {"proposal": {"number": 123}}, {"data_session": "123"}],
    ids=repr,
)
def test_a_proposal_by_any_other_name(path: Path, said: dict[str, Any]) -> None:
    with written(path, said) as file:
        assert file["/entry/experiment_identifier"].asstr()[()] == "123"


@pytest.mark.parametrize("late", [False, True])
def test_what_the_detector_has_said_stays(path: Path, late: bool) -> None:
    header = {"photon_energy": 8000.0, "wavelength": 1.55}
    start = {"energy": 12400, "beam": {"flux": {"value": 1e12, "units": "1/s"}}, "wavelength": 1.0}
    with written(path, start, late=late, header=header) as file:
        beam = file["/entry/instrument/beam"]
        assert (beam["incident_energy"][()], beam["incident_wavelength"][()]) == (8000.0, 1.55)
        assert (beam["flux"][()], beam["flux"].attrs["units"]) == (1e12, "1/s")
        assert file[f"{PLACE}/energy"][()] == 12400


@pytest.mark.parametrize("late", [False, True])
def test_hostile_names_reach_nothing_else(path: Path, late: bool) -> None:
    names = ["../../data", "/entry/data/data", "..", ".", "", "a/b", "a_b", "nul\0", "x" * 5000, "x" * 5001]
    hostile = dict.fromkeys(names, 666) | {"data": 666, "instrument": {"eiger": {"data": 666}, "beam": 666}}
    start = {**hostile, "sample": hostile, "user": [hostile], "beam": hostile, "title": {"a": 1}, "uid": hostile}
    with written(path, start, late=late) as file:
        assert file["/entry/data/data"].shape == file["/entry/instrument/eiger/data"].shape == (2, 4, 6)
        assert set(file["/entry"]) == {
            *("bluesky", "data", "entry_identifier", "instrument", "program_name", "sample", "start_time", "user"),
            "end_time",
        }
        assert set(file["/entry/instrument"]) == {"beam", "eiger"}
        assert sum(value == 666 for value in plain(file[PLACE]).values()) == len(names) + 1


def test_detectors_may_be_called_as_parts_of_the_instrument(path: Path) -> None:
    for name in ("name", "source"):
        file = SeriesFile(path.with_name(f"{name}.h5"), name, "s1")
        file.open(frame(0), STARTED, {}, {START: FULL})
        file.write([frame(0)])
        file.close(SeriesReport(id="s1", detector=name), {START: FULL})
        with h5py.File(file.path) as read:
            assert read[f"/entry/instrument/{name}"].attrs["NX_class"] == "NXdetector"
            assert read[f"/entry/instrument/{name}/data"].shape == (1, 4, 6)


def test_what_is_too_much_is_kept_as_json(path: Path) -> None:
    many = {f"key{number}": number for number in range(20 * MOST_OBJECTS)}
    users = [{"name": str(number), "a": [{}, number]} for number in range(999)]
    start = {"few": {"a": None}, "many": many, "after": {"b": [1, None]}, "sample": many, "user": users}
    with written(path, start) as file:
        objects: list[str] = []
        file.visit(objects.append)
        assert len(objects) < 2 * MOST_OBJECTS + 2000
        found = plain(file[PLACE])
        assert (found["few"], found["after"]) == ({"a": None}, {"b": [1, None]})
        assert '"key19999": 19999' in found["many"]


def test_a_document_that_is_none_is_a_parameter_as_others(path: Path) -> None:
    with written(path, "nothing of the kind") as file:
        assert file[f"/entry/instrument/eiger/collection/parameters/{START}"].asstr()[()] == "nothing of the kind"
        assert "bluesky" not in file["/entry"]


def test_a_newer_document_replaces_all_of_the_older(path: Path) -> None:
    file = SeriesFile(path, "eiger", "s1")
    file.open(frame(0), STARTED, {}, {START: FULL})
    file.write([frame(0)])
    file.close(SeriesReport(id="s1", detector="eiger"), {START: {"uid": "2", "sample": "other", "user": "someone"}})
    with h5py.File(path) as read:
        assert plain(read[PLACE]) == {"uid": "2", "sample": "other", "user": "someone"}
        assert plain(read["/entry/sample"]) == {"name": "other"}
        assert [name for name in read["/entry"] if name.startswith("user")] == ["user"]
        assert "title" not in read["/entry"]
        assert read["/entry/entry_identifier_uuid"].asstr()[()] == "2"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from([*FULL, "beam", "instrument", "sample_name", "owner", "value", "units"]) | st.text(max_size=5)


@settings(max_examples=25)
@given(st.dictionaries(KEYS, JSON | st.fixed_dictionaries({"value": JSON, "units": JSON}), max_size=8))
def test_no_document_costs_the_file(tmp_path_factory: pytest.TempPathFactory, start: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "scan.h5"
    with written(path, start) as file:
        assert np.array_equal(file["/entry/data/data"].shape, (2, 4, 6))
        assert len(plain(file[PLACE])) == len(start)
    path.unlink()


@pytest.mark.allow_error_log  # It tells all that it finds so.
def test_nexus_readers_find_all_of_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nexusformat = pytest.importorskip("nexusformat.nexus")
    written(path, {**FULL, "none": None, "list": [{"a": 1}]}).close()
    root = nexusformat.nxload(str(path))
    assert root.entry.sample.chemical_formula.nxvalue == "Fe2O3"
    assert root.entry.instrument.beam.incident_energy.units == "keV"
    assert "bluesky:NXcollection" in root.entry.tree
    _, errors = root.entry.check()
    assert errors == 0
    assert "/entry/sample" not in capsys.readouterr().out.partition("NXsample")[2]
