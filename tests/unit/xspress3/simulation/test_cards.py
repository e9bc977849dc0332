"""Several cards: the first makes the frames, the others follow."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from bluesky_streamdet.xspress3.abi import TimingSetup
from bluesky_streamdet.xspress3.constants import GAP_CYCLES, ErrorCode, GapMode, Scaler, TimeSource, TimeStatus

from .bench import Bench


def two_cards(gap: GapMode = GapMode.US1, debounce: int = 0) -> Bench:
    """Set up for ten frames of 8000 cycles."""
    bench = Bench(cards=2, channels=6)
    bench.call("itfg_setup", 0, 10, 8000, 0, gap)
    setup = TimingSetup(t_src=TimeSource.INTERNAL, override_debounce_other=debounce)
    bench.call("set_timing", ctypes.byref(setup))
    return bench


def test_channels_are_spread_over_the_cards() -> None:
    bench = Bench(cards=2, channels=6)
    assert bench.call("get_num_cards") == 2
    assert bench.call("get_chans_per_card") == 3
    assert bench.call("get_num_chan_used", 1) == 3
    assert bench.raw("get_num_chan_used", 2) == ErrorCode.ILLEGAL_CARD


def test_others_follow_the_first_cards_veto() -> None:
    bench = two_cards()
    assert bench.get("get_glob_timeA", 0) == TimeSource.INTERNAL
    assert bench.get("get_glob_timeA", 1) == TimeSource.TTL_VETO_ONLY | 70 << 16
    bench.call("histogram_start", 1)
    bench.clock.tick(5000)
    assert bench.progress == 0
    bench.call("histogram_start", 0)
    bench.clock.tick(3 * 8080)
    assert bench.progress == 3
    bench.clock.turn(1.0)
    assert bench.progress == 10
    ticks = bench.scalers(0, 10)[..., Scaler.LIVE_TICKS].astype(int)
    assert (ticks[:, :3] == 8000).all()
    # Two ticks more or less, and the cards are told apart.
    assert set(np.unique(ticks[:, 3:] - 8000)) == {-1, 0, 1}
    bench.stop()
    assert bench.progress == 10


def test_all_cards_may_be_started_at_once() -> None:
    bench = two_cards()
    bench.call("histogram_start", -1)
    bench.clock.turn(1.0)
    assert bench.progress == 10


def test_a_card_that_is_started_late_misses_frames() -> None:
    bench = two_cards()
    bench.call("histogram_start", 0)
    bench.clock.tick(2 * 8080 + 100)
    bench.call("histogram_start", 1)
    bench.clock.turn(1.0)
    assert bench.details()[:2] == (7, 10)


def test_a_card_that_is_not_started_holds_up_all() -> None:
    bench = two_cards()
    bench.call("histogram_start", 0)
    bench.clock.turn(1.0)
    assert bench.details()[:2] == (0, 10)


@pytest.mark.parametrize(
    ("gap", "debounce", "complete"),
    [(GapMode.US1, 79, 10), (GapMode.US1, 80, 1), (GapMode.NS500, 30, 10), (GapMode.NS200, 16, 1)],
)
def test_a_debounce_as_long_as_the_gap_hides_it(gap: GapMode, debounce: int, complete: int) -> None:
    bench = two_cards(gap, debounce)
    bench.call("histogram_start", -1)
    bench.clock.tick(4000)
    assert bench.status(1)[0] == TimeStatus.RUNNING | TimeStatus.COUNTING
    bench.clock.turn(1.0)
    assert bench.progress == complete
    ticks = int(bench.scalers(0, 1)[0, 3, Scaler.LIVE_TICKS])
    whole = 10 * 8000 + 9 * GAP_CYCLES[gap]
    assert ticks == pytest.approx(whole if complete == 1 else 8000, abs=2)
    bench.stop()
    assert bench.status(1)[0] == TimeStatus(0)


def test_a_stop_cuts_all_cards_alike() -> None:
    bench = two_cards()
    bench.call("histogram_start", -1)
    bench.clock.tick(4 * 8080 + 1000)
    bench.stop()
    assert bench.details()[:2] == (5, 5)
    ticks = bench.scalers(4, 1)[0, :, Scaler.LIVE_TICKS].astype(int)
    assert np.abs(ticks - 1000).max() <= 2
    bench.call("histogram_start", 1)
    bench.call("histogram_start", 0)
    bench.clock.turn(1.0)
    assert bench.progress == 10


def test_gates_of_several_cards() -> None:
    bench = Bench(cards=2, channels=4)
    setup = TimingSetup(t_src=TimeSource.TTL_VETO_ONLY, debounce=80, override_debounce_other=70)
    bench.call("set_timing", ctypes.byref(setup))
    bench.call("histogram_start", 1)
    bench.call("histogram_start", 0)
    bench.library.inputs.gate(1e-3, count=3, period=2e-3)
    bench.clock.turn(1.0)
    bench.stop()
    assert bench.progress == 3


def test_each_card_loses_frames_of_its_own() -> None:
    bench = Bench(frames=4, cards=2, channels=4)
    bench.call("itfg_setup", 0, 10, 8000, 0, GapMode.US1)
    bench.call("set_timing", ctypes.byref(TimingSetup(t_src=TimeSource.INTERNAL)))
    bench.call("histogram_start", -1)
    bench.clock.tick(4 * 8080 - 1)
    bench.call("histogram_circ_ack", 0, 0, 2, 4)
    bench.clock.turn(1.0)
    assert bench.overrun(0) == (2, 4)
    assert bench.overrun(3) == bench.overrun() == (6, 0)
