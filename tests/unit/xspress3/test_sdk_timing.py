"""The calls and the register values of every timing, and the order in which several cards are started."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed, RequestRefused
from bluesky_streamdet.xspress3 import Timing
from bluesky_streamdet.xspress3.abi import TimingSetup
from tests.unit.xspress3.systems import System

INTERNAL, SOFTWARE, TTL_VETO = 1, 0, 4
BURST, EACH_SOFTWARE, EACH_HARDWARE, FIRST_SOFTWARE, FIRST_HARDWARE = 0, 1, 2, 5, 6
DEBOUNCED = 80 << 16


def prepared(asked: Timing, **simulation: Any) -> tuple[System, list[tuple[Any, ...]]]:
    """A system that was armed, and its calls from the clearing on."""
    system = System(**simulation)
    system.sdk.arm(asked)
    noted = system.library.noted
    first = next(index for index, call in enumerate(noted) if call[0] == "histogram_clear")
    return system, noted[first:]


@pytest.mark.parametrize(
    ("asked", "register", "generator", "start"),
    [
        ({"frames": 5}, INTERNAL, (5, 8_000_000, BURST, 0), "start"),
        ({"frames": 5, "gap": 1e-6}, INTERNAL, (5, 8_000_000, BURST, 3), "start"),
        ({"mode": "software", "frames": 5}, INTERNAL, (5, 8_000_000, FIRST_SOFTWARE, 0), "arm"),
        ({"mode": "software", "triggers": 5, "gap": 2e-7}, INTERNAL, (5, 8_000_000, EACH_SOFTWARE, 1), "arm"),
        ({"mode": "hardware", "frames": 5}, INTERNAL | DEBOUNCED, (5, 8_000_000, FIRST_HARDWARE, 0), "start"),
        ({"mode": "hardware", "triggers": 5}, INTERNAL | DEBOUNCED, (5, 8_000_000, EACH_HARDWARE, 0), "start"),
        (
            {"mode": "hardware", "triggers": 5, "invert": True, "debounce": 10},
            INTERNAL | 1 << 4 | 10 << 16,
            (5, 8_000_000, EACH_HARDWARE, 0),
            "start",
        ),
    ],
)
def test_frames_of_the_generator(asked: dict[str, Any], register: int, generator: Any, start: str) -> None:
    _, calls = prepared(Timing(exposure=0.1, **asked))
    assert calls == [
        ("histogram_clear", 0, 4, 0, 5),
        ("set_glob_timeA", 0, register),
        ("set_glob_timeFixed", 0, 0),
        ("itfg_setup", 0, *generator),
        (f"histogram_{start}", 0),
    ]


def test_triggers_counted_into_a_frame() -> None:
    system, calls = prepared(Timing(mode="hardware", triggers=7, triggers_per_frame=3))
    assert calls[-2:] == [("itfg_setup2", 0, 7, 3, EACH_HARDWARE, 0, 1, 0, 0), ("histogram_start", 0)]
    assert system.sdk.exposure is None


def test_a_gate_needs_no_generator() -> None:
    _, calls = prepared(Timing(mode="gate", triggers=5))
    assert calls == [
        ("histogram_clear", 0, 4, 0, 5),
        ("set_glob_timeA", 0, TTL_VETO | DEBOUNCED),
        ("set_glob_timeFixed", 0, 0),
        ("histogram_start", 0),
    ]


def test_software_timed_frames_are_armed() -> None:
    _, calls = prepared(Timing(mode="software_timed", triggers=5))
    assert calls[1:] == [("set_glob_timeA", 0, SOFTWARE), ("set_glob_timeFixed", 0, 0), ("histogram_arm", 0)]


def test_what_was_written_is_what_the_hardware_has() -> None:
    system, _ = prepared(Timing(mode="hardware", triggers=5, exposure=0.25, gap=5e-7, invert=True, debounce=30))
    library, register = system.simulation, ctypes.c_uint32()
    assert library.xsp3_get_glob_timeA(0, 0, ctypes.byref(register)) == 0
    assert register.value & 0xFF001F == INTERNAL | 1 << 4 | 30 << 16
    frames, trigger, gap, ticks = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_uint32()
    library.xsp3_itfg_get_setup(0, 0, *map(ctypes.byref, (frames, ticks, trigger, gap)))
    assert (frames.value, ticks.value, trigger.value, gap.value) == (5, 20_000_000, EACH_HARDWARE, 2)


@pytest.mark.parametrize(
    ("asked", "setup", "master"),
    [
        ({"frames": 3, "gap": 1e-6}, (INTERNAL, 0, 0, 0, 70), "histogram_start"),
        ({"mode": "software", "triggers": 3, "gap": 2e-7}, (INTERNAL, 0, 0, 0, 10), "histogram_arm"),
        ({"mode": "hardware", "triggers": 3, "invert": True}, (INTERNAL, 0, 1, 80, 0), "histogram_start"),
        ({"mode": "gate", "triggers": 3, "gap": 5e-7}, (TTL_VETO, 0, 0, 80, 30), "histogram_start"),
    ],
)
def test_cards_that_follow_are_started_before_the_first_one(asked: dict[str, Any], setup: Any, master: str) -> None:
    noted: list[Any] = []
    system = System(cards=3, channels=6)

    def note(_path: int, pointer: Any) -> int:
        given: TimingSetup = pointer[0]
        noted.append((given.t_src, given.inv_f0, given.inv_veto, given.debounce, given.override_debounce_other))
        return 0

    system.library.replace("xsp3_set_timing", note)
    system.sdk.arm(Timing(**asked))
    assert noted == [setup]
    names = ("histogram_start", "histogram_arm")
    assert system.library.named(*names) == [("histogram_start", 1), ("histogram_start", 2), (master, 0)]
    # The generator is the first card's alone.
    assert {call[1] for call in system.library.named("itfg_setup")} <= {0}


def test_cards_that_follow_debounce_for_less_than_the_gap_whatever_it_was_before() -> None:
    system = System(cards=2, channels=4)
    register = ctypes.c_uint32()
    for gap, debounce in ((1e-6, 70), (25e-9, 0), (2e-7, 10)):
        system.sdk.arm(Timing(frames=3, exposure=0.01, gap=gap))
        system.simulation.xsp3_get_glob_timeA(0, 1, ctypes.byref(register))
        assert register.value == TTL_VETO | debounce << 16
        system.wait(1)
        assert system.sdk.progress().complete == 3


def test_several_cards_take_the_same_frames_and_only_the_first_is_triggered() -> None:
    system = System(cards=2, channels=4)
    sdk = system.sdk
    sdk.arm(Timing(mode="software", triggers=2, exposure=0.1, gap=1e-6))
    for _ in range(2):
        assert sdk.ready_for_trigger
        sdk.trigger()
        system.wait(0.2)
    assert sdk.progress().complete == 2
    ticks = sdk.read_scalers(0, 2)[..., 8].astype(int)
    assert abs(ticks - 8_000_000).max() <= 2
    sdk.stop()
    assert system.library.named("histogram_continue", "histogram_pause", "histogram_stop") == [
        *[("histogram_continue", 0), ("histogram_pause", 0)] * 2,
        ("histogram_stop", -1),
    ]


def test_progress_is_that_of_the_slowest_card() -> None:
    system = System(cards=2, channels=4)
    system.sdk.arm(Timing(frames=3, exposure=0.1, gap=1e-6))
    system.wait(0.25)
    assert system.sdk.progress().complete == 2


def test_an_exposure_is_counted_with_the_clock_that_was_measured() -> None:
    system = System(clock_period=10e-9)
    system.sdk.arm(Timing(exposure=0.1, gap=1e-6))
    assert system.library.named("itfg_setup") == [("itfg_setup", 0, 1, 10_000_000, 0, 3)]
    assert system.sdk.exposure == pytest.approx(0.1)
    assert system.sdk.readout_time == pytest.approx(800e-9)
    with pytest.raises(ConfigError, match=r"the longest is 42\.949 s"):
        System(clock_period=10e-9).sdk.arm(Timing(exposure=43))


def test_what_is_refused_reaches_neither_hardware_nor_the_run_before() -> None:
    system = System()
    system.sdk.arm(Timing(mode="software"))
    system.sdk.stop()
    system.library.noted.clear()
    with pytest.raises(ConfigError, match=r"the longest is 53\.687 s"):
        system.sdk.arm(Timing(exposure=60))
    assert system.library.noted == []


def test_only_as_much_memory_is_cleared_as_frames_will_come() -> None:
    system = System(capacity=100)
    system.sdk.arm(Timing(frames=1000, exposure=1e-3))
    assert system.library.named("histogram_clear") == [("histogram_clear", 0, 4, 0, system.sdk.capacity)]


@pytest.mark.parametrize(
    ("version", "asked", "complaint"),
    [
        (0, {}, "This firmware has no generator of frames. Use mode gate or software_timed"),
        (
            3,
            {"mode": "hardware", "triggers_per_frame": 2},
            "frame generator, version 3, does not count several triggers",
        ),
    ],
)
def test_firmware_that_cannot_is_not_asked_to(version: int, asked: dict[str, Any], complaint: str) -> None:
    system = System()
    system.library.replace("xsp3_has_itfg", lambda *_: version)
    with pytest.raises(RequestRefused, match=complaint):
        system.sdk.arm(Timing(**asked))
    assert system.library.named("histogram_start") == []
    system.sdk.arm(Timing(mode="gate"))


@pytest.mark.parametrize(
    "call",
    ["format_run", "histogram_clear", "set_glob_timeA", "set_glob_timeFixed", "itfg_setup", "histogram_start"],
)
def test_hardware_that_fails_to_arm_is_left_stopped(call: str) -> None:
    system = System()
    system.library.replace(f"xsp3_{call}", lambda *_: -1)
    with pytest.raises(HardwareFailed, match=rf"xsp3_{call} failed with ERROR \(-1\)"):
        system.sdk.arm(Timing())
    assert not system.sdk.running
    assert system.sdk.timing is None
    if call != "format_run":
        assert system.library.noted[-1] == ("histogram_stop", -1)
