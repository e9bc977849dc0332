"""Parameters of series that have ended: into files that are closed, appended to, replaced, or left open."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import pytest

from bluesky_streamdet.core.errors import FileTaken, RequestRefused, WriteFailed
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.layouts import placing
from bluesky_streamdet.streaming.files.mending.journal import take_journal
from bluesky_streamdet.streaming.files.mending.late import add_late
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, WRITING, Superblock
from bluesky_streamdet.streaming.messages import START
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.frames import frame

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLLECTION = "/entry/instrument/eiger/collection"


def report(series: str, written: int) -> SeriesReport:
    ledger = LedgerReport(received=written, unique=written, written=written)
    return SeriesReport(id=series, detector="eiger", outcome=Outcome.COMPLETE, ended_at=NOW, ledger=ledger)


def opened(path: Path, series: str, **options: Any) -> SeriesFile:
    file = SeriesFile(path, "eiger", series, **options)
    file.open(frame(0), NOW, {}, {"early": 1})
    file.write([frame(0), frame(1)])
    return file


def write(path: Path, series: str, **options: Any) -> Path:
    file = opened(path, series, **options)
    file.close(report(series, 2), {})
    return path


def test_into_a_closed_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "s0")
    before = inspect(path)
    start = {"uid": "1", "sample": {"name": "LaB6"}}
    add_late(path, "s0", None, {"early": 2, "length": {"value": 1.5, "units": "mm"}, "text": "ü", START: start})
    add_late(path, "s0", before.data, {"text": "newer"})

    with h5py.File(path) as file:
        group = file[f"{COLLECTION}/parameters"]
        assert (group["early"][()], group["text"].asstr()[()]) == (2, "newer")
        assert (group["length"][()], group["length"].attrs["units"]) == (1.5, "mm")
        assert file["/entry/sample/name"].asstr()[()] == "LaB6"
    after = inspect(path)
    assert after == before.model_copy(update={"nbytes": after.nbytes})


def test_each_series_of_a_file_has_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "s0")
    write(path, "s1", append=True)
    add_late(path, "s0", None, {"of": "the first"})
    add_late(path, "s1", None, {"of": "the second"})

    with h5py.File(path) as file:
        assert file[f"{COLLECTION}/parameters/of"].asstr()[()] == "the first"
        assert file[f"{COLLECTION}/appended/s1/parameters/of"].asstr()[()] == "the second"
        assert file[f"{COLLECTION}/appended/s1/parameters/early"][()] == 1


def test_each_dataset_of_a_file_has_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "s0")
    write(path, "s1", add=True, dataset="data_white")
    data, white = (inspect(path, name).data for name in ("data", "data_white"))
    add_late(path, "s0", data, {"of": "data"})
    add_late(path, "s1", white, {"of": "white"})
    with pytest.raises(RequestRefused, match="does not hold series s1"):
        add_late(path, "s1", data, {"of": "white"})

    with h5py.File(path) as file:
        said = [file[f"{file[one].attrs['account']}/parameters/of"].asstr()[()] for one in (data, white)]
    assert said == ["data", "white"]


def test_a_file_that_is_written_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "s0")
    file = opened(path, "s1", append=True)
    with pytest.raises(FileTaken, match="being written"):
        add_late(path, "s0", None, {"a": 1})
    file.close(report("s1", 2), {})

    add_late(path, "s0", None, {"a": 1})
    assert inspect(path).readable == 4


def test_beside_one_whose_writer_died(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "s0")
    with open(path, "r+b") as file:
        head = Superblock(file.read(SIZE))
        head.flags = WRITING
        file.seek(0)
        file.write(head.pack())
    before = path.read_bytes()
    add_late(path, "s0", None, {"a": 1})

    assert path.read_bytes() == before
    assert take_journal(path) == {"a": 1}


def test_the_file_of_another(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "s0")
    write(path, "s1", replace=True)
    before = path.read_bytes()
    with pytest.raises(RequestRefused, match=r"does not hold series s0 any more, but s1"):
        add_late(path, "s0", None, {"a": 1})
    assert path.read_bytes() == before

    path.write_bytes(b"no HDF5 at all" * 100)
    with pytest.raises((RequestRefused, WriteFailed), match="can't"):
        add_late(path, "s0", None, {"a": 1})
    path.unlink()
    with pytest.raises(RequestRefused, match="not there any more"):
        add_late(path, "s0", None, {"a": 1})


def test_one_that_can_not_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5", "s0")
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(placing, "add_parameters", refuse)
    with pytest.raises(WriteFailed, match="No space left on device"):
        add_late(path, "s0", None, {"a": 1})
    assert path.read_bytes() == before
