"""A detector of this kind in a beamline's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine

from bluesky_streamdet.beamline import Beamline, read
from bluesky_streamdet.core.errors import ConfigError
from tests.unit.devices.eiger.standin import StandIn
from tests.unit.devices.eiger.test_faces import called

FILE = """
catalog: none
table: false
progress: false
detectors:
  eiger: {{type: eiger, face: {face}, url: "http://daq:8010", simplon: "{url}", stream: 2, thresholds: [6000, 12000]}}
"""


@pytest.mark.parametrize("face", ["classic", "async"])
def test_it_is_made(RE: RunEngine, unit: StandIn, tmp_path: Path, face: str) -> None:
    path = tmp_path / "beamline.yaml"
    path.write_text(FILE.format(face=face, url=unit.url))
    beamline = Beamline(read(path, {}), RE)
    try:
        eiger: Any = beamline.namespace["eiger"]
        assert type(eiger).__module__.startswith("bluesky_streamdet.devices.eiger")
        assert called(face, RE, eiger, "state") == "idle"
    finally:
        beamline.close()


def test_nobody_simulates_its_control_unit_here(tmp_path: Path) -> None:
    path = tmp_path / "beamline.yaml"
    path.write_text("detectors: {eiger: {type: eiger, simulate: {}}}")
    with pytest.raises(ConfigError, match="what is simulated is of type stream"):
        read(path, {})
