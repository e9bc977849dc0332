"""Runs of a simulated system: triggers, frames, stops, and what cannot be done when."""

from __future__ import annotations

from typing import Any

import pytest

from bluesky_streamdet.core.errors import Busy, RequestRefused
from bluesky_streamdet.xspress3 import Timing
from bluesky_streamdet.xspress3.acquisition import Overrun, Progress
from bluesky_streamdet.xspress3.constants import ErrorFlag, Scaler, TimeStatus
from tests.unit.xspress3.systems import System


def complete(system: System) -> int:
    return system.sdk.progress().complete


def test_frames_at_once() -> None:
    system = System()
    sdk = system.sdk
    assert (sdk.progress(), sdk.overrun(), sdk.running, sdk.timing) == (Progress(), Overrun(0, 0), False, None)
    timing = Timing(frames=3, exposure=0.1, gap=1e-6)
    sdk.arm(timing)
    assert (sdk.timing, sdk.running, sdk.exposure) == (timing, True, pytest.approx(0.1))
    seen = []
    for _ in range(4):
        system.wait(0.1 + 2e-6)
        seen.append(complete(system))
    assert seen == [1, 2, 3, 3]
    assert not sdk.running
    assert TimeStatus.FINISHED in sdk.activity().status
    scalers = sdk.read_scalers(0, 3)
    assert (scalers[..., Scaler.TOTAL_TICKS] == 8_000_000).all()
    assert (scalers[..., Scaler.ALL_GOOD] == sdk.read_spectra(0, 3).sum(axis=-1)).all()


def test_one_software_trigger_for_all_frames() -> None:
    system = System()
    sdk = system.sdk
    sdk.arm(Timing(mode="software", frames=3, exposure=0.1))
    system.wait(1)
    assert (complete(system), sdk.ready_for_trigger, sdk.triggers) == (0, True, 0)
    sdk.trigger()
    assert (sdk.ready_for_trigger, sdk.triggers) == (False, 1)
    system.wait(1)
    assert (complete(system), sdk.running, sdk.ready_for_trigger) == (3, False, False)
    with pytest.raises(RequestRefused, match="All 1 triggers of this series have been sent"):
        sdk.trigger()


def test_one_software_trigger_for_each_frame() -> None:
    system = System()
    sdk = system.sdk
    sdk.arm(Timing(mode="software", triggers=2, exposure=0.1))
    for number in (1, 2):
        sdk.trigger()
        if number == 1:
            with pytest.raises(Busy, match="Trigger 2 comes too early: the frame before it is still being taken"):
                sdk.trigger()
        assert not sdk.ready_for_trigger
        system.wait(0.11)
        assert complete(system) == number
    assert not sdk.running


@pytest.mark.parametrize(("asked", "pulses"), [({"frames": 4}, 1), ({"triggers": 4}, 4)])
def test_hardware_triggers(asked: dict[str, int], pulses: int) -> None:
    system = System()
    system.sdk.arm(Timing(mode="hardware", exposure=0.01, **asked))
    system.wait(1)
    assert complete(system) == 0
    system.simulation.inputs.pulse(pulses, 0.1)
    system.wait(1)
    assert complete(system) == 4


def test_several_hardware_triggers_for_each_frame() -> None:
    system = System()
    system.sdk.arm(Timing(mode="hardware", triggers=3, triggers_per_frame=4))
    system.simulation.inputs.pulse(12, 0.01)
    system.wait(1)
    assert complete(system) == 3


def test_a_gate_makes_frames_as_long_as_it_is_open() -> None:
    system = System()
    sdk = system.sdk
    sdk.arm(Timing(mode="gate", triggers=2))
    for seconds in (0.1, 0.2):
        assert not sdk.last_frame_is_over
        system.simulation.inputs.gate(seconds)
        system.wait(0.05)
        assert TimeStatus.COUNTING in sdk.activity().status
        assert not sdk.last_frame_is_over
        system.wait(1)
    assert sdk.last_frame_is_over
    sdk.stop()
    assert not sdk.last_frame_is_over
    assert complete(system) == 2
    ticks = sdk.read_scalers(0, 2)[:, 0, Scaler.TOTAL_TICKS]
    assert ticks.tolist() == pytest.approx([8_000_000, 16_000_000], abs=200)


def test_the_only_gate_is_told_from_none() -> None:
    system = System()
    for _ in range(2):
        system.sdk.arm(Timing(mode="gate"))
        system.wait(1)
        assert not system.sdk.last_frame_is_over
        system.simulation.inputs.gate(0.1)
        system.wait(0.05)
        assert not system.sdk.last_frame_is_over
        system.wait(1)
        assert system.sdk.last_frame_is_over
        system.sdk.stop()
        assert complete(system) == 1


def test_gates_that_the_hardware_does_not_show_are_not_thought_to_be_over() -> None:
    system = System()
    status = system.simulation.xsp3_get_glob_time_statA

    def generator_only(path: int, card: int, register: Any) -> int:
        result = status(path, card, register)
        register[0] &= ~int(TimeStatus.COUNTING | TimeStatus.RUNNING)
        return result

    system.library.replace("xsp3_get_glob_time_statA", generator_only)
    system.sdk.arm(Timing(mode="gate", triggers=2))
    system.simulation.inputs.gate(0.1, 2, 0.2)
    for _ in range(10):
        system.wait(0.1)
        assert not system.sdk.last_frame_is_over
        system.sdk.progress()
    system.sdk.stop()
    assert complete(system) == 2


def test_a_short_gate_that_nobody_saw_is_known_by_its_data() -> None:
    system = System()
    system.sdk.arm(Timing(mode="gate"))
    assert not system.sdk.last_frame_is_over
    system.simulation.inputs.gate(1e-5)
    system.wait(1)
    assert system.sdk.last_frame_is_over


def test_the_only_gate_is_known_if_it_was_seen_even_if_it_left_no_data_yet() -> None:
    system = System()
    system.library.replace("xsp3_scaler_check_progress_details", lambda *_: 0)
    system.sdk.arm(Timing(mode="gate"))
    system.simulation.inputs.gate(0.1)
    system.wait(0.05)
    assert not system.sdk.last_frame_is_over
    system.wait(1)
    assert system.sdk.last_frame_is_over


def test_frames_from_trigger_to_release() -> None:
    system = System()
    sdk = system.sdk
    sdk.arm(Timing(mode="software_timed", triggers=2))
    with pytest.raises(RequestRefused, match="There is no frame to end"):
        sdk.release()
    for seconds in (0.1, 0.3):
        assert sdk.ready_for_trigger
        sdk.trigger()
        assert not sdk.ready_for_trigger
        if seconds == 0.1:
            with pytest.raises(Busy, match="Trigger 2 comes too early"):
                sdk.trigger()
        system.wait(seconds)
        assert not sdk.last_frame_is_over
        sdk.release()
        system.wait(1)
    assert sdk.last_frame_is_over
    sdk.stop()
    assert complete(system) == 2
    assert sdk.read_scalers(0, 2)[:, 0, Scaler.TOTAL_TICKS].tolist() == pytest.approx([8e6, 24e6], abs=2)


@pytest.mark.parametrize("timing", [Timing(exposure=10), Timing(mode="hardware"), Timing(mode="gate")])
def test_a_software_trigger_that_the_mode_does_not_await_is_refused(timing: Timing) -> None:
    system = System()
    system.sdk.arm(timing)
    assert not system.sdk.ready_for_trigger
    for use in (system.sdk.trigger, system.sdk.release):
        with pytest.raises(RequestRefused, match=f"is not awaited in mode {timing.mode}"):
            use()
    assert system.library.named("histogram_continue", "histogram_pause") == []


def test_without_a_run_nothing_is_triggered_and_nothing_stopped() -> None:
    system = System()
    sdk = system.sdk
    sdk.stop()
    assert system.library.noted == []
    with pytest.raises(RequestRefused, match=r"A trigger is not awaited: nothing is armed\. Arm first"):
        sdk.trigger()
    sdk.arm(Timing(mode="software"))
    sdk.stop()
    sdk.stop()
    assert system.library.named("histogram_stop") == [("histogram_stop", -1)]
    assert not sdk.ready_for_trigger
    with pytest.raises(RequestRefused, match="nothing is armed"):
        sdk.trigger()
    with pytest.raises(RequestRefused, match="nothing is armed"):
        sdk.release()


def test_armed_anew_only_when_all_frames_are_there_or_after_a_stop() -> None:
    system = System()
    sdk = system.sdk
    sdk.arm(Timing(frames=2, exposure=0.1))
    system.wait(0.15)
    with pytest.raises(Busy, match="arm: frames are being taken"):
        sdk.arm(Timing())
    sdk.stop()
    assert not sdk.running
    assert complete(system) >= 1
    sdk.arm(Timing(frames=2, exposure=0.1))
    assert complete(system) == 0
    system.wait(1)
    system.library.noted.clear()
    # What is finished is still started, and has to be stopped first.
    sdk.arm(Timing())
    assert system.library.noted[:4] == [
        ("scaler_check_progress_details", *system.library.noted[0][1:]),
        ("histogram_stop", -1),
        *system.library.named("format_run"),
        *system.library.named("get_format"),
    ]


def test_frames_stay_readable_after_a_stop() -> None:
    system = System()
    sdk = system.sdk
    sdk.arm(Timing(frames=5, exposure=0.1))
    system.wait(0.35)
    before = sdk.read_spectra(0, 3)
    sdk.stop()
    assert complete(system) >= 3
    assert (sdk.read_spectra(0, 3) == before).all()
    assert sdk.is_busy() is False


def test_frames_that_nobody_acknowledges_are_overwritten_and_counted() -> None:
    system = System(capacity=10)
    sdk = system.sdk
    sdk.arm(Timing(frames=100, exposure=0.01, gap=0))
    system.wait(0.0801)
    assert (complete(system), sdk.overrun()) == (8, Overrun(0, 0))
    assert sdk.progress().flags == ErrorFlag(0)
    sdk.acknowledge(0, 5)
    system.wait(0.06)
    assert sdk.overrun() == Overrun(0, 0)
    system.wait(0.06)
    lost = sdk.overrun()
    assert lost.first == 5
    assert lost.frames >= 5
    assert ErrorFlag.CIRC_BUFF_OVERRUN in sdk.progress().flags


def test_a_mini_stops_instead_and_is_not_asked_before_it_is_armed() -> None:
    system = System(generation="Mini", channels=2, capacity=10)
    sdk = system.sdk
    assert sdk.progress() == Progress()
    sdk.arm(Timing(frames=100, exposure=0.01))
    system.wait(1)
    assert (complete(system), sdk.overrun()) == (10, Overrun(1, 0))


def test_counts_beyond_32_bits_come_whole() -> None:
    system = System()
    system.sdk.arm(Timing(exposure=10))

    def progress(_path: int, flags: Any, _quiet: int, furthest: Any) -> int:
        flags[0], furthest[0] = ErrorFlag.CIRC_BUFF_OVERRUN_SCALARS, 1 << 41
        return (1 << 40) + 1

    def overrun(_path: int, _channel: int, first: Any) -> int:
        first[0] = (1 << 33) + 5
        return (1 << 32) + 7

    system.library.replace("xsp3_scaler_check_progress_details", progress)
    system.library.replace("xsp3_histogram_get_circ_overrun", overrun)
    assert system.sdk.progress() == Progress((1 << 40) + 1, 1 << 41, ErrorFlag.CIRC_BUFF_OVERRUN_SCALARS)
    assert system.sdk.overrun() == Overrun((1 << 32) + 7, (1 << 33) + 5)
