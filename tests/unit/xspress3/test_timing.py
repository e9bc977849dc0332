"""What the SDK is told for each timing, and which timings there are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.xspress3.constants import AcquireInPause, GapMode, ItfgTrigger, TimeSource
from bluesky_streamdet.xspress3.timing import GAPS, FrameGenerator, Timing, gap_mode, setup_of, ticks_of, timing_of

PERIOD = 12.5e-9


@pytest.mark.parametrize(
    ("asked", "generator", "starts"),
    [
        ({"mode": "internal", "frames": 9}, (9, ItfgTrigger.BURST), True),
        ({"mode": "software", "frames": 9}, (9, ItfgTrigger.SOFTWARE_ONLY_FIRST), False),
        ({"mode": "software", "triggers": 9}, (9, ItfgTrigger.SOFTWARE), False),
        ({"mode": "software"}, (1, ItfgTrigger.SOFTWARE_ONLY_FIRST), False),
        ({"mode": "hardware", "frames": 9}, (9, ItfgTrigger.HARDWARE_ONLY_FIRST), True),
        ({"mode": "hardware", "triggers": 9}, (9, ItfgTrigger.HARDWARE), True),
    ],
)
def test_the_frame_generator_of_each_mode(asked: dict[str, Any], generator: Any, starts: bool) -> None:
    setup = setup_of(Timing(exposure=0.1, **asked))
    assert setup.generator == FrameGenerator(generator[0], 8_000_000, generator[1], GapMode.NS25)
    assert setup.source is TimeSource.INTERNAL
    assert setup.starts is starts
    assert setup.exposure == pytest.approx(0.1)


def test_triggers_counted_into_a_frame_take_the_place_of_its_ticks() -> None:
    timing = Timing(mode="hardware", triggers=5, triggers_per_frame=3, exposure=1000)
    setup = setup_of(timing)
    assert setup.generator == FrameGenerator(5, 3, ItfgTrigger.HARDWARE, GapMode.NS25, AcquireInPause.ALL)
    assert setup.exposure is None
    assert timing.total == 5


@pytest.mark.parametrize(
    ("gate_input", "source"), [("ttl_veto", 4), ("ttl_both", 5), ("lvds_veto", 6), ("lvds_both", 7), ("idc", 3)]
)
def test_a_gate_comes_in_by_one_of_five_ways(gate_input: Any, source: int) -> None:
    setup = setup_of(Timing(mode="gate", triggers=7, gate_input=gate_input, exposure=1000))
    assert (setup.source, setup.generator, setup.starts, setup.exposure) == (source, None, True, None)


def test_software_timed_frames_need_no_generator_and_are_armed() -> None:
    setup = setup_of(Timing(mode="software_timed", triggers=7))
    assert (setup.source, setup.generator, setup.starts) == (TimeSource.SOFTWARE, None, False)


@pytest.mark.parametrize(
    ("asked", "register"),
    [
        ({"mode": "internal"}, 0x000001),
        ({"mode": "hardware", "debounce": 0}, 0x000001),
        ({"mode": "hardware"}, 0x500001),
        ({"mode": "hardware", "invert": True, "debounce": 255}, 0xFF0011),
        ({"mode": "gate"}, 0x500004),
        ({"mode": "gate", "gate_input": "ttl_both", "invert_frame_zero": True}, 0x50000D),
        ({"mode": "gate", "gate_input": "lvds_both", "invert": True, "invert_frame_zero": True}, 0x50001F),
        ({"mode": "software_timed"}, 0x000000),
    ],
)
def test_the_timing_register(asked: dict[str, Any], register: int) -> None:
    assert setup_of(Timing(**asked)).register == register


@pytest.mark.parametrize(
    ("asked", "mode", "gap", "debounce"),
    [
        (0, GapMode.NS25, 25e-9, 0),
        (25e-9, GapMode.NS25, 25e-9, 0),
        (26e-9, GapMode.NS200, 200e-9, 10),
        (100e-9, GapMode.NS200, 200e-9, 10),
        (200e-9, GapMode.NS200, 200e-9, 10),
        (500e-9, GapMode.NS500, 500e-9, 30),
        (6e-7, GapMode.US1, 1e-6, 70),
        (1e-6, GapMode.US1, 1e-6, 70),
    ],
)
def test_a_gap_is_one_of_four(asked: float, mode: GapMode, gap: float, debounce: int) -> None:
    timing = Timing(gap=asked)
    assert timing.gap == pytest.approx(gap)
    setup = setup_of(timing)
    assert setup.generator is not None
    assert (setup.generator.gap, setup.follower_debounce) == (mode, debounce)
    assert setup.gap == pytest.approx(gap)


def test_gaps_count_cycles_and_so_follow_the_clock() -> None:
    assert setup_of(Timing(gap=200e-9), 10e-9).gap == pytest.approx(160e-9)


def test_a_frame_takes_its_exposure_and_its_gap_once() -> None:
    timing = Timing(exposure=0.1, gap=100e-9)
    assert timing.period == pytest.approx(0.1 + 200e-9, abs=1e-12)
    assert setup_of(timing).generator == FrameGenerator(1, 8_000_000, ItfgTrigger.BURST, GapMode.NS200)


@given(st.integers(1, 2**32 - 1), st.floats(5e-9, 50e-9))
def test_exposures_are_rounded_to_the_nearest_cycle(ticks: int, clock_period: float) -> None:
    assert ticks_of(ticks * clock_period, clock_period) == ticks
    assert ticks_of((ticks - 0.4) * clock_period, clock_period) == ticks


def test_the_limit_of_32_bits_is_named_and_kept() -> None:
    assert ticks_of(53.687, PERIOD) == 4_294_960_000
    assert ticks_of((2**32 - 1) * PERIOD, PERIOD) == 2**32 - 1
    for exposure in (2**32 * PERIOD, 60.0, 1e6):
        with pytest.raises(ConfigError, match=r"the longest is 53\.687 s: it is counted in cycles of 12\.5 ns"):
            setup_of(Timing(exposure=exposure))
    # An X4 counts at 100 MHz.
    with pytest.raises(ConfigError, match=r"exposure is 50 s, and the longest is 42\.949 s"):
        setup_of(Timing(exposure=50), 10e-9)
    with pytest.raises(ConfigError, match="less than a clock cycle"):
        setup_of(Timing(exposure=5e-9))


def test_the_duration_of_a_frame_that_is_not_timed_is_not_limited() -> None:
    assert setup_of(Timing(mode="gate", exposure=3600)).exposure is None


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"mode": "software", "frames": 2, "triggers": 3}, "2 frames for each of 3 triggers is not possible"),
        ({"mode": "hardware", "frames": 2, "triggers": 2}, "Either one trigger starts all frames"),
        ({"mode": "internal", "triggers": 3}, "triggers is 3, but mode internal awaits none"),
        ({"mode": "gate", "frames": 3}, r"frames is 3, but in mode gate .* Give triggers=3"),
        ({"mode": "software_timed", "frames": 3}, "frames is 3, but in mode software_timed"),
        ({"mode": "software", "triggers_per_frame": 2}, "which only mode hardware with frames=1 can have"),
        ({"mode": "hardware", "triggers_per_frame": 2, "frames": 2}, "triggers_per_frame is 2"),
        ({"gap": 1.1e-6}, r"gap is 1\.1e-06 s, and the longest is 1e-06 s"),
        ({"frames": 0x1000000}, "frames is 16777216; it should be less than or equal to 16777215"),
        ({"frames": 0}, "frames is 0"),
        ({"triggers": 0x1000000}, "triggers is 16777216"),
        ({"exposure": 0}, "exposure is 0"),
        ({"exposure": float("nan")}, "exposure is nan"),
        ({"exposure": float("inf")}, "exposure is inf"),
        ({"exposure": "long"}, "exposure is 'long'"),
        ({"gap": -1e-9}, "gap is -1e-09"),
        ({"debounce": 256}, "debounce is 256"),
        ({"debounce": -1}, "debounce is -1"),
        ({"mode": "sofware"}, "mode is 'sofware'; allowed: 'internal'"),
        ({"gate_input": "ttl"}, "gate_input is 'ttl'; allowed: 'ttl_veto'"),
        ({"exposures": 1}, "there is no setting exposures; did you mean exposure"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        timing_of(asked)


def test_a_timing_survives_json() -> None:
    timing = Timing(mode="hardware", triggers=4, exposure=0.3, gap=3e-7)
    assert Timing.model_validate_json(timing.model_dump_json()) == timing


def test_gap_modes_are_in_order() -> None:
    assert sorted(GAPS, key=lambda mode: GAPS[mode]) == [gap_mode(seconds) for seconds in GAPS.values()]
