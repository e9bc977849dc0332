"""How a system is opened, for each generation, and given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed, MissingLibrary, RequestRefused
from bluesky_streamdet.xspress3 import Timing, Xspress3
from bluesky_streamdet.xspress3.clocks import Clock, clocks_for
from bluesky_streamdet.xspress3.config import SystemConfig
from bluesky_streamdet.xspress3.constants import ClockFlags, ClockSource, Generation, RunFlags
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.library import SimulatedLibrary
from tests.unit.xspress3.systems import Recorder, System

MASTER = ClockFlags.MASTER | ClockFlags.NO_DITHER


def recorder(**simulation: Any) -> Recorder:
    return Recorder(SimulatedLibrary(SimulationConfig(**simulation)))


@pytest.mark.parametrize(
    ("generation", "label", "source"),
    [
        (Generation.X3, "X3", ClockSource.XTAL),
        (Generation.X3V7, "X3V7", ClockSource.XTAL),
        (Generation.MINI, "Mini", ClockSource.MINI_CDCM61004),
        (Generation.X4, "X4", ClockSource.MINI_LMK61E2),
    ],
)
def test_each_generation_is_opened_with_its_clock_before_anything_else_is_set(
    generation: Generation, label: str, source: ClockSource
) -> None:
    library = recorder(generation=label, channels=2)
    with Xspress3(SystemConfig(), library) as sdk:
        assert (sdk.generation, sdk.generation.label) == (generation, label)
        assert (sdk.cards, sdk.channels, sdk.bins, sdk.aux) == (1, 2, 4096, 1)
        assert sdk.run_flags == RunFlags.HIST | RunFlags.SCALERS | RunFlags.CIRCULAR_BUFFER
        assert sdk.clock_period == 12.5e-9
        assert sdk.readout_time == pytest.approx(25e-9)
        assert sdk.capacity > 0
        major = int(sdk.revision.split(".")[0])
        assert major // 16 == generation
    changes = [
        call[0] for call in library.noted if call[0].startswith(("config", "clocks", "set_", "restore", "format"))
    ]
    assert changes == ["config", "set_run_flags", "clocks_setup", "format_run"]
    assert library.named("clocks_setup") == [("clocks_setup", 0, source, MASTER, 0)]


def test_the_sdk_is_asked_for_its_own_choice_where_nothing_is_set() -> None:
    library = recorder()
    Xspress3(SystemConfig(), library).close()
    # The first argument of this function is no handle.
    assert library.noted[0] == ("config", 16384, None, -1, None, -1, -1, None, -1, -1)
    library = recorder()
    config = SystemConfig(address="192.168.0.1", port=30123, mac="02.00.00.00.00.00", name="left", max_frames=100)
    Xspress3(config, library).close()
    assert library.noted[0] == ("config", 100, b"192.168.0.1", 30123, b"02.00.00.00.00.00", -1, -1, b"left", -1, -1)


@pytest.mark.parametrize(
    ("generations", "choice", "clocks"),
    [
        ([Generation.X3] * 3, "auto", [Clock(ClockSource.XTAL, MASTER)] * 3),
        ([Generation.X4] * 2, "auto", [Clock(ClockSource.X4_MIDPLN_LMK61E2, MASTER)] * 2),
        ([Generation.MINI], "internal", [Clock(ClockSource.INT, ClockFlags.NO_DITHER)]),
        ([Generation.X3], "external", [Clock(ClockSource.EXT, ClockFlags.NO_DITHER)]),
        (
            [Generation.X3V7] * 2,
            "external",
            [Clock(ClockSource.XTAL, MASTER), Clock(ClockSource.EXT, ClockFlags.NO_DITHER)],
        ),
    ],
)
def test_clocks_for_each_card(generations: list[Generation], choice: Any, clocks: list[Clock]) -> None:
    assert clocks_for(generations, choice) == clocks


@pytest.mark.parametrize("choice", ["xtal", "external"])
def test_a_clock_that_a_card_does_not_have_is_refused(choice: Any) -> None:
    with pytest.raises(ConfigError, match=f"clock is {choice}, which card 0, of generation Mini, does not have"):
        clocks_for([Generation.MINI], choice)


def test_each_card_gets_its_clock() -> None:
    library = recorder(cards=3, channels=6)
    Xspress3(SystemConfig(cards=3), library).close()
    assert library.named("clocks_setup") == [("clocks_setup", card, ClockSource.XTAL, MASTER, 0) for card in range(3)]


def test_a_simulation_is_configured_like_hardware() -> None:
    with Xspress3(SystemConfig(simulate=SimulationConfig(channels=3))) as sdk:
        assert sdk.channels == 3


def test_a_library_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(MissingLibrary, match=str(tmp_path)):
        Xspress3(SystemConfig(library=str(tmp_path)))


def test_a_detector_that_is_not_found_is_told_in_the_words_of_the_sdk() -> None:
    library = recorder(fail={"xsp3_config": 0})
    with pytest.raises(HardwareFailed, match=r"^xsp3_config failed with [A-Z_]+ \(-\d+\): .*\w") as failure:
        Xspress3(SystemConfig(), library)
    assert not failure.value.message.endswith("..")


def test_an_sdk_without_words_is_quoted_as_that() -> None:
    library = recorder(fail={"xsp3_config": 0})
    library.replace("xsp3_get_error_message", lambda: 0)
    with pytest.raises(
        HardwareFailed, match=r"^xsp3_config failed with ERR_DEV_NOT_FOUND \(-9\): it gives no message\."
    ):
        Xspress3(SystemConfig(), library)


@pytest.mark.parametrize("call", ["xsp3_get_generation", "xsp3_clocks_setup", "xsp3_format_run", "xsp3_get_trigger_b"])
def test_a_system_that_cannot_be_set_up_is_given_up_again(call: str) -> None:
    library = recorder(fail={call: 0})
    with pytest.raises(HardwareFailed, match=f"^{call} failed with"):
        Xspress3(SystemConfig(), library)
    assert library.noted[-1] == ("close",)


def test_event_widths_come_from_the_settings_or_from_the_configuration() -> None:
    assert System(channels=2).sdk.event_widths == [6, 6]
    assert System(SystemConfig(event_widths=[5, 9]), channels=2).sdk.event_widths == [5, 9]
    library = recorder(channels=2)
    with pytest.raises(ConfigError, match="event_widths has 3 numbers for 2 channels"):
        Xspress3(SystemConfig(event_widths=[5, 6, 7]), library)
    assert library.noted[-1] == ("close",)


@pytest.mark.parametrize(
    ("name", "result", "complaint"),
    [
        ("xsp3_get_generation", lambda *_: 9, "xsp3_get_generation says 9, a generation that is not known"),
        ("xsp3_get_clock_period", lambda *_: 0.0, r"xsp3_get_clock_period says 0\.0 s"),
        ("xsp3_get_clock_period", lambda *_: float("nan"), "xsp3_get_clock_period says nan s"),
        ("xsp3_format_run", lambda *_: 0, "xsp3_format_run says that 0 frames fit"),
        (
            "xsp3_get_num_chan",
            lambda *_: -77,
            r"xsp3_get_num_chan failed with code -77, which the SDK does not explain",
        ),
    ],
)
def test_answers_that_make_no_sense_are_not_worked_with(name: str, result: Callable[..., Any], complaint: str) -> None:
    library = recorder()
    library.replace(name, result)
    with pytest.raises(HardwareFailed, match=complaint):
        Xspress3(SystemConfig(), library)


def test_a_detector_number_in_the_highest_bits_of_the_revision_is_no_error() -> None:
    library = recorder()
    library.replace("xsp3_get_revision", lambda *_: -0x7FFFF000 | 0x11_003)
    with Xspress3(SystemConfig(), library) as sdk:
        assert sdk.revision == "17.3"


def test_close_stops_what_runs_and_may_be_repeated() -> None:
    system = System()
    system.sdk.arm(Timing(exposure=10))
    system.library.noted.clear()
    system.sdk.close()
    system.sdk.close()
    assert system.library.noted == [("histogram_stop", -1), ("close",)]
    for use in (system.sdk.progress, system.sdk.is_busy, lambda: system.sdk.windows, lambda: system.sdk.arm(Timing())):
        with pytest.raises(RequestRefused, match="this Xspress3 system is closed"):
            use()


def test_it_is_given_up_even_if_it_does_not_stop() -> None:
    system = System()
    system.sdk.arm(Timing(exposure=10))
    system.library.replace("xsp3_histogram_stop", lambda *_: -1)
    with pytest.raises(HardwareFailed, match="xsp3_histogram_stop"):
        system.sdk.close()
    assert system.library.noted[-1] == ("close",)
    system.sdk.close()


def test_a_closed_system_can_be_opened_again() -> None:
    library = SimulatedLibrary(SimulationConfig())
    for _ in range(3):
        with Xspress3(SystemConfig(), library) as sdk:
            sdk.arm(Timing(exposure=10))


def test_a_thread_waits_until_another_has_made_its_calls() -> None:
    system = System()
    entered, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def first(*_: Any) -> int:
        entered.set()
        go_on.wait(10)
        order.append("clear")
        return 0

    system.library.replace("xsp3_histogram_clear", first)
    system.library.replace("xsp3_set_window", lambda *_: order.append("window") or 0)
    arming = threading.Thread(target=lambda: system.sdk.arm(Timing()))
    arming.start()
    assert entered.wait(10)
    other = threading.Thread(target=lambda: system.sdk.set_window(0, 1, 2))
    other.start()
    go_on.set()
    arming.join(10)
    other.join(10)
    assert order == ["clear", "window"]
