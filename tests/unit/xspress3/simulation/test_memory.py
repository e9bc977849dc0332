"""The circular buffer: what it holds, what is lost, and who minds."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.xspress3.constants import ErrorCode, ErrorFlag, RunFlags, TimeSource, TimeStatus
from bluesky_streamdet.xspress3.simulation.memory import FrameMemory, Lost
from bluesky_streamdet.xspress3.simulation.refusal import Refusal

from .bench import Bench

OVERRUN = ErrorFlag.CIRC_BUFF_OVERRUN | ErrorFlag.CIRC_BUFF_OVERRUN_SCALARS


def test_capacity_follows_the_format() -> None:
    bench = Bench(frames=100)
    assert bench.capacity == 100
    assert bench.call("format_run", -1, 0, 0, 0, 0, 0, 11) == 200
    assert bench.call("format_run", -1, 15, 0, 0, 0, 0, 12) == 100 // 16
    assert Bench().call("format_run", -1, 0, 0, 0, 0, 0, 1) == 1 << 20
    assert Bench(generation="Mini", channels=2).capacity == 12216


@pytest.mark.parametrize("generation", ["X3", "X3V7", "X4"])
def test_old_frames_are_overwritten_and_counted(generation: str) -> None:
    bench = Bench(frames=10, generation=generation)
    bench.burst(4)
    bench.stop()
    bench.generate(16, 8000)
    bench.start()
    bench.clock.tick(4 * 8002)
    bench.acknowledge(0, 3)
    bench.clock.tick(12 * 8002)
    complete, furthest, flags = bench.details()
    assert (complete, furthest, ErrorFlag(flags)) == (16, 16, OVERRUN)
    # 13 to 15 overwrote frames 3 to 5.
    assert bench.overrun() == bench.overrun(2) == (3, 3)
    newer = bench.spectra(3, 1)
    assert (newer == bench.spectra(13, 1)).all()
    assert bench.frame_status(3).time_frame == 13
    assert (newer[0] == bench.library.contents(13)[0][:, 0]).all()


def test_no_overrun_when_all_is_acknowledged_in_time() -> None:
    bench = Bench(frames=10)
    bench.generate(1000, 8000)
    bench.start()
    done = 0
    while done < 1000:
        bench.clock.tick(7 * 8002)
        ready = bench.progress
        assert bench.frame_status(done).state == 1
        bench.acknowledge(done, ready - done)
        assert bench.frame_status(done).state == 0
        done = ready
    assert bench.overrun() == (0, -1)
    assert bench.details() == (1000, 1000, 0)


def test_a_mini_stops_at_the_first_frame_that_has_no_place() -> None:
    bench = Bench(generation="Mini", channels=2, capacity=10)
    bench.generate(100, 8000)
    bench.start()
    bench.clock.tick(5 * 8002)
    bench.acknowledge(0, 4)
    bench.clock.tick(95 * 8002)
    assert bench.details() == (14, 14, OVERRUN)
    assert bench.overrun() == (1, 4)
    assert bench.status() == (TimeStatus(0), 13)
    # What it has can be read all the same.
    assert bench.spectra(4, 10).any(axis=(1, 2)).all()
    bench.stop()
    assert bench.progress == 14


def test_a_mini_wants_each_frame_acknowledged_once() -> None:
    bench = Bench(generation="Mini")
    bench.burst(4)
    bench.call("histogram_circ_ack", 1, 0, 1, 2)  # one channel counts for its card
    assert bench.frame_status(1, channel=3).state == 0
    assert bench.raw("histogram_circ_ack", 0, 1, 4, 2) == ErrorCode.ERROR
    assert "acknowledged before" in bench.message
    bench.acknowledge(2, 2)


def test_others_do_not_mind() -> None:
    bench = Bench()
    bench.burst(4)
    bench.acknowledge(0, 2)
    bench.acknowledge(0, 4)


def test_frames_that_have_not_begun_cannot_be_acknowledged() -> None:
    bench = Bench()
    bench.burst(4)
    assert bench.raw("histogram_circ_ack", 0, 3, 4, 2) == ErrorCode.RANGE_CHECK


def test_a_memory_that_is_not_circular_ends() -> None:
    bench = Bench(frames=10, flags=RunFlags.SCALERS | RunFlags.HIST)
    bench.burst(20)
    assert bench.details() == (10, 10, ErrorFlag.HIST_FRAMES_OVERRUN)
    assert bench.spectra(0, 10).any()
    assert bench.raw("scaler_read", None, 0, 0, 10, 9, 4, 1) == ErrorCode.RANGE_CHECK
    assert "not circular" in bench.message


def test_frames_that_are_not_complete_are_refused_or_read_as_far_as_they_are() -> None:
    strict = Bench()
    lenient = Bench(behaviour={"strict_reads": False})
    for bench in (strict, lenient):
        bench.generate(4, 8_000_000)
        bench.start()
        bench.clock.tick(8_000_002 + 800_000)
    assert strict.raw("scaler_read", None, 0, 0, 1, 9, 4, 1) == ErrorCode.RANGE_CHECK
    assert "not complete" in strict.message
    assert strict.raw("scaler_read", None, 0, 0, 5, 9, 4, 1) == ErrorCode.RANGE_CHECK
    scalers = lenient.scalers(0, 3)
    assert scalers[:, 0, 0].tolist() == [8_000_000, 800_000, 0]
    assert lenient.spectra(2, 1).sum() == 0
    partly = lenient.spectra(1, 1).sum()
    lenient.clock.tick(8_000_000)
    assert lenient.spectra(1, 1).sum() > 5 * partly
    assert lenient.scalers(1, 1)[0, 0, 0] == 8_000_000


def test_a_gate_that_is_still_open_is_read_as_far_as_it_is() -> None:
    bench = Bench(behaviour={"strict_reads": False})
    bench.call("set_glob_timeA", 0, TimeSource.SOFTWARE)
    bench.start()
    bench.clock.tick(8000)
    assert bench.scalers(0, 1)[0, 0, 0] == 8000


def test_reading_before_a_run() -> None:
    bench = Bench()
    assert bench.raw("scaler_read", None, 0, 0, 0, 9, 4, 1) == ErrorCode.ERROR
    assert "has not been started" in bench.message


def test_memory_over_many_turns_at_once() -> None:
    memory = FrameMemory(channels=2, capacity=8, circular=True, stops=False)
    memory.fill(range(2), 8)
    memory.acknowledge(range(1), 0, 8)
    memory.fill(range(2), 8 + 20)
    assert memory.lost(0) == Lost(12, 8)
    assert memory.lost(1) == Lost(20, 0)
    assert memory.lost(-1) == memory.lost(1)
    assert [memory.held(0, frame) for frame in range(8)] == [24, 25, 26, 27, 20, 21, 22, 23]


def test_acknowledging_far_and_wide() -> None:
    memory = FrameMemory(channels=1, capacity=8, circular=True, stops=True)
    memory.fill(range(1), 6)
    for first in range(6):
        memory.acknowledge(range(1), first, 1)
    memory.fill(range(1), 14)
    assert memory.end is None
    with pytest.raises(Refusal, match="frames"):
        memory.acknowledge(range(1), 13, 2)
    memory.fill(range(1), 30)
    assert memory.end == 14
    assert memory.begun(0) == 14


def test_read_across_the_end_of_memory() -> None:
    bench = Bench(frames=16)
    bench.generate(40, 8000)
    bench.start()
    for first in range(0, 40, 8):
        bench.clock.tick(8 * 8002)
        read = bench.spectra(first, 8)
        assert all((read[i] == bench.library.contents(first + i)[0][:, 0]).all() for i in range(8))
        bench.acknowledge(first, 8)
    both = bench.spectra(28, 8)
    assert np.array_equal(both[4], bench.spectra(32, 1)[0])
    assert bench.raw("scaler_read", None, 0, 0, 0, 9, 4, 17) == ErrorCode.RANGE_CHECK
