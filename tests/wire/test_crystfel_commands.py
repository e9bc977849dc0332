"""`streamdet crystfel geometry` and `command`, of a running service and of a file that one wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.sim.settings import SimulatorSettings, simulator
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.system.station import Process

pytestmark = pytest.mark.wire

SHAPE = (256, 128)
MESSAGE = {"address": "tcp://127.0.0.1:0", "policy": "fresh", "peaks": {"min_peaks": 4}}


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """URL of a service that has received a series, and the file of that."""
    folder = tmp_path_factory.mktemp("station")
    settings = SimulatorSettings(detector="eiger", endpoint="tcp://127.0.0.1:0", shape=SHAPE, linger=0)
    with simulator(settings) as running:
        config = {
            "detectors": {
                "eiger": {
                    "type": "eiger",
                    "source": {"endpoints": [running.address]},
                    "files": {"directory": str(folder)},
                    "rest": {"port": 0},
                    "crystfel": [{"name": "one", **MESSAGE}, {"name": "files", **MESSAGE, "format": "hdf5"}],
                }
            }
        }
        (folder / "beamline.yaml").write_text(yaml.safe_dump(config))
        serve = Process(["serve", str(folder / "beamline.yaml"), "eiger"], r"(http://127\.0\.0\.1:\d+)", {})
        try:
            with ServiceClient(serve.said[0]) as client:
                id = client.arm(ArmRequest(expected_frames=2)).id
                running.detector.arm(Arm(frames=2, exposure=0.0))
                running.detector.trigger()
                done = client.wait(lambda status: status.last_series is not None, 20, "the series")
            assert done.last_series is not None and done.last_series.id == id and done.last_series.file
            yield serve.said[0], Path(done.last_series.file)
        finally:
            serve.end()


def panels(text: str) -> list[str]:
    return [line.partition("/")[0] for line in text.splitlines() if "/min_fs" in line]


def test_the_geometry_of_a_services_detector(station: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crystfel", "geometry", station[0], "--endpoint", "one"]) == 0
    text = capsys.readouterr().out
    assert "photon_energy = beam_energy eV\n" in text
    assert "flag_equal = -1\n" in text
    assert len(panels(text)) == 2, "the simulated modules, with a gap between them"
    assert main(["crystfel", "geometry", station[0], "--endpoint", "files", "--distance", "80"]) == 0
    text = capsys.readouterr().out
    assert "photon_energy = /entry/beam_energy eV\nclen = 80 mm\n" in text
    assert "data = /entry/data/data\n" in text


def test_the_geometry_of_a_file_is_that_of_its_service(
    station: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crystfel", "geometry", station[0], "--endpoint", "one"]) == 0
    of_service = capsys.readouterr().out
    geometry = tmp_path / "detector.geom"
    assert main(["crystfel", "geometry", str(station[1]), "-o", str(geometry)]) == 0
    assert geometry.read_text().splitlines()[1:] == of_service.splitlines()[1:], "but for the address in the first line"


def test_the_hit_rate_is_in_status_and_metrics(station: tuple[str, Path]) -> None:
    """Nobody has asked for a frame: none was looked at."""
    with ServiceClient(station[0]) as client:
        peaks = client.status().crystfel[0].peaks
    assert peaks is not None and (peaks.frames, peaks.hit_rate) == (0, None)
    text = httpx.get(f"{station[0]}/metrics").text
    assert re.search(r'crystfel_peaks_hits_total\{detector="eiger",endpoint="one"\} 0', text)


def test_the_command_of_a_service(station: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with ServiceClient(station[0]) as client:
        address = client.status().crystfel[0].address
    assert main(["crystfel", "command", station[0], "--endpoint", "one", "-j", "4", "--header", "laser"]) == 0
    text = capsys.readouterr().out
    for part in (f"--zmq-input={address}", "-j 4", "--peaks=msgpack --no-revalidate", "--copy-header=laser"):
        assert part in text
    assert "kill -USR1" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["command", "URL"], "it has several endpoints for CrystFEL.\nGive --endpoint: one, files."),
        (["geometry", "URL", "--endpoint", "two"], "it has no endpoint 'two'"),
        (["geometry", "FILE", "--mask", "mask.h5"], "'mask.h5' is no mask"),
        (["geometry", "FILE", "--format", "seedee"], "'msgpack' or 'hdf5'"),
        (["geometry", "/nowhere.h5"], "There is no file /nowhere.h5"),
    ],
)
def test_what_is_asked_wrongly(
    station: tuple[str, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    given = [{"URL": station[0], "FILE": str(station[1])}.get(one, one) for one in arguments]
    assert main(["crystfel", *given]) in {1, 2}
    assert said in capsys.readouterr().err
