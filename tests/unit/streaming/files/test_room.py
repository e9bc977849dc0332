"""Room on the disk, before a series and in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import NoRoom
from bluesky_streamdet.streaming.files.room import EVERY, RESERVE, Room, check_room, free_bytes
from tests.wire.streams import Clock

PLENTY = 1 << 62


def test_what_is_free(tmp_path: Path) -> None:
    assert abs(free_bytes(tmp_path) - shutil.disk_usage(tmp_path).free) < 1 << 30
    assert abs(free_bytes(tmp_path / "to" / "be" / "made") - free_bytes(tmp_path)) < 1 << 30


def test_room_before_a_series(tmp_path: Path) -> None:
    check_room(tmp_path, 1000, None, None)
    check_room(tmp_path, 1000, 10, 1000.0)
    check_room(tmp_path, 1000, 10, None)
    with pytest.raises(NoRoom, match=r"bytes\) are free, and .* shall be left \(files.least_free_megabytes\)"):
        check_room(tmp_path, PLENTY, 10, None)
    with pytest.raises(NoRoom, match=r"frames of 80000 bytes, as those of the last series, are 80,000,000.0 MB"):
        check_room(tmp_path, 1000, 10**9, 80000.0)


def test_room_that_gets_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, free = Clock(), 100_000_000
    monkeypatch.setattr("bluesky_streamdet.streaming.files.room.free_bytes", lambda folder: free)
    room = Room(tmp_path / "a.h5", least=50_000_000, clock=clock)
    assert room.report() is None
    assert room.take(1_000_000)
    assert not room.take(1_000_000), "it was looked at just now"
    report = room.report()
    assert report is not None and report.free_megabytes == 100.0 and report.warning == ""
    clock.advance(EVERY)
    free = 60_000_000
    assert room.take(20_000_000)
    report = room.report()
    assert report is not None and report.seconds_left is not None
    assert report.seconds_left == pytest.approx((60e6 - 20e6 - RESERVE) / (2e6 / EVERY))
    assert f"left for {tmp_path / 'a.h5'}, full in about 9 s. Make room" in report.warning
    free = 3_000_000
    with pytest.raises(NoRoom, match=r"more frames: 3.0 MB are left on its disk, the next ones are 20.0 MB, and"):
        room.take(20_000_000)
