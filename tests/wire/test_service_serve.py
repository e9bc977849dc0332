"""`streamdet serve` as a person runs it, and services that are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.service.predecessor import PidFile
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import Status
from tests.wire.service_parts import TIMEOUT, Detector, config_for, process_ended

pytestmark = pytest.mark.wire


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    monkeypatch.delenv("STREAMDET_API_KEY", raising=False)


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


@contextmanager
def serving(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`streamdet serve` with these arguments; killed at the end if it still runs."""
    command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "serve", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line of the output that matches."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line with {pattern} in {seen}")


def idle(status: Status) -> bool:
    return status.series is None


def running(frames: int) -> Callable[[Status], bool]:
    return lambda status: status.series is not None and status.series.ledger.written >= frames


@pytest.mark.usefixtures("environ")
def test_says_what_happens_and_drains_at_ctrl_c(detector: Detector, tmp_path: Path) -> None:
    with serving("stins", "--from", detector.address, "--directory", str(tmp_path / "d"), "--port", "0") as process:
        url, key = line_with(process, r"page +(\S+)/#key=(\S+)").groups()
        with ServiceClient(url) as client:
            assert client._key() == key
            client.arm(ArmRequest(id="one"))
            line_with(process, r"series one is armed, .*/stins_one.h5")
            detector.start()
            detector.frames(range(4))
            client.wait(running(4), TIMEOUT, "4 frames")
        line_with(process, r"running +one .* 4 frames, .* 0 missing")
        process.send_signal(signal.SIGINT)
        line_with(process, "ending: what is on its way is written first")
        line_with(process, "series one ended complete, 4 frames")
        assert process.wait(TIMEOUT) == 0
    assert len(read_frames(tmp_path / "d" / "stins_one.h5")) == 4


@pytest.mark.usefixtures("environ")
def test_a_file_of_several_detectors(detector: Detector, tmp_path: Path) -> None:
    file = tmp_path / "hall.yaml"
    one = f"{{type: stins, source: {{endpoints: [{detector.address}]}}, files: {{directory: {tmp_path}/d}}}}"
    file.write_text(f"detectors:\n  one: {one}\n  two: {one}\n")
    with serving(str(file), "two", "--port", "0") as process:
        assert line_with(process, r"detector +(\S+)")[1] == "two"
        line_with(process, "page")
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing"], 2, "There is no file nothing, and no detector of that name"),
        (["stins", "--port", "70000"], 2, "--port"),
        (
            ["pyproject.toml", "--from", "tcp://127.0.0.1:1"],
            2,
            "--from and --directory are for a detector without a file",
        ),
        (["stins", "--from", "nonsense", "--port", "0"], 2, "'nonsense' is no ZeroMQ address"),
    ],
)
@pytest.mark.usefixtures("environ")
def test_wrong_usage_is_told_from_failure(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    with serving(*arguments) as process:
        _, errors = process.communicate(timeout=TIMEOUT)

    assert process.returncode == code
    assert said in " ".join(errors.replace("│", "").split())
    assert "Traceback" not in errors


@pytest.mark.usefixtures("environ")
def test_names_a_port_that_is_taken(detector: Detector, tmp_path: Path) -> None:
    with (
        ServiceProcess(config_for(detector, tmp_path)) as first,
        serving("stins", "--directory", str(tmp_path / "d"), "--port", first.url.rpartition(":")[2]) as process,
    ):
        _, errors = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 1
    assert f"The port {first.url.rpartition(':')[2]} on 127.0.0.1 is in use" in errors


def killed(process: ServiceProcess, *, data_plane_too: bool) -> None:
    """Kill a service as the operating system does when memory is short."""
    assert process.pid is not None
    data_plane = PidFile(process.config.files.directory, "camera", process.config.PLANE).running()
    assert data_plane is not None
    os.kill(process.pid, signal.SIGKILL)
    if data_plane_too:
        os.kill(data_plane, signal.SIGKILL)
    process.close()


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("data_plane_too", [False, True])
def test_a_service_that_is_killed(detector: Detector, tmp_path: Path, data_plane_too: bool) -> None:
    config = config_for(detector, tmp_path)
    first = ServiceProcess(config)
    first.start()
    with ServiceClient(first.url, first.api_key) as client:
        client.arm(ArmRequest(id="old", expected_frames=100))
        detector.start()
        detector.frames(range(6))
        series = client.wait(running(6), TIMEOUT, "6 frames").series
    assert series is not None
    killed(first, data_plane_too=data_plane_too)

    with ServiceProcess(config) as second, ServiceClient(second.url, second.api_key) as client:
        old = client.series("old")
        assert (old.outcome, old.ledger.written, old.ledger.missing) == (Outcome.INTERRUPTED, 6, 94)
        assert "the service died while the series ran" in old.reason
        assert len(read_frames(str(series.file))) == 6
        client.arm(ArmRequest(id="new"))
        detector.series(3)
        client.wait(
            lambda status: status.last_series is not None and status.last_series.id == "new", TIMEOUT, "its end"
        )
        assert client.series("new").outcome is Outcome.COMPLETE


@pytest.mark.usefixtures("environ")
def test_no_data_plane_outlives_its_service(detector: Detector, tmp_path: Path) -> None:
    process = ServiceProcess(config_for(detector, tmp_path))
    process.start()
    data_plane = PidFile(tmp_path, "camera", DetectorConfig.PLANE).running()
    assert data_plane is not None
    killed(process, data_plane_too=False)

    assert process_ended(data_plane)
