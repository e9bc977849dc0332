"""Where settings of the detector go in the file, in which units, whatever they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.metadata import UNITS
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import verdict
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.frames import frame

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
DETECTOR = "/entry/instrument/eiger"
COLLECTION = f"{DETECTOR}/collection"


def written(
    path: Path,
    metadata: dict[str, Any],
    parameters: dict[str, Any] | None = None,
    late: dict[str, Any] | None = None,
    report: SeriesReport | None = None,
    **options: Any,
) -> h5py.File:
    """A closed file with these settings, opened to read."""
    file = SeriesFile(path, "eiger", "s1", event=options.pop("event", 1))
    first = frame(0, **options)
    file.open(first, STARTED, metadata, parameters)
    file.write([first, frame(1, **options)])
    file.close(report or SeriesReport(id="s1", detector="eiger", outcome=Outcome.COMPLETE), late or {})
    return h5py.File(path, "r")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def test_settings_stand_where_nexus_has_them_with_units(path: Path) -> None:
    mask = np.arange(24, dtype="u4").reshape(4, 6)
    metadata = {"count_time": 0.1, "photon_energy": 12400.0, "pixel_mask": mask, "sensor_material": "Si", "nimages": 9}
    with written(path, metadata) as file:
        assert file[f"{DETECTOR}/count_time"][()] == 0.1
        assert file[f"{DETECTOR}/count_time"].attrs["units"] == "s"
        assert file["/entry/instrument/beam/incident_energy"][()] == 12400.0
        assert file["/entry/instrument/beam/incident_energy"].attrs["units"] == "eV"
        assert np.array_equal(file[f"{DETECTOR}/pixel_mask"][()], mask)
        assert file[f"{DETECTOR}/sensor_material"].asstr()[()] == "Si"
        assert file[f"{COLLECTION}/nimages"][()] == 9


def test_every_quantity_has_its_unit(path: Path) -> None:
    with written(path, dict.fromkeys(UNITS, 1.0)) as file:
        found: dict[str, str] = {}
        for group in (file[DETECTOR], file["/entry/instrument/beam"]):
            found |= {name: one.attrs.get("units", "") for name, one in group.items() if name != "data"}
    for name, unit in UNITS.items():
        place = {"photon_energy": "incident_energy", "wavelength": "incident_wavelength"}.get(name, name)
        assert found[place] == unit


def test_what_a_detector_says_besides_has_its_unit_too(path: Path) -> None:
    with written(path, {"omega_start": 1.5, "exptime": 0.1, "ntrigger": 3}) as file:
        found = {
            name: file[f"{COLLECTION}/{name}"].attrs.get("units") for name in ("omega_start", "exptime", "ntrigger")
        }
    assert found == {"omega_start": "degree", "exptime": "s", "ntrigger": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (True, True),
        (-0.5, -0.5),
        (float("inf"), float("inf")),
        ("text", b"text"),
        ("Größe 中 🔬", "Größe 中 🔬".encode()),
        ("nul\0inside", b"nulinside"),
        ("half a pair \ud800", b"half a pair ?"),
        ("", b""),
        ("x" * 100_000, b"x" * 100_000),
        (1 << 63, 1 << 63),
        (1 << 64, str(1 << 64).encode()),
        (-(1 << 200), str(-(1 << 200)).encode()),
        ([1, 2, 3], [1, 2, 3]),
        ([[1.5, 2], [3, 4]], [[1.5, 2], [3, 4]]),
        ([True, False], [True, False]),
        ([], []),
        (["a", "ü"], [b"a", "ü".encode()]),
        ([1, "a"], b'[1, "a"]'),
        ([1, None], b"[1, null]"),
        ([[1, 2], [3]], b"[[1, 2], [3]]"),
        ([{"a": 1}, {"b": [2]}], b'[{"a": 1}, {"b": [2]}]'),
        ([1 << 70, 1], f"[{1 << 70}, 1]".encode()),
        ([1 << 63, -1], f"[{1 << 63}, -1]".encode()),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.float32(1.5), 1.5),
        (np.array(["a", "b"]), [b"a", b"b"]),
        ({1, 2}, b'"{1, 2}"'),
        (STARTED, b'"2026-01-01 00:00:00+00:00"'),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_value_of_any_kind_is_kept(path: Path, value: Any, expected: Any) -> None:
    with written(path, {"thing": value}, parameters={"thing": value}, late={"late": value}) as file:
        for name in ("thing", "parameters/thing", "parameters/late"):
            found = file[f"{COLLECTION}/{name}"][()]
            if isinstance(expected, list):
                found = found.tolist()
            assert found == expected


def test_nothing_is_written_of_none(path: Path) -> None:
    with written(path, {"thing": None, "inner": {"thing": None, "other": 1}}) as file:
        assert "thing" not in file[COLLECTION]
        assert list(file[f"{COLLECTION}/inner"]) == ["other"]


def test_dicts_become_groups(path: Path) -> None:
    with written(path, {"a": {"b": {"c": [1, 2]}, "d": {}}}) as file:
        assert file[f"{COLLECTION}/a/b/c"][()].tolist() == [1, 2]
        assert list(file[f"{COLLECTION}/a/d"]) == []
        assert file[f"{COLLECTION}/a"].attrs["NX_class"] == "NXcollection"


def test_endless_dicts_do_not_cost_the_file(path: Path) -> None:
    value: Any = 1
    for _ in range(900):
        value = {"deeper": value}
    with written(path, {"a": value, "b": 2}) as file:
        assert file[f"{COLLECTION}/b"][()] == 2
        kept = file[f"{COLLECTION}/a" + "/deeper" * 10][()]
        assert json.loads(kept)["deeper"]["deeper"]


def test_what_no_file_can_hold_is_left_out_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unspeakable = np.zeros(2, "M8[s]")
    with written(path, {"good": 1, "bad": unspeakable}) as file:
        assert file[f"{COLLECTION}/good"][()] == 1
        assert "bad" not in file[COLLECTION]
    assert "collection/bad is not in the file" in caplog.text


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a/b", "a_b"),
        ("/abs", "_abs"),
        ("..", "unnamed"),
        (".", "unnamed"),
        ("", "unnamed"),
        ("nul\0", "nul_"),
        ("line\nbreak", "line_break"),
        ("half \ud800", "half _"),
        ("n" * 70_000, "n" * 200),
        ("Größe", "Größe"),
    ],
)
def test_names_that_hdf5_can_not_have_are_changed(path: Path, name: str, stored: str) -> None:
    with written(path, {name: 1}, late={name: 2}) as file:
        assert file[COLLECTION][stored][()] == 1
        assert file[f"{COLLECTION}/parameters"][stored][()] == 2


@pytest.mark.parametrize("name", ["outcome", "reason", "ledger", "parameters"])
def test_a_header_can_not_write_the_verdict(path: Path, name: str) -> None:
    with written(path, {name: "complete"}, parameters={"p": 1}) as file:
        assert file[f"{COLLECTION}/{name}_"].asstr()[()] == "complete"
        assert file[f"{COLLECTION}/outcome"].asstr()[()] == "complete"
        assert file[f"{COLLECTION}/parameters/p"][()] == 1
        assert isinstance(file[f"{COLLECTION}/ledger"], h5py.Group)


def test_what_came_with_the_request_is_there_before_the_end(path: Path) -> None:
    file = SeriesFile(path, "eiger", "s1")
    file.open(frame(0), STARTED, {}, {"sample": "LaB6"})
    file.write([frame(0)])
    file.flush()

    with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as read:
        assert read[f"{COLLECTION}/parameters/sample"].asstr()[()] == "LaB6"
    file.close(SeriesReport(id="s1", detector="eiger"), {})


def test_a_value_with_a_type_and_a_unit_is_of_that_type(path: Path) -> None:
    slit = {"value": 0.25, "units": "mm", "dtype": "float32"}
    late = {"b": {"value": "7", "dtype": "uint8"}, "c": {"value": [1, 2], "units": "s"}, "d": {"value": 1, "other": 2}}
    with written(path, {"gap": slit}, {"a": slit, "in": {"deep": slit}, "b": 1.5}, late) as file:
        for name in ("gap", "parameters/a", "parameters/in/deep"):
            dataset = file[f"{COLLECTION}/{name}"]
            assert (dataset.dtype, dataset[()], dataset.attrs["units"]) == (np.float32, 0.25, "mm")
        group = file[f"{COLLECTION}/parameters"]
        assert (group["b"].dtype, group["b"][()], dict(group["b"].attrs)) == (np.uint8, 7, {})
        assert (group["c"][()].tolist(), group["c"].attrs["units"]) == ([1, 2], "s")
        assert (group["d/value"][()], group["d/other"][()]) == (1, 2)


def test_a_header_that_claims_a_type_it_is_not_of_is_kept_as_it_came(path: Path) -> None:
    with written(path, {"gap": {"value": "wide", "dtype": "float32"}}) as file:
        group = file[f"{COLLECTION}/gap"]
        assert (group["value"].asstr()[()], group["dtype"].asstr()[()]) == ("wide", "float32")


def test_late_parameters_replace_earlier_ones(path: Path) -> None:
    with written(path, {}, parameters={"a": 1, "b": {"x": 1}}, late={"b": 2, "c": 3}) as file:
        group = file[f"{COLLECTION}/parameters"]
        assert {name: one[()] for name, one in group.items()} == {"a": 1, "b": 2, "c": 3}


LEDGER = LedgerReport(
    expected=20,
    received=19,
    unique=12,
    duplicate=2,
    foreign={"of another series": 3},
    malformed={"header is no JSON": 1, "payload: too short": 1},
    written=9,
    discarded={"flagged by the detector": 2},
    failed={"write_failed": 1},
    missing=8,
    missing_ranges=[(3, 5), (9, 9), (15, 18)],
    late=4,
    passes=2,
)


def test_the_ledger_comes_back(path: Path) -> None:
    report = SeriesReport(id="s1", detector="eiger", outcome=Outcome.INCOMPLETE, reason="8 missing", ledger=LEDGER)
    with written(path, {}, report=report) as file:
        assert verdict.read_ledger(file, places.read(file)) == LEDGER
        assert file[f"{COLLECTION}/ledger/foreign"][()] == 3
        assert file[f"{COLLECTION}/reason"].asstr()[()] == "8 missing"


def test_a_ledger_comes_back_at_its_largest(path: Path) -> None:
    ledger = LedgerReport(
        malformed={f"reason {number} {'ü' * 100}": number for number in range(60)},
        missing_ranges=[(2 * number, 2 * number) for number in range(1000)],
    )
    report = SeriesReport(id="s1", detector="eiger", outcome=Outcome.INCOMPLETE, reason="ü" * 5000, ledger=ledger)
    with written(path, {}, report=report) as file:
        found = verdict.read_ledger(file, places.read(file))
        assert len(found.missing_ranges) == 1000
        assert sum(found.malformed.values()) == file[f"{COLLECTION}/ledger/malformed"][()] == sum(range(60))
        assert found.malformed[f"reason 7 {'ü' * 69}"] == 7
        assert file[f"{COLLECTION}/reason"].asstr()[()] == "ü" * 1000


@pytest.mark.parametrize("event", [1, 2])
@pytest.mark.parametrize(("shape", "kind"), [((4, 6), "image"), ((2, 4, 6), "image"), ((16,), "spectrum")])
def test_the_default_plot_is_the_frames(path: Path, event: int, shape: tuple[int, ...], kind: str) -> None:
    with written(path, {}, shape=shape, event=event) as file:
        assert file.attrs["default"] == "entry"
        assert file["/entry"].attrs["default"] == "data"
        assert file["/entry/data"].attrs["signal"] == "data"
        assert file["/entry/data/data"].attrs["interpretation"] == kind
    nexusformat = pytest.importorskip("nexusformat.nexus")

    plottable = nexusformat.nxload(str(path)).plottable_data
    assert plottable.nxsignal.nxpath == "/entry/data/data"
    assert plottable.nxsignal.shape == ((2,) if event == 1 else (1, 2)) + shape
