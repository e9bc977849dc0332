"""Files of spectra with scalars: each number is where it belongs, and costs nothing while frames come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from bluesky_streamdet.core.errors import WriteFailed
from bluesky_streamdet.core.events import Frame, Scalar
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import inspect
from tests.unit.streaming.elsewhere import Elsewhere
from tests.unit.streaming.spectra import BINS, CHANNELS, counts, form, record, scalars, spectra
from tests.unit.streaming.test_hdf5 import STARTED, report

GROUP = "/entry/instrument/xsp"
NAMES = [one.name for one in scalars()]
METADATA = {
    "clock_period": 12.5e-9,
    "windows": [[[0, 10]] * CHANNELS] * 2,
    "dead_time_parameters": {"all_event_offset": [1e-7] * CHANNELS, "use_good": [False] * CHANNELS},
    "dead_time_energy": 6.4,
}


def opened(path: Path, first: Frame | None = None, detector: str = "xsp", **options: Any) -> SeriesFile:
    file = SeriesFile(path, detector, "s1", **options)
    file.open(first if first is not None else spectra(0), STARTED, METADATA)
    return file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


@pytest.mark.parametrize("shape", [(CHANNELS, BINS), (2, 3, 8), (8, 4096), (3, 70_000)])
def test_each_number_is_where_it_belongs(path: Path, shape: tuple[int, ...]) -> None:
    file = opened(path, spectra(0, shape))
    file.write([spectra(number, shape) for number in range(5)])
    file.flush()
    file.write([spectra(number, shape) for number in range(5, 70)])
    file.close(report(70), {})

    with h5py.File(path, "r") as read:
        data = read[f"{GROUP}/data"]
        assert data.shape == (70, *shape) and data.dtype == "<u4"
        assert data[3, 1, ..., 2].flat[0] == 3 * np.prod(shape) + np.prod(shape[1:]) + 2
        np.testing.assert_array_equal(data[()], [counts(number, shape) for number in range(70)])
        wanted = np.concatenate([record(number, shape) for number in range(70)])
        for one in scalars(shape[0]):
            dataset = read[f"{GROUP}/{one.name}"]
            assert dataset.dtype == one.dtype and dataset.shape == (70, *one.shape)
            np.testing.assert_array_equal(dataset[()], wanted[one.name])
            assert dataset.attrs.get("units", "") == one.unit


def test_what_was_announced_is_there_for_others(path: Path, elsewhere: Elsewhere) -> None:
    file = opened(path)
    written = 0
    for batch in (1, 2, 1, 7, 3):
        file.write([spectra(written + index) for index in range(batch)])
        written += batch
        assert file.flush() == written
        wanted = np.concatenate([record(number) for number in range(written)])
        for name in ("all_good", "window_counts", "dead_time_correction"):
            np.testing.assert_array_equal(elsewhere.rows(path, f"{GROUP}/{name}"), wanted[name])
    file.close(report(written), {})


def test_frames_beyond_a_cut_are_gone(path: Path) -> None:
    file = opened(path)
    file.write([spectra(number) for number in range(10)])
    file.flush()
    file.cut(4)
    file.close(report(4), {})
    with h5py.File(path, "r") as read:
        assert {read[f"{GROUP}/{name}"].shape[0] for name in (*NAMES, "data", "sequence_number")} == {4}


def test_what_was_not_flushed_is_forgotten_after_a_failure(path: Path) -> None:
    file = opened(path)
    file.write([spectra(0), spectra(1)])
    file.flush()
    file.write([spectra(2)])
    assert file.forget_unflushed() == 1
    file.close(report(2), {})
    with h5py.File(path, "r") as read:
        np.testing.assert_array_equal(read[f"{GROUP}/all_good"][()], [record(n)[0]["all_good"] for n in range(2)])


@pytest.mark.parametrize("blocks", [[7], [1] * 7, [2, 5], [4, 1, 2], [3, 3, 1]])
def test_of_several_frames_an_event_scalars_have_rows_as_the_frames_have(path: Path, blocks: list[int]) -> None:
    file = opened(path, event=3)
    numbers = iter(range(7))
    for block in blocks:
        file.write([spectra(next(numbers)) for _ in range(block)])
        file.flush()
    file.close(report(7), {})
    with h5py.File(path, "r") as read:
        assert read[f"{GROUP}/data"].shape == (3, 3, CHANNELS, BINS)
        assert read["/entry/data/frames"].shape == (7, CHANNELS, BINS)
        found = read[f"{GROUP}/all_good"][()]
        assert found.shape == (3, 3, CHANNELS)
        np.testing.assert_array_equal(found.reshape(9, -1)[:7], [record(n)[0]["all_good"] for n in range(7)])
        assert read[f"{GROUP}/sequence_number"][()].tolist() == [[0, 1, 2], [3, 4, 5], [6, 0, 0]]
    said = inspect(path)
    assert (said.readable, said.first_number, said.last_number) == (7, 0, 6)


def test_values_of_a_long_event_share_chunks_as_others_do(path: Path) -> None:
    file = opened(path, event=100_000)
    file.write([spectra(number) for number in range(5)])
    file.close(report(5), {})
    with h5py.File(path, "r") as read:
        numbers, scalars = read[f"{GROUP}/sequence_number"], read[f"{GROUP}/all_good"]
        assert (numbers.shape, numbers.chunks) == ((1, 100_000), (1, 4096))
        assert scalars.chunks[:2] == (1, 4096)
        assert np.count_nonzero(scalars[0].any(axis=1)) <= 5
    assert inspect(path).readable == 5


@pytest.mark.parametrize("detector", ["xsp", "xspress3", "detector"])
def test_the_spectra_are_where_others_look_for_them(path: Path, detector: str) -> None:
    file = opened(path, detector=detector)
    file.write([spectra(0)])
    file.close(report(1), {})
    with h5py.File(path, "r") as read:
        data = read["/entry/data/data"]
        for name in ("detector", "xspress3", detector):
            assert read[f"/entry/instrument/{name}/data"] == data
            assert read[f"/entry/instrument/{name}/all_good"].shape == (1, CHANNELS)
        assert data.attrs["interpretation"] == "spectrum"
    said = inspect(path)
    assert (said.detector, said.readable) == (detector, 1)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"ev_per_bin": 10.0}, [0.0, 0.01, 0.0]),
        ({"ev_per_bin": 20, "first_bin": 100, "regions": []}, [2.0, 0.02, 0.0]),
        ({}, None),
        ({"ev_per_bin": 10.0, "regions": [[100, 199, 50]]}, None),
        ({"ev_per_bin": 0}, None),
        ({"ev_per_bin": "ten"}, None),
        ({"ev_per_bin": float("nan")}, None),
    ],
)
def test_the_energies_are_said_where_they_are_known(
    path: Path, said: dict[str, Any], wanted: list[float] | None
) -> None:
    file = SeriesFile(path, "xsp", "s1")
    file.open(spectra(0), STARTED, METADATA | said)
    file.write([spectra(0)])
    file.close(report(1), {})
    with h5py.File(path, "r") as read:
        plot = read["/entry/data"]
        if wanted is None:
            assert "energy" not in plot and "calibration" not in read[GROUP]
            assert plot.attrs["axes"].tolist() == [".", ".", "."]
        else:
            assert read[f"{GROUP}/calibration"][()].tolist() == pytest.approx(wanted)
            assert plot["energy"][()] == pytest.approx(wanted[0] + wanted[1] * np.arange(BINS))
            assert (plot.attrs["axes"].tolist(), plot["energy"].attrs["units"]) == ([".", ".", "energy"], "keV")


def test_what_was_calculated_says_how(path: Path) -> None:
    file = opened(path)
    file.write([spectra(0)])
    file.close(report(1), {})
    with h5py.File(path, "r") as read:
        ours, sdk = (read[f"{GROUP}/{name}"].attrs for name in ("dead_time_correction", "dead_time_correction_sdk"))
        assert (ours["model"], sdk["model"]) == ("event width", "paralysable")
        assert ours["formula"] == "clock_ticks / (clock_ticks - all_events * (event_width + 1) - reset_ticks)"
        parameters = json.loads(sdk["parameters"])
        assert parameters["energy"] == 6.4 and parameters["channels"]["all_event_offset"] == [1e-7] * CHANNELS
        assert json.loads(read[f"{GROUP}/window_counts"].attrs["parameters"]) == {"[low, high]": METADATA["windows"]}
        assert read[f"{GROUP}/clock_period"].attrs["units"] == "s"
        assert "formula" not in read[f"{GROUP}/all_good"].attrs


def test_the_report_names_the_datasets(path: Path) -> None:
    taken = msgspec.structs.replace(spectra(0), detail={"all_good": 1})
    file = opened(path, taken)
    assert file.data is not None
    assert [one.name for one in file.data.scalars] == [name if name != "all_good" else "all_good_" for name in NAMES], (
        "what is there already keeps its name"
    )
    assert (file.data.scalars[7].shape, file.data.scalars[0].unit) == ((2, CHANNELS), "clock cycles")
    file.write([taken])
    file.close(report(1), {})
    with h5py.File(path, "r") as read:
        np.testing.assert_array_equal(read[f"{GROUP}/all_good_"][()], record(0)["all_good"])


@pytest.mark.parametrize("name", ["data", "local_name", "collection", "clock_period", "receive_time"])
def test_no_name_of_a_scalar_spoils_the_file(path: Path, name: str) -> None:
    kind = form()
    other = msgspec.structs.replace(
        spectra(0),
        format=type(kind)(kind.shape, kind.dtype, kind.encoding, kind.chunk, (Scalar(name, "<u2"),)),
        scalars=b"\x07\x00",
    )
    file = opened(path, other)
    file.write([other])
    file.close(report(1), {})
    with h5py.File(path, "r") as read:
        assert read[f"{GROUP}/{name}_"][()].tolist() == [7]
        np.testing.assert_array_equal(read[f"{GROUP}/data"][()], counts(0)[None])


@pytest.mark.parametrize("values", [None, b"", b"12", record(0).tobytes() * 2])
def test_scalars_of_another_size_are_not_written(path: Path, values: bytes | None) -> None:
    file = opened(path)
    file.write([spectra(0)])
    file.flush()
    file.write([msgspec.structs.replace(spectra(1), scalars=values)])
    with pytest.raises(WriteFailed, match="scalars of another size"):
        file.flush()
    assert file.forget_unflushed() == 1
    file.close(report(1), {})
    with h5py.File(path, "r") as read:
        np.testing.assert_array_equal(read[f"{GROUP}/all_good"][()], record(0)["all_good"])


def test_frames_of_other_scalars_are_of_another_kind(path: Path) -> None:
    file = opened(path)
    kind = form()
    fewer = type(kind)(kind.shape, kind.dtype, kind.encoding, kind.chunk, kind.scalars[:-1])
    assert file.accepts(spectra(1))
    assert not file.accepts(msgspec.structs.replace(spectra(1), format=fewer))
    file.close(report(), {})


def test_the_handlers_of_other_files_read_ours(path: Path) -> None:
    """Those of the specs XSP3 (a frame and a channel) and XSP3_FLY (a channel of all frames), as they are."""
    handlers = pytest.importorskip("area_detector_handlers.handlers", reason="needs the extra 'databroker'")
    file = opened(path)
    file.write([spectra(number) for number in range(5)])
    file.close(report(5), {})
    single, bulk = handlers.Xspress3HDF5Handler(str(path)), handlers.BulkXSPRESS(str(path))
    for number in range(5):
        for channel in range(1, CHANNELS + 1):
            np.testing.assert_array_equal(single(frame=number, channel=channel), counts(number)[channel - 1])
    np.testing.assert_array_equal(bulk(), [counts(number) for number in range(5)])
    single.close()
    bulk.close()
