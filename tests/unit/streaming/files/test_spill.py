"""Frames that the file of their series can take no more: each is in one of two files, and counted."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.resequence import Resequencer
from bluesky_streamdet.core.series import Order, Outcome, Series
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.paths import DataDirectory
from bluesky_streamdet.streaming.files.room import EVERY, Room
from bluesky_streamdet.streaming.files.spill import SPILLED, Spill
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.writer import SeriesWriter
from tests.unit.streaming.frames import frame, pictures
from tests.wire.streams import Clock


class Rig:
    """A series whose file vanishes when the test says so, which is noticed at the next look at the disk."""

    def __init__(self, folder: Path, event: int = 1) -> None:
        self.path, self.second, self.clock = folder / "first" / "a.h5", folder / "second", Clock()
        self.path.parent.mkdir()
        self.series = Series(Order("s"), None, None, Resequencer(0, 1 << 20, 1.0))

        def make(path: Path) -> SeriesFile:
            return SeriesFile(path, "eiger", "s", event=event)

        room = Room(self.path, clock=self.clock)
        self.spill = Spill(DataDirectory(self.second), Path("a.h5"), make)
        request = ArmRequest(metadata={"sample": "Si"}, frames_per_event=event)
        self.writer = SeriesWriter("s", "eiger", make(self.path), request, room=room, spill=self.spill)
        self.writer.begin(self.series, None)

    def write(self, first: int, last: int) -> None:
        self.series.ledger.received += last - first
        self.series.ledger.unique += last - first
        self.writer.write([frame(number) for number in range(first, last)])
        assert self.series.ledger.imbalance() == []

    def vanish(self) -> None:
        os.rename(self.path, self.path.with_name("moved.h5"))
        self.clock.advance(EVERY)

    def finish(self) -> None:
        self.writer.finish(self.series)
        assert self.series.ledger.imbalance() == []
        assert self.series.ledger.pending == 0


def holds(path: Path, numbers: range) -> bool:
    with h5py.File(path, "r") as file:
        found = file["/entry/instrument/eiger/sequence_number"][()].reshape(-1)[: len(numbers)].tolist()
        rows = file["/entry/data/data"][()].reshape(-1, 4, 6)[: len(numbers)]
    return found == list(numbers) and np.array_equal(rows, pictures(numbers))


@pytest.mark.parametrize("event", [1, 4])
def test_frames_in_hand_and_all_later_ones(tmp_path: Path, event: int) -> None:
    rig = Rig(tmp_path, event)
    rig.write(0, 10)
    assert rig.writer.flush()
    rig.write(10, 15)
    rig.vanish()
    rig.write(15, 20)
    assert "is not where it was" in rig.writer.report().reason
    assert rig.writer.report().spill == str(rig.second / "a.h5")
    assert rig.series.ledger.pending == 10, "they can't be read in the second file yet"
    assert rig.writer.flush()
    assert rig.series.ledger.failed == {SPILLED: 10}
    rig.writer.set_parameters({"late": 1})
    rig.write(20, 30)
    rig.finish()

    report = rig.writer.report()
    assert report.outcome is Outcome.INCOMPLETE and report.ledger.written == 10
    assert report.ledger.failed == {SPILLED: 20}
    assert f"20 frames are in {report.spill}" in report.reason
    assert holds(rig.path.with_name("moved.h5"), range(10))
    assert holds(rig.second / "a.h5", range(10, 30))
    said = inspect(rig.second / "a.h5")
    assert said.ledger is not None and said.ledger.written == said.readable == 20
    assert said.reason.startswith(f"this is the rest: the first 10 frames of series s are in {rig.path}")
    with h5py.File(rig.second / "a.h5", "r") as file:
        parameters = file["/entry/instrument/eiger/collection/parameters"]
        assert (parameters["sample"].asstr()[()], parameters["late"][()]) == ("Si", 1)


def test_a_series_that_never_had_a_file(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.path.parent.rmdir()
    rig.write(0, 5)
    rig.finish()

    report = rig.writer.report()
    assert report.file is None and report.ledger.failed == {SPILLED: 5}
    assert holds(rig.second / "a.h5", range(5))
    assert "no frame of series s is in another file" in inspect(rig.second / "a.h5").reason


def test_a_name_that_is_taken_there(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.second.mkdir()
    (rig.second / "a.h5").touch()
    rig.path.parent.rmdir()
    rig.write(0, 5)
    rig.finish()

    assert rig.writer.report().spill == str(rig.second / "a_1.h5")


def test_a_second_directory_that_fails_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.write(0, 10)
    rig.writer.flush()
    rig.write(10, 15)
    rig.second.touch()
    rig.vanish()
    rig.write(15, 20)
    rig.write(20, 25)
    rig.finish()

    report = rig.writer.report()
    assert report.ledger.written == 10
    assert report.ledger.failed == {"path_refused": 15}
    assert "can't be made" in report.reason, "why the second one failed is said, too"
    assert report.spill is None


def test_a_file_that_goes_after_the_last_frame(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.write(0, 5)
    rig.writer.flush()
    os.rename(rig.path, rig.path.with_name("moved.h5"))
    rig.finish()

    report = rig.writer.report()
    assert report.outcome is Outcome.INCOMPLETE and "is not where it was" in report.reason
    assert report.ledger.written == 5 and report.spill is None
