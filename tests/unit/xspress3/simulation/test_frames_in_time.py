"""When frames begin and end, in each way of timing them, by a clock that the test turns."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from bluesky_streamdet.core.errors import RequestRefused
from bluesky_streamdet.xspress3.abi import TimingSetup
from bluesky_streamdet.xspress3.constants import (
    AcquireInPause,
    ErrorCode,
    GapMode,
    ItfgTrigger,
    RunFlags,
    Scaler,
    TimeA,
    TimeSource,
    TimeStatus,
)

from .bench import PERIOD, Bench

RUNNING, COUNTING = TimeStatus.RUNNING, TimeStatus.COUNTING
PAUSED, FINISHED = TimeStatus.PAUSED, TimeStatus.FINISHED
DEBOUNCE = 80 << 16


def ticks(bench: Bench, frames: int) -> list[int]:
    scalers = bench.scalers(0, frames)
    assert (scalers[..., Scaler.LIVE_TICKS] == scalers[..., Scaler.TOTAL_TICKS]).all()
    assert (np.ptp(scalers[..., Scaler.LIVE_TICKS], axis=1) == 0).all()
    return scalers[:, 0, Scaler.LIVE_TICKS].tolist()


@pytest.mark.parametrize(
    ("gap", "cycles"), [(GapMode.NS25, 2), (GapMode.NS200, 16), (GapMode.NS500, 40), (GapMode.US1, 80)]
)
def test_burst_frames_follow_one_another_with_the_gap(gap: GapMode, cycles: int) -> None:
    bench = Bench()
    bench.generate(3, 1000, gap=gap)
    bench.start()
    for frame in range(3):
        assert bench.status() == (RUNNING | COUNTING, frame)
        bench.clock.tick(999)
        assert bench.progress == frame
        bench.clock.tick(1)
        assert bench.progress == frame + 1
        bench.clock.tick(cycles)
    assert bench.status() == (RUNNING | FINISHED, 2)
    assert bench.progress == 3
    assert ticks(bench, 3) == [1000] * 3
    bench.stop()
    assert bench.status() == (TimeStatus(0), 2)
    assert bench.progress == 3  # it keeps until the next start


def test_burst_that_is_armed_begins_when_counting_is_enabled() -> None:
    bench = Bench()
    bench.generate(2, 1000)
    bench.arm()
    bench.clock.tick(5000)
    assert bench.status() == (RUNNING | PAUSED, 0)
    bench.call("histogram_continue", 0)
    bench.clock.tick(2002)
    assert bench.progress == 2


def test_a_frame_for_each_software_trigger() -> None:
    bench = Bench()
    bench.generate(3, 1000, ItfgTrigger.SOFTWARE)
    bench.arm()
    assert bench.status() == (RUNNING | PAUSED, 0)
    bench.trigger()
    assert bench.status() == (RUNNING | COUNTING, 0)
    bench.clock.tick(500)
    bench.trigger()  # during a frame, it is not heard
    bench.clock.tick(600)
    assert bench.progress == 1
    assert bench.status() == (RUNNING | PAUSED, 0)
    bench.call("histogram_continue", 0)
    bench.clock.tick(2000)
    bench.call("histogram_continue", 0)  # without a pause in between there is no edge
    bench.clock.tick(2000)
    assert bench.progress == 2
    bench.call("histogram_pause", 0)
    bench.trigger()
    bench.clock.tick(1002)
    assert bench.status() == (RUNNING | FINISHED, 2)
    bench.trigger()
    assert bench.progress == 3


def test_one_software_trigger_for_all_frames() -> None:
    bench = Bench()
    bench.generate(4, 1000, ItfgTrigger.SOFTWARE_ONLY_FIRST)
    bench.arm()
    bench.clock.tick(100)
    bench.trigger()
    bench.clock.tick(4 * 1002)
    assert bench.progress == 4


def test_a_frame_for_each_hardware_trigger() -> None:
    bench = Bench()
    bench.generate(3, 1000, ItfgTrigger.HARDWARE, register=DEBOUNCE)
    bench.library.inputs.pulse()  # before the start, nobody listens
    bench.clock.turn(1e-3)
    bench.start()
    bench.library.inputs.pulse(count=2, period=1e-3)
    bench.clock.tick(80 + 1000)
    assert bench.progress == 1
    bench.clock.turn(1e-3)
    assert bench.progress == 2
    bench.library.inputs.pulse(count=5, period=1e-3)
    bench.clock.turn(1.0)
    assert bench.progress == 3


def test_one_hardware_trigger_for_all_frames() -> None:
    bench = Bench()
    bench.generate(100, 1000, ItfgTrigger.HARDWARE_ONLY_FIRST)
    bench.start()
    bench.clock.turn(1.0)
    assert bench.progress == 0
    bench.library.inputs.pulse()
    bench.clock.tick(100 * 1002)
    assert bench.progress == 100


def test_inverted_triggers_come_with_the_falling_edge() -> None:
    bench = Bench()
    bench.library.inputs.level(True)
    bench.generate(1, 1000, ItfgTrigger.HARDWARE, register=TimeA.VETO_INV)
    bench.start()
    bench.clock.turn(1e-3)
    assert bench.status() == (RUNNING | PAUSED, 0)
    bench.library.inputs.level(False)
    assert bench.status() == (RUNNING | COUNTING, 0)


def test_debounce_drops_short_pulses_and_delays_others() -> None:
    bench = Bench()
    bench.generate(1, 1000, ItfgTrigger.HARDWARE, register=DEBOUNCE)
    bench.start()
    bench.library.inputs.pulse(count=3, period=20e-6, width=79 * PERIOD)
    bench.clock.turn(1e-3)
    assert bench.status() == (RUNNING | PAUSED, 0)
    bench.library.inputs.pulse(width=81 * PERIOD)
    bench.clock.tick(79)
    assert bench.status() == (RUNNING | PAUSED, 0)
    bench.clock.tick(1)
    assert bench.status() == (RUNNING | COUNTING, 0)


@pytest.mark.parametrize(
    ("in_pause", "pulses", "complete"),
    [
        (AcquireInPause.ALL, 6, 2),
        (AcquireInPause.ALL, 5, 1),
        (AcquireInPause.EXCL_FIRST, 6, 1),
        (AcquireInPause.EXCL_FIRST, 7, 2),
    ],
)
def test_several_triggers_for_a_frame(in_pause: AcquireInPause, pulses: int, complete: int) -> None:
    bench = Bench()
    bench.generate(2, 3, ItfgTrigger.HARDWARE, in_pause=in_pause)
    bench.start()
    bench.clock.tick(8000)
    bench.library.inputs.pulse(count=pulses, period=1e-3)
    bench.clock.turn(1.0)
    assert bench.progress == complete
    # From trigger to trigger, or from the start on, and the gap is missing.
    expected = [8000 + 2 * 80000, 3 * 80000 - 2] if in_pause == AcquireInPause.ALL else [3 * 80000, 3 * 80000 - 2]
    assert ticks(bench, complete) == expected[:complete]


@pytest.mark.parametrize(
    "source", [TimeSource.TTL_VETO_ONLY, TimeSource.TTL_BOTH, TimeSource.LVDS_BOTH, TimeSource.IDC]
)
def test_gates_last_as_long_as_the_level(source: TimeSource) -> None:
    bench = Bench()
    bench.call("set_glob_timeA", 0, source | DEBOUNCE)
    bench.start()
    bench.library.inputs.gate(3e-3, count=1)
    bench.library.inputs.gate(1e-3, count=2, period=2e-3)
    bench.clock.tick(80 + 1)
    assert bench.status() == (RUNNING | COUNTING, 0)
    bench.clock.tick(3 * 80000)
    # The first gate is over, and complete as soon as the next one begins.
    bench.clock.turn(1.0)
    assert bench.details() == (2, 3, 0)
    assert bench.status() == (RUNNING, 2)
    bench.stop()
    assert bench.progress == 3
    assert ticks(bench, 3) == [240000, 80000, 80000]


def test_gates_that_are_complete_at_their_own_end() -> None:
    bench = Bench(behaviour={"completes": "end"})
    bench.call("set_glob_timeA", 0, TimeSource.TTL_VETO_ONLY)
    bench.start()
    bench.library.inputs.gate(1e-3)
    bench.clock.turn(2e-3)
    assert bench.progress == 1


def test_inverted_gate_counts_while_the_input_is_low() -> None:
    bench = Bench()
    bench.call("set_glob_timeA", 0, TimeSource.TTL_VETO_ONLY | TimeA.VETO_INV)
    bench.start()
    bench.clock.tick(1000)
    bench.library.inputs.level(True)
    assert bench.status() == (RUNNING, 0)
    bench.clock.tick(1000)
    bench.stop()
    assert ticks(bench, 1) == [1000]


def test_software_timed_frames_last_from_continue_to_pause() -> None:
    bench = Bench()
    bench.call("set_glob_timeA", 0, TimeSource.SOFTWARE)
    bench.arm()
    for cycles in (1000, 2000):
        bench.call("histogram_continue", 0)
        bench.clock.tick(cycles)
        bench.call("histogram_pause", 0)
        bench.clock.tick(50)
    assert bench.details() == (1, 2, 0)
    bench.stop()
    assert ticks(bench, 2) == [1000, 2000]


@pytest.mark.parametrize(("partial", "frames"), [("deliver", 3), ("drop", 2)])
def test_frame_that_the_stop_cuts(partial: str, frames: int) -> None:
    bench = Bench(behaviour={"partial": partial})
    bench.generate(10, 1000)
    bench.start()
    bench.clock.tick(2 * 1002 + 300)
    bench.stop()
    assert bench.progress == frames
    assert ticks(bench, frames) == [1000, 1000, 300][:frames]
    bench.clock.turn(1.0)
    assert bench.details() == (frames, frames, 0)
    bench.stop()
    assert bench.progress == frames


def test_generator_without_end() -> None:
    bench = Bench()
    bench.generate(0, 1000)
    bench.start()
    bench.clock.turn(10.0)
    assert bench.progress == pytest.approx(10.0 / (1002 * PERIOD), abs=1)
    bench.stop()
    bench.clock.turn(1.0)
    assert bench.progress == pytest.approx(10.0 / (1002 * PERIOD), abs=2)


def test_generator_is_started_again_for_the_next_row() -> None:
    bench = Bench()
    bench.generate(5, 1000)
    bench.start()
    bench.clock.turn(1.0)
    assert bench.status() == (RUNNING | FINISHED, 4)
    bench.call("itfg_start", 0)
    bench.clock.turn(1.0)
    assert bench.progress == 10
    bench.call("itfg_start", 0)
    bench.clock.tick(2 * 1002)
    bench.call("itfg_stop", 0)
    bench.clock.turn(1.0)
    assert bench.progress == 12
    assert bench.call("histogram_is_any_busy") == 0


def test_progress_begins_anew_with_the_next_run() -> None:
    bench = Bench()
    bench.burst(3)
    assert bench.progress == 3
    bench.start()  # a run that is finished need not be stopped
    assert bench.progress == 0


def test_what_is_refused_while_running_and_before() -> None:
    bench = Bench()
    for name in ("histogram_continue", "histogram_pause", "itfg_start"):
        assert bench.raw(name, 0) == ErrorCode.ERROR
        assert "has not been started" in bench.message
    bench.generate(10, 80000)
    bench.start()
    assert bench.call("histogram_is_any_busy") == 1
    assert bench.raw("histogram_start", 0) == ErrorCode.ERROR
    assert bench.raw("format_run", -1, 0, 0, 0, 0, 0, 12) == ErrorCode.ERROR
    assert bench.raw("histogram_clear", 0, 4, 0, 1) == ErrorCode.ERROR
    assert bench.raw("set_run_flags", 12) == ErrorCode.ERROR
    assert "stop it first" in bench.message
    bench.call("set_window", -1, 0, 5, 10)
    bench.stop()
    assert bench.call("histogram_is_any_busy") == 0
    assert bench.raw("histogram_continue", 0) == ErrorCode.ERROR


def test_memory_has_to_be_cleared_before_a_run_that_is_not_circular() -> None:
    bench = Bench(flags=RunFlags.SCALERS | RunFlags.HIST)
    bench.generate(1, 1000)
    assert bench.raw("histogram_start", 0) == ErrorCode.ERROR
    assert "histogram_clear" in bench.message
    bench.clear()
    bench.start()


def test_a_mini_says_nothing_of_progress_before_it_runs() -> None:
    bench = Bench(generation="Mini")
    assert bench.raw("scaler_check_progress") == ErrorCode.ERROR
    bench.burst(1)
    assert bench.progress == 1


def test_pulses_that_are_none() -> None:
    bench = Bench()
    for count, period, width in ((0, 0.0, 1e-5), (2, 1e-5, 1e-5), (1, 0.0, 0.0)):
        with pytest.raises(RequestRefused, match="no pulses"):
            bench.library.inputs.pulse(count, period, width)


def test_a_level_ends_the_pulses_that_are_to_come() -> None:
    bench = Bench()
    bench.generate(10, 1000, ItfgTrigger.HARDWARE)
    bench.start()
    bench.library.inputs.pulse(count=10, period=1e-3)
    bench.clock.turn(2.5e-3)
    bench.library.inputs.level(False)
    bench.clock.turn(1.0)
    assert bench.progress == 3


def test_gate_that_the_stop_cuts_is_as_long_as_it_was_open() -> None:
    bench = Bench()
    bench.call("set_glob_timeA", 0, TimeSource.TTL_VETO_ONLY)
    bench.library.inputs.level(True)
    bench.start()
    bench.clock.tick(700)
    assert bench.details() == (0, 1, 0)
    bench.stop()
    assert ticks(bench, 1) == [700]


def test_a_gate_has_no_generator_to_start_again() -> None:
    bench = Bench()
    bench.call("set_glob_timeA", 0, TimeSource.TTL_VETO_ONLY)
    bench.start()
    assert bench.raw("itfg_start", 0) == ErrorCode.ERROR
    assert "internal generator" in bench.message


def test_registers_are_read_back() -> None:
    bench = Bench()
    assert bench.get("get_glob_time_statA", 0) == 0
    bench.call("set_glob_timeA", -1, 0x00500009)
    bench.call("set_glob_timeFixed", 0, 7)
    assert bench.get("get_glob_timeA", 0) == 0x00500009
    assert bench.get("get_glob_timeFixed", 0) == 7
    bench.call("itfg_setup", 0, 5, 1234, ItfgTrigger.HARDWARE, GapMode.NS500)
    numbers = ctypes.c_int(), ctypes.c_uint32(), ctypes.c_int(), ctypes.c_int()
    bench.call("itfg_get_setup", 0, *map(ctypes.byref, numbers))
    assert [one.value for one in numbers] == [5, 1234, ItfgTrigger.HARDWARE, GapMode.NS500]
    assert bench.call("has_itfg", 0) >= 4


@pytest.mark.parametrize("changes", [{"t_src": 8}, {"t_src": -1}, {"debounce": 256}, {"override_debounce_other": -1}])
def test_timing_of_the_system_that_is_refused(changes: dict[str, int]) -> None:
    bench = Bench()
    assert bench.raw("set_timing", ctypes.byref(TimingSetup(**changes))) == ErrorCode.RANGE_CHECK


def test_ticks_stop_at_32_bits() -> None:
    bench = Bench()
    bench.call("set_glob_timeA", 0, TimeSource.SOFTWARE)
    bench.start()
    bench.clock.turn(60.0)
    bench.stop()
    assert ticks(bench, 1) == [0xFFFFFFFF]
