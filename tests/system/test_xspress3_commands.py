"""`streamdet xspress3 stream` and `tell` as a person runs them, and who receives at the three ports."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
import yaml
import zmq

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import Status
from tests.wire.test_service_serve import line_with

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PATIENCE = 30.0
COMMAND = [sys.executable, "-m", "bluesky_streamdet.cli.main", "xspress3"]
PORTS = ["--port", "0", "--data-port", "0", "--public-port", "0", "--monitor-port", "0"]


@pytest.fixture(autouse=True)
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    monkeypatch.delenv("STREAMDET_API_KEY", raising=False)


@contextmanager
def streaming(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`stream` over a simulated SDK, and the URL that it prints; ended by Ctrl-C."""
    command = [*COMMAND, "stream", "--simulate", "X3", "--channels", "3", "--directory", str(tmp_path / "d")]
    with subprocess.Popen([*command, *PORTS, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, line_with(process, r"page +(\S+)/#key=")[1]
            process.send_signal(signal.SIGINT)
            line_with(process, "ended$")
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def tell(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "tell", *arguments, "--url", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_a_first_series_and_what_is_told(tmp_path: Path) -> None:
    with streaming(tmp_path, "--frames", "25", "--exposure", "0.1") as (process, url):
        line_with(process, r"running .* \d+/25 frames, .*/s, .* MB/s  0 missing")
        line_with(process, "ended complete, 25 frames")
        state = yaml.safe_load(tell(url).stdout)
        assert (state["state"], state["channels"], state["taken"]) == ("idle", 3, 25)
        told = tell(url, "set_window", "window=1", "low=200", "high=300", "channel=2")
        assert yaml.safe_load(told.stdout)["windows"][1][2] == [200, 300]
        wrong = tell(url, "set_window", "window=1", "low=300", "high=200")
        assert (wrong.returncode, "low may not be above high" in wrong.stderr) == (2, True)
        assert "Write it as NAME=VALUE" in tell(url, "arm", "fast").stderr
        assert "It knows state, arm, trigger" in tell(url, "sing").stderr


def test_several_simulated_cards(tmp_path: Path) -> None:
    with streaming(tmp_path, "--cards", "3") as (_, url), ServiceClient(url) as service:
        assert [service.detector()[name] for name in ("cards", "channels")] == [3, 3]


def test_the_greeting_names_the_ports_that_were_found(tmp_path: Path) -> None:
    command = [*COMMAND, "stream", "--simulate", "X3", "--directory", str(tmp_path), *PORTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for what in ("output +data: push", "output +public: pub", "monitor"):
                assert int(line_with(process, rf"{what} +tcp://127.0.0.1:(\d+)$")[1]) > 0
            process.send_signal(signal.SIGINT)
            line_with(process, "ended$")
        finally:
            process.kill()


def test_without_a_file(tmp_path: Path) -> None:
    with streaming(tmp_path, "--frames", "3", "--exposure", "0.01", "--no-save") as (process, _):
        line_with(process, "ended complete, 0 frames, no file")
    assert not list((tmp_path / "d").glob("*.h5"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--simulate", "X9"], "generation is 'X9'"),
        (["--dialect", "klingon", "--simulate", "X3"], "no dialect 'klingon'"),
        (["nowhere.yaml"], "There is no file nowhere.yaml"),
        (["pyproject.toml", "--cards", "2"], "system is described in the file"),
        (["pyproject.toml"], "outputs are described in the file"),
        (["--channels", "2"], "say which: --simulate X3"),
        (["--library", "/nowhere/libxspress3.so"], "/nowhere/libxspress3.so"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        [*COMMAND, "stream", *PORTS, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE
    )

    assert done.returncode != 0
    assert says in " ".join(done.stderr.replace("│", "").split())
    assert "Traceback" not in done.stderr


def test_a_writer_at_the_data_port_and_viewers_at_the_others(tmp_path: Path) -> None:
    with streaming(tmp_path, "--no-save") as (_, url), ServiceClient(url) as source:
        data, public = (one.address for one in source.status().outputs)
        config = for_row("xspress3", data, tmp_path / "remote", environ={})
        config.rest.port = 0
        config.log_level = "WARNING"
        with (
            ServiceProcess(config) as service,
            ServiceClient(service.url, service.api_key) as receiver,
            zmq.Context() as context,
            context.socket(zmq.SUB) as viewer,
        ):
            viewer.rcvtimeo = 1000 * round(PATIENCE)
            viewer.subscribe(b"")
            viewer.connect(public)
            series = receiver.arm(ArmRequest(expected_frames=40))
            source.wait(_all_connected, PATIENCE, "the receivers")
            source.instruct("arm", exposure=0.005, frames=40)
            receiver.wait(lambda status: status.series is None, PATIENCE, "the series")
            report = receiver.series(series.id)
            seen = _series_of(viewer)

    assert (report.outcome, report.ledger.written, report.ledger.missing) == (Outcome.COMPLETE, 40, 0)
    assert report.file is not None
    with h5py.File(report.file) as file:
        spectra = file["/entry/data/data"][()]
        good = file["/entry/instrument/xspress3/all_good"][()]
    np.testing.assert_array_equal(spectra.sum(axis=-1), good)
    np.testing.assert_array_equal(spectra, seen)


def _all_connected(status: Status) -> bool:
    return all(output.clients for output in status.outputs)


def _series_of(viewer: zmq.Socket[bytes]) -> np.ndarray:
    """The spectra of a whole series, as a stranger reads them who has the description of the format only."""
    frames = []
    while True:
        header, *parts = viewer.recv_multipart()
        said = msgspec.json.decode(header)
        if said["htype"] == "series_end":
            return np.array(frames)
        if said["htype"] == "image":
            spectra = np.frombuffer(parts[0], said["type"]).reshape(said["shape"])
            record = np.dtype([(one["name"], one["type"], tuple(one["shape"])) for one in said["scalars"]])
            scalars = np.frombuffer(parts[1], record)[0]
            np.testing.assert_array_equal(spectra.sum(axis=-1), scalars["all_good"])
            frames.append(spectra)
