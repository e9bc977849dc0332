"""The file of a series: what was announced can be read by others, at any time, and equals what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest

from bluesky_streamdet.core.errors import FileTaken, WriteFailed
from bluesky_streamdet.core.events import BSLZ4, RAW, Frame
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.chunks import frames_per_chunk
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.elsewhere import Elsewhere
from tests.unit.streaming.frames import NOON, frame, picture, pictures

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
DATA = "/entry/data/data"
DETECTOR = "/entry/instrument/eiger"


def opened(path: Path, first: Frame | None = None, **options: Any) -> SeriesFile:
    file = SeriesFile(path, "eiger", "s1", **options)
    file.open(first if first is not None else frame(0), STARTED, {})
    return file


def report(written: int = 0) -> SeriesReport:
    ledger = LedgerReport(received=written, unique=written, written=written)
    return SeriesReport(id="s1", detector="eiger", outcome=Outcome.COMPLETE, ledger=ledger)


def write_all(path: Path, frames: Sequence[Frame], late: Mapping[str, Any] | None = None, **options: Any) -> SeriesFile:
    file = opened(path, frames[0] if frames else None, **options)
    if frames:
        file.write(frames)
    file.close(report(len(frames)), late or {})
    return file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


WAYS = [
    pytest.param({"encoding": RAW}, id="raw"),
    pytest.param({"encoding": BSLZ4}, id="bslz4"),
    pytest.param({"encoding": RAW, "parts": 2}, id="raw in two parts"),
    pytest.param({"encoding": BSLZ4, "parts": 4}, id="bslz4 in four parts"),
    pytest.param({"dtype": "<f8"}, id="float64"),
    pytest.param({"dtype": "|u1"}, id="uint8"),
    pytest.param({"shape": (7,)}, id="one axis"),
    pytest.param({"shape": (2, 3, 4, 5)}, id="four axes"),
    pytest.param({"shape": (400, 400), "dtype": "<u4"}, id="too large to share a chunk"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 5, 130])
def test_frames_come_back(path: Path, way: dict[str, Any], count: int) -> None:
    if count > 5 and "shape" in way:
        count = 9
    way = {"shape": (8, 6), **way}
    write_all(path, [frame(number, **way) for number in range(count)])

    with h5py.File(path, "r") as file:
        data = file[DATA]
        assert data.dtype.str == way.get("dtype", "<u2")
        assert np.array_equal(data[()], pictures(range(count), way["shape"], data.dtype.str))
        assert file[f"{DETECTOR}/data"] == data
        assert file[f"{DETECTOR}/sequence_number"][()].tolist() == list(range(count))
        assert file[f"{DETECTOR}/receive_time"][()].tolist() == [NOON + number for number in range(count)]


@pytest.mark.parametrize("way", WAYS)
def test_what_was_announced_is_there_for_others(path: Path, elsewhere: Elsewhere, way: dict[str, Any]) -> None:
    way = {"shape": (8, 6), **way}
    dtype = way.get("dtype", "<u2")
    file = opened(path, frame(0, **way))
    written = 0
    for batch in (1, 2, 1, 7, 3):
        file.write([frame(written + index, **way) for index in range(batch)])
        written += batch
        assert file.flush() == file.readable == written

        assert np.array_equal(elsewhere.rows(path, stop=written), pictures(range(written), way["shape"], dtype))
        assert elsewhere.rows(path, f"{DETECTOR}/sequence_number").tolist() == list(range(written))
    file.close(report(written), {})
    assert np.array_equal(elsewhere.rows(path), pictures(range(written), way["shape"], dtype))


def test_a_shared_chunk_that_is_not_full_is_written_again(path: Path, elsewhere: Elsewhere) -> None:
    assert frames_per_chunk(frame(0).format.nbytes) == 64
    file = opened(path)
    for number in range(150):
        file.write([frame(number)])
        if number % 7 == 0:
            file.flush()
            assert np.array_equal(elsewhere.rows(path, stop=number + 1), pictures(range(number + 1)))
    file.close(report(150), {})

    assert np.array_equal(elsewhere.rows(path), pictures(range(150)))


@pytest.mark.parametrize(
    ("nbytes", "event", "together"),
    [(8192, 1, 64), (131072, 1, 8), (262144, 1, 4), (262145, 1, 1), (8192, 5, 60), (8192, 100, 100), (131072, 9, 1)],
)
def test_how_many_frames_share_a_chunk(nbytes: int, event: int, together: int) -> None:
    assert frames_per_chunk(nbytes, event) == together


def test_what_is_not_flushed_is_not_announced(path: Path) -> None:
    file = opened(path)
    file.write([frame(0), frame(1)])

    assert file.readable == 0
    assert file.flush() == 2
    assert file.flush() == 2
    file.close(report(2), {})


def test_a_file_of_no_frames_is_whole(path: Path) -> None:
    write_all(path, [])

    with h5py.File(path, "r") as file:
        assert file[DATA].shape == (0, 4, 6)


@pytest.mark.parametrize("way", [{}, {"encoding": BSLZ4}, {"shape": (400, 400), "dtype": "<u4"}])
@pytest.mark.parametrize("count", [0, 1, 3, 9, 11, 100])
def test_frames_of_an_event_get_an_axis_and_a_flat_view(path: Path, way: dict[str, Any], count: int) -> None:
    if "shape" in way:
        count = min(count, 11)
    way = {"shape": (4, 6), "dtype": "<u2", **way}
    file = opened(path, frame(0, **way), event=3)
    frames = [frame(number, **way) for number in range(count)]
    if frames:
        file.write(frames)
    file.close(report(count), {})

    assert file.data is not None
    assert file.data.frames_per_event == 3
    with h5py.File(path, "r") as read:
        data = read[DATA]
        events = -(-count // 3)
        assert data.shape == (events, 3, *way["shape"])
        assert data.chunks == file.data.chunk_shape
        flat = data[()].reshape(-1, *way["shape"])[:count]
        assert np.array_equal(flat, pictures(range(count), way["shape"], way["dtype"]))
        if count:
            # Without the places of the last event that no frame has filled.
            assert np.array_equal(read["/entry/data/frames"][()], flat)


def test_events_are_read_while_they_are_written(path: Path, elsewhere: Elsewhere) -> None:
    file = opened(path, event=4)
    for number in range(10):
        file.write([frame(number)])
        file.flush()
        rows = elsewhere.rows(path)
        assert len(rows) == -(-(number + 1) // 4)
        assert np.array_equal(rows.reshape(-1, 4, 6)[: number + 1], pictures(range(number + 1)))
    file.close(report(10), {})


def test_values_of_single_frames_have_columns(path: Path, elsewhere: Elsewhere) -> None:
    details = [{"start_time": 100 * number, "real_time": 7, "gain": 0.5 * number} for number in range(5)]
    details[3] = {"start_time": 300}
    file = opened(path, frame(0, detail={**details[0], "gain": 0.0}))
    file.write([frame(number, detail=detail) for number, detail in enumerate(details)])
    file.flush()

    assert elsewhere.rows(path, f"{DETECTOR}/start_time").tolist() == [0.0, 1e-7, 2e-7, 3e-7, 4e-7]
    assert elsewhere.rows(path, f"{DETECTOR}/real_time").tolist() == [7, 7, 7, -(1 << 63), 7]
    assert np.array_equal(elsewhere.rows(path, f"{DETECTOR}/gain"), [0.0, 0.5, 1.0, np.nan, 2.0], equal_nan=True)
    file.close(report(5), {})
    with h5py.File(path, "r") as read:
        assert read[f"{DETECTOR}/start_time"].attrs["units"] == "s"


def test_a_time_that_no_detector_means_costs_no_frame(path: Path, elsewhere: Elsewhere) -> None:
    file = opened(path, frame(0, detail={"real_time": 1}))
    file.write([frame(0, detail={"real_time": 1}), frame(1, detail={"real_time": 1 << 70}), frame(2)])

    assert file.flush() == 3
    assert elsewhere.rows(path, f"{DETECTOR}/real_time").tolist() == [1, -(1 << 63), -(1 << 63)]
    file.close(report(3), {})


def test_a_file_tells_which_frames_it_takes(path: Path) -> None:
    file = opened(path)

    assert file.accepts(frame(1))
    assert not file.accepts(frame(1, shape=(4, 7)))
    assert not file.accepts(frame(1, dtype="<u4"))
    assert not file.accepts(frame(1, encoding=BSLZ4))
    file.close(report(), {})


def test_an_existing_file_is_never_touched(path: Path) -> None:
    path.write_bytes(b"precious")

    with pytest.raises(FileTaken):
        opened(path)
    assert path.read_bytes() == b"precious"


def test_a_file_is_replaced_when_asked(path: Path) -> None:
    write_all(path, [frame(number) for number in range(5)])
    with h5py.File(path, "r", locking=False) as old:
        write_all(path, [frame(9)], replace=True)
        assert len(old[DATA]) == 5, "who reads the old file goes on reading it"

    with h5py.File(path, "r") as file:
        assert np.array_equal(file[DATA][()], pictures([9]))


def test_a_folder_that_vanished_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WriteFailed, match=r"gone/scan\.h5 can't be created: No such file or directory"):
        opened(tmp_path / "gone" / "scan.h5")


def test_a_file_that_can_not_be_set_up_leaves_nothing_behind(path: Path) -> None:
    file = SeriesFile(path, "eiger", "s1", event=1 << 70)

    with pytest.raises(WriteFailed, match="can't be set up"):
        file.open(frame(0), STARTED, {})
    assert not path.exists()
    assert not file.is_open
    write_all(path, [frame(0)])


def test_a_reader_that_locks_does_not_stop_the_writer(path: Path) -> None:
    write_all(path, [frame(0)])
    with h5py.File(path, "r", locking=True):
        write_all(path, [frame(1), frame(2)], replace=True)

    with h5py.File(path, "r") as file:
        assert len(file[DATA]) == 2


def test_frames_beyond_a_cut_are_gone(path: Path) -> None:
    file = opened(path)
    file.write([frame(number) for number in range(10)])
    file.flush()
    file.cut(4)
    file.close(report(4), {})

    with h5py.File(path, "r") as read:
        assert np.array_equal(read[DATA][()], pictures(range(4)))
        assert read[f"{DETECTOR}/sequence_number"].shape == (4,)


def test_the_verdict_is_in_the_file_without_opening_it_again(path: Path, elsewhere: Elsewhere) -> None:
    """Nobody could read it meanwhile, nor after a crash."""
    file = opened(path)
    file.write([frame(0)])
    opened_again: list[Any] = []
    file._add = opened_again.append  # type: ignore[method-assign]
    file.close(report(1), {})

    assert not opened_again
    with h5py.File(path, "r") as read:
        assert read[f"{DETECTOR}/collection/outcome"].asstr()[()] == "complete"
    assert np.array_equal(elsewhere.rows(path), picture(0)[None])


def test_files_are_for_older_libraries_too(path: Path) -> None:
    file = opened(path)

    # "latest" means HDF5 2.0 here, whose datasets no 1.x can open.
    assert file._file is not None
    assert file._file.libver == ("v110", "v110")  # type: ignore[attr-defined]
    file.close(report(), {})
