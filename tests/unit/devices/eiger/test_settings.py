"""What settings become in the detector's own parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.eiger import settings as written
from bluesky_streamdet.devices.eiger.making import settings_of
from bluesky_streamdet.devices.eiger.readings import READINGS, read_all
from bluesky_streamdet.devices.eiger.settings import Settings
from bluesky_streamdet.devices.eiger.simplon import Simplon, UnknownParameter
from tests.unit.devices.eiger.standin import StandIn

CONFIG = "detector/config"


@pytest.fixture
def simplon(unit: StandIn) -> Simplon:
    return Simplon(unit.url)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"software_mode": "exts"}, "software_mode is 'exts'; it may be ints, inte"),
        ({"external_mode": "gate"}, "external_mode is 'gate'; it may be exts, exte"),
        ({"header_detail": "much"}, "it may be none, basic, all"),
        ({"stream": 3}, "There is no stream version 3"),
        ({"frame_time": -1}, r"frame_time can't be -1\.0"),
        ({"photon_energy": float("nan")}, "photon_energy can't be nan"),
        ({"thresholds": [4000, 8000]}, "Take version 2 for several"),
        ({"thresholds": [4000] * 5, "stream": 2}, "at most 4"),
        ({"thresholds": [0.0]}, "energies in eV"),
        ({"user_data": {1, 2}}, "what JSON can hold"),
    ],
)
def test_settings_that_can_not_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings_of(values)


def test_levels_are_told_from_edges() -> None:
    assert settings_of({}).mode(True, 1) == "exts"
    assert settings_of({}, level=True).mode(True, 1) == "exte"
    assert settings_of({}, level=True).mode(False, 5) == "ints"


def test_a_mode_that_takes_one_frame() -> None:
    settings = Settings(software_mode="inte")
    assert settings.mode(False, 1) == "inte"
    with pytest.raises(ConfigError, match="one frame a trigger, and not 5"):
        settings.mode(False, 5)


def test_what_is_not_said_is_left_alone(unit: StandIn, simplon: Simplon) -> None:
    written.write_beam(simplon, Settings())
    assert unit.written == []


def test_thresholds_follow_the_energy(unit: StandIn, simplon: Simplon) -> None:
    """The detector sets them to a half of it; so they come behind."""
    written.write_beam(simplon, settings_of({"photon_energy": 12_400, "thresholds": [5000]}))
    assert unit.written == [f"{CONFIG}/photon_energy", f"{CONFIG}/threshold_energy", f"{CONFIG}/threshold/2/mode"]
    assert unit.value(f"{CONFIG}/threshold/2/mode") == "disabled"
    written.write_beam(simplon, settings_of({"stream": 2, "thresholds": [5000, 9000]}))
    assert unit.value(f"{CONFIG}/threshold/2/mode") == "enabled"
    assert unit.value(f"{CONFIG}/threshold/2/energy") == 9000
    with pytest.raises(UnknownParameter, match="threshold/3"):
        written.write_beam(simplon, settings_of({"stream": 2, "thresholds": [5000, 9000, 11_000]}))


def test_the_shortest_frame(unit: StandIn, simplon: Simplon) -> None:
    assert written.write_timing(simplon, Settings(), 0.25) == pytest.approx(0.251)
    assert written.write_timing(simplon, Settings(frame_time=0.5), 0.25) == 0.5
    assert unit.value(f"{CONFIG}/count_time") == 0.25
    with pytest.raises(ConfigError, match=r"Set frame_time to 0\.251 s or more"):
        written.write_timing(simplon, Settings(frame_time=0.2), 0.25)


def test_an_exposure_that_the_detector_rounds(unit: StandIn, simplon: Simplon) -> None:
    unit.answers[f"{CONFIG}/count_time"] = 200, {"value": 0.5}
    with pytest.raises(ConfigError, match=r"takes an exposure of 0\.5 s in place of 0\.25 s"):
        written.write_timing(simplon, Settings(), 0.25)


@pytest.mark.parametrize(
    ("frames", "triggers", "external", "expected"),
    [
        (5, 1_000_000, False, ("ints", 5, 50_000)),
        (100_000, 1_000_000, False, ("ints", 100_000, 21_474)),
        (1, 200, True, ("exts", 1, 200)),
    ],
)
def test_as_many_triggers_as_the_detector_takes(
    unit: StandIn, simplon: Simplon, frames: int, triggers: int, external: bool, expected: tuple[str, int, int]
) -> None:
    written.write_series(simplon, Settings(), frames, triggers, external)
    assert tuple(unit.value(f"{CONFIG}/{name}") for name in ("trigger_mode", "nimages", "ntrigger")) == expected


def test_the_header_says_where_frames_go(unit: StandIn, simplon: Simplon) -> None:
    """As text in version 1, where it is a part of the message."""
    settings = settings_of({"user_data": {"sample": "lysozyme"}})
    written.write_stream(simplon, settings, {"filename": "/data/a.h5"})
    said = json.loads(unit.value("stream/config/header_appendix"))
    assert said == {"filename": "/data/a.h5", "user_data": {"sample": "lysozyme"}}
    assert [unit.value(f"stream/config/{one}") for one in ("mode", "format", "header_detail")] == [
        "enabled",
        "legacy",
        "basic",
    ]
    written.write_stream(simplon, settings_of({"user_data": "lysozyme", "stream": 2}), {})
    assert unit.value("stream/config/header_appendix") == {"user_data": "lysozyme"}
    assert unit.value("stream/config/format") == "cbor"


def test_a_detector_with_one_version_of_the_stream(unit: StandIn, simplon: Simplon) -> None:
    del unit.parameters["stream/config/format"]
    written.write_stream(simplon, Settings(), {})
    with pytest.raises(UnknownParameter, match=r"stream/.*/config/format"):
        written.write_stream(simplon, Settings(stream=2), {})


def test_what_the_detector_says_of_itself(unit: StandIn, simplon: Simplon) -> None:
    """By the names of its model; what it does not have is what is not known."""
    unit.parameters["detector/config/bit_depth_readout"] = {"value": None}
    readings = read_all(simplon)
    assert readings.keys() == READINGS.keys()
    assert (readings["temperature"], readings["high_voltage"], readings["serial_number"]) == (21.5, "READY", "E-01")
    assert readings["humidity"] != readings["humidity"]
    assert (readings["bit_depth_readout"], readings["sensor_material"]) == (0, "")
