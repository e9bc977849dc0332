"""Settings as files: what is saved comes back, and what does not fit is refused."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path

import pytest

from bluesky_streamdet.xspress3.abi import TriggerB
from bluesky_streamdet.xspress3.constants import ErrorCode

from .bench import Bench


def save(bench: Bench, directory: Path) -> int:
    return bench.raw("save_settings", os.fsencode(directory))


def restore(bench: Bench, directory: Path, force: bool = False) -> int:
    return bench.raw("restore_settings", os.fsencode(directory), int(force))


def window(bench: Bench, channel: int, number: int) -> tuple[int, int]:
    low, high = ctypes.c_uint32(), ctypes.c_uint32()
    bench.call("get_window", channel, number, ctypes.byref(low), ctypes.byref(high))
    return low.value, high.value


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    bench = Bench()
    bench.call("set_window", 2, 1, 100, 200)
    bench.call("set_good_thres", 1, 77)
    bench.call("setDeadtimeCorrectionParameters", 3, 2, 1e-9, 2e-7, 3e-7, 4e-9)
    bench.call("setDeadtimeCalculationEnergy", 7.5)
    assert save(bench, tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 5
    assert save(bench, tmp_path) == 0  # over what is there
    other = Bench()
    assert restore(other, tmp_path) == 0
    assert window(other, 2, 1) == (100, 200)
    assert other.get("get_good_thres", 1) == 77
    assert other.raw("getDeadtimeCalculationEnergy") == 7.5
    assert other.get("getDeadtimeCorrectionFlags", 3, kind=ctypes.c_int) == 2
    assert other.call("get_run_flags") == bench.call("get_run_flags")
    other.burst(1)


def test_event_width_of_the_settings_is_the_one_that_counts_are_lost_by(tmp_path: Path) -> None:
    assert save(Bench(dead_time={"event_width": 100}), tmp_path) == 0
    narrow, wide = Bench(rate=1e6), Bench(rate=1e6)
    assert restore(wide, tmp_path) == 0
    trigger = TriggerB()
    wide.call("get_trigger_b", 0, ctypes.byref(trigger))
    assert trigger.event_time == 100
    for bench in (narrow, wide):
        bench.burst(1, 8_000_000)
    assert wide.spectra(0, 1).sum() < 0.6 * narrow.spectra(0, 1).sum()


def test_variable_widths_are_shorter_than_the_event_time(tmp_path: Path) -> None:
    bench = Bench(rate=1e6, dead_time={"event_width": 103})
    assert save(bench, tmp_path) == 0
    for file in tmp_path.glob("channel_*"):
        content = json.loads(file.read_text())
        content["trigger"]["enb_variable_width"] = 1
        file.write_text(json.dumps(content))
    assert restore(bench, tmp_path) == 0
    same = Bench(rate=1e6, dead_time={"event_width": 100})
    for one in (bench, same):
        one.burst(1, 8_000_000)
    assert (bench.scalers(0, 1) == same.scalers(0, 1)).all()


def test_settings_of_another_generation_need_force(tmp_path: Path) -> None:
    assert save(Bench(generation="Mini"), tmp_path) == 0
    bench = Bench(generation="X4")
    assert restore(bench, tmp_path) == ErrorCode.ERROR
    assert "Mini" in bench.message
    assert restore(bench, tmp_path, force=True) == 0


def test_directories_and_files_that_are_missing_or_unreadable(tmp_path: Path) -> None:
    bench = Bench()
    assert restore(bench, tmp_path / "none") == ErrorCode.CANNOT_OPEN_FILE
    assert save(bench, tmp_path / "none") == ErrorCode.CANNOT_OPEN_FILE
    assert bench.raw("restore_settings", None, 0) == ErrorCode.ERROR
    assert restore(bench, tmp_path) == ErrorCode.CANNOT_OPEN_FILE
    assert "system.json" in bench.message
    assert save(bench, tmp_path) == 0
    (tmp_path / "channel_02.json").write_text("{}")
    bench.call("set_good_thres", 0, 55)
    assert restore(bench, tmp_path) == ErrorCode.FILE_READ_FAILED
    assert "channel_02.json" in bench.message
    assert bench.get("get_good_thres", 0) == 55  # all or nothing
    (tmp_path / "channel_02.json").unlink()
    assert restore(bench, tmp_path) == ErrorCode.CANNOT_OPEN_FILE


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "system.json").mkdir()
    bench = Bench()
    assert save(bench, tmp_path) == ErrorCode.FILE_WRITE_FAILED
    assert str(tmp_path) in bench.message


@pytest.mark.parametrize("name", ["save_settings", "restore_settings"])
def test_not_while_running(name: str, tmp_path: Path) -> None:
    bench = Bench()
    bench.generate(10, 8_000_000)
    bench.start()
    arguments = [os.fsencode(tmp_path)] + [0] * (name == "restore_settings")
    assert bench.raw(name, *arguments) == ErrorCode.ERROR
    assert "stop it first" in bench.message
