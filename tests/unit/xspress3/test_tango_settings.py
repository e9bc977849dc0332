"""What clients set on the Tango device, and what is asked of the service for it."""

from __future__ import annotations

from typing import Any

import pytest

from bluesky_streamdet.core.errors import ConfigError, PathRefused
from bluesky_streamdet.xspress3.tango_settings import Settings, TriggerMode, mode_of
from bluesky_streamdet.xspress3.timing import Timing


def timing_of(settings: Settings) -> Timing:
    """What the hardware is told."""
    arguments = settings.timing()
    return Timing.model_validate({name: arguments[name] for name in Timing.model_fields if name in arguments})


@pytest.mark.parametrize(
    ("latency", "gap", "live_ticks"),
    [
        (0.0, 25e-9, 7_999_998),
        (25e-9, 25e-9, 7_999_998),
        (100e-9, 200e-9, 7_999_984),
        (200e-9, 200e-9, 7_999_984),
        (500e-9, 500e-9, 7_999_960),
        (1e-6, 1e-6, 7_999_920),
    ],
)
def test_the_exposure_is_reduced_once(latency: float, gap: float, live_ticks: int) -> None:
    settings = Settings(exposure_time=0.1, latency_time=latency)
    timing = timing_of(settings)

    assert timing.gap == pytest.approx(gap)
    assert round(timing.exposure * 80e6) == live_ticks
    assert timing.period == pytest.approx(0.1, abs=1e-12)


def test_a_longer_latency_shortens_the_frames_that_triggers_start() -> None:
    settings = Settings(exposure_time=0.1, latency_time=0.01, triggers=5, trigger_mode=TriggerMode.EXTERNAL_MULTI)

    assert timing_of(settings).exposure == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("mode", "frames", "triggers", "expected"),
    [
        (TriggerMode.SOFTWARE, 1, 7, "software"),
        (TriggerMode.SOFTWARE, 7, 1, "software"),
        (TriggerMode.EXTERNAL_MULTI, 1, 7, "hardware"),
        (TriggerMode.EXTERNAL_MULTI, 7, 1, "hardware"),
        (TriggerMode.EXTERNAL_MULTI_GATE, 1, 7, "gate"),
        (TriggerMode.INTERNAL, 7, 1, "internal"),
        (TriggerMode.SOFTWARE_TIMED, 1, 7, "software_timed"),
    ],
)
def test_each_mode_is_one_of_the_hardware(mode: TriggerMode, frames: int, triggers: int, expected: str) -> None:
    settings = Settings(trigger_mode=mode, frames_per_trigger=frames, triggers=triggers)
    timing = timing_of(settings)

    assert (timing.mode, timing.frames, timing.triggers) == (expected, frames, triggers)
    assert settings.total == settings.request().expected_frames == 7


def test_several_bursts_by_software_are_left_to_the_service() -> None:
    settings = Settings(frames_per_trigger=5, triggers=3)

    assert settings.timing() | {"frames": 5, "triggers": 3} == settings.timing()
    assert settings.total == 15


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trigger_mode": "EXTERNAL_MULTI", "triggers": 2, "frames_per_trigger": 3}, "either one frame, or all"),
        ({"trigger_mode": "INTERNAL", "triggers": 2}, "TriggerMode INTERNAL knows no triggers"),
        ({"trigger_mode": "EXTERNAL_MULTI_GATE", "frames_per_trigger": 2}, "each opening is one frame"),
        ({"trigger_mode": "SOFTWARE_TIMED", "frames_per_trigger": 2}, "each opening is one frame"),
        ({"exposure_time": 0.0}, "leaves nothing after LatencyTime"),
        ({"exposure_time": 1e-3, "latency_time": 2e-3}, "leaves nothing after LatencyTime 0.002 s"),
        ({"latency_time": 2e-6, "frames_per_trigger": 2}, "the longest gap between frames"),
        ({"triggers_per_frame": 2}, "triggers_per_frame is 2, which only mode hardware"),
        ({"gate_input": "usb"}, "gate_input"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_armed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(**changes).timing()


def test_the_file_is_asked_for_as_it_was_named() -> None:
    request = Settings(file_name="/data/visit 7/scan.b/x.h5", overwritable=True).request()

    assert (request.directory, request.name) == ("/data/visit 7/scan.b", "x.h5")
    assert (request.save, request.replace) == (True, True)


def test_only_the_name_of_the_file_is_numbered() -> None:
    request = Settings(file_name="/data/scan.b/x.hdf5").request(3)

    assert (request.directory, request.name) == ("/data/scan.b", "x_3.hdf5")


@pytest.mark.parametrize(("file_name", "write", "header"), [("", True, False), ("x.h5", False, True)])
def test_nothing_is_written_without_a_name_or_when_somebody_else_writes(
    file_name: str, write: bool, header: bool
) -> None:
    settings = Settings(file_name=file_name, write=write)

    assert not settings.request().save
    assert (settings.timing()["save"], settings.timing()["filename"]) == (header, file_name)


def test_an_endless_name_is_refused() -> None:
    with pytest.raises(PathRefused, match="no usable DestinationFileName"):
        Settings(file_name="x" * 300).request()


def test_an_unknown_mode_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'FAST'\. Take SOFTWARE, EXTERNAL_MULTI"):
        mode_of("FAST")
