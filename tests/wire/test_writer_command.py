"""`streamdet writer` and a real service in another process, through all its commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.files.reader import read_frames
from tests.wire.service_parts import TIMEOUT, Detector, config_for, pixels

pytestmark = pytest.mark.wire

WAIT = {"quiet_seconds": 1000, "gap_seconds": 0.1, "finish_seconds": 0.2, "settle_seconds": 0.1}
COMMAND = [sys.executable, "-m", "bluesky_streamdet.cli.main", "writer"]


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


@pytest.fixture(scope="module")
def process(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    config = config_for(detector, tmp_path_factory.mktemp("data"), unarmed="ignore", wait=WAIT)
    with ServiceProcess(config) as process:
        yield process


class Shell:
    """Runs commands, and keeps what the last one printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.errors = ""

    def __call__(self, *arguments: str, code: int | None = 0) -> str:
        """code: that it must end with; None for any."""
        ended = main(["writer", *arguments])
        assert code is None or ended == code
        out, self.errors = self._capsys.readouterr()
        return out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def shell(
    process: ServiceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("STREAMDET_API_KEY", process.api_key)
    monkeypatch.setenv("STREAMDET_URL", process.url)
    monkeypatch.delenv("STREAMDET_WRITER", raising=False)
    yield Shell(capsys)
    with ServiceClient(process.url, process.api_key) as client:
        series = client.status().series
        if series is not None:
            client.abort(series.id)


def test_a_series_through_its_commands(shell: Shell, detector: Detector, tmp_path: Path) -> None:
    assert shell("status") == "Writer: unconfigured\n"
    assert shell("stop") == shell("kill") == "Nothing runs.\n"
    settings = shell.json("configure", "shell/scan.h5", "--n-frames", "6", "--parameter", "sample=bone")
    assert (settings["output_file"], settings["n_frames"], settings["parameters"]) == (
        "shell/scan.h5",
        6,
        {"sample": "bone"},
    )
    assert shell("status") == "Writer: configured\n"
    assert "n_frames             5\n" in shell("configure", "--n-frames", "5")
    assert (tmp_path / "state" / "streamdet" / "writer.json").exists()

    begun = shell.json("start")
    assert begun["status"] == "receiving"
    detector.start(5)
    detector.frames(range(3))
    assert "3 frames are readable in" in shell("wait", "--frames", "3")
    assert shell("parameters", "energy=12.5", "note='a: b'") == "set: energy, note\n"
    assert shell.json("status")["progress"] == "Writer: receiving, #received:    3 (60.0%), #written:    3 (60.0%)"
    assert shell.json("statistics")["n_written_frames"] == 3

    detector.frames([3, 4])
    detector.end()
    said = shell("wait", "--timeout", "20").splitlines()[-1]
    assert said == f"series {begun['series']} is finished; 5 frames are readable, in {begun['output_file']}"
    assert shell.json("wait")["success"] is True
    assert shell.json("statistics")["series"] == begun["series"]
    assert "n_lost_frames                   0\n" in shell("statistics")
    with h5py.File(begun["output_file"]) as file:
        parameters = file["/entry/instrument/camera/collection/parameters"]
        assert parameters["note"].asstr()[()] == "a: b"
        assert parameters["energy"][()] == 12.5


def test_stop_and_kill(shell: Shell, detector: Detector) -> None:
    shell("configure", "endless.h5")
    shell("start")
    detector.start()
    detector.frames(range(2))
    shell("wait", "--frames", "2")
    assert "is finished: stopped by request; 2 frames are readable" in shell("stop")
    shell("configure", "later.h5")
    shell("start", "--no-wait")
    detector.start()
    detector.frames([0])
    shell("wait", "--frames", "1")
    assert "Nothing runs" not in shell("stop", "--no-wait")
    shell("wait", "--timeout", "20")
    shell("configure", "killed.h5", "--n-frames", "3")
    shell("start", "--no-wait")
    assert shell.json("kill", code=1)["success"] is False
    assert "aborted" in shell("wait", code=1)


def test_what_a_camera_still_holds(shell: Shell) -> None:
    assert shell("flush", "--timeout", "50") == "0 frames were thrown away\n"
    assert shell.json("flush", "--timeout", "50") == {"flushed": 0}


def test_a_session_has_a_file(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = os.environ["STREAMDET_URL"]
    monkeypatch.delenv("STREAMDET_URL")
    file = tmp_path / "here" / "pco1.json"
    shell("configure", "one.h5", "--url", url, "--config", str(file))
    monkeypatch.setenv("STREAMDET_WRITER", str(file))
    begun = shell.json("start")

    assert begun["output_file"].endswith("/one.h5")
    assert json.loads(file.read_text())["series"] == begun["series"]
    assert not (tmp_path / "state").exists()


def test_several_files_as_one(shell: Shell, detector: Detector, process: ServiceProcess) -> None:
    folder = process.config.files.directory
    for name, numbers in (("even", range(0, 6, 2)), ("odd", range(1, 6, 2))):
        shell("configure", f"{name}.h5", "--n-frames", "3")
        shell("start")
        detector.start()
        detector.frames(numbers)
        detector.end()
        shell("wait", code=None)
    files = [str(folder / "even.h5"), str(folder / "odd.h5")]
    whole = shell.json("master", *files, "-o", str(folder / "all.h5"))

    assert (whole["ledger"]["written"], whole["parts"]) == (6, 2)
    np.testing.assert_array_equal(read_frames(folder / "all.h5"), [pixels(number) for number in range(6)])
    shell("master", *files, "-o", str(folder / "all.h5"), code=1)
    assert "exists" in shell.errors
    assert "2 missing" in shell("master", *files, "-o", str(folder / "all.h5"), "--frames", "8", "--replace", code=1)


def test_what_is_wrong_is_said(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("start", code=2)
    assert "There is no output file" in shell.errors
    for wrong in (["--n-frames", "-1"], ["--n-frames", "many"], ["--dataset-name", "a/b"], ["--parameter", "x"]):
        shell("configure", "scan.h5", *wrong, code=2)
    shell("configure", "../scan.h5", code=1)
    assert "leads elsewhere" in shell.errors
    shell("parameters", "x", code=2)
    shell("configure", "/etc/scan.h5")
    shell("start", code=1)
    assert "outside of the data directory" in shell.errors

    shell("configure", "late.h5", "--n-frames", "5")
    shell("start")
    shell("wait", "--timeout", "0.2", code=1)
    assert "0 of 5 frames are readable" in shell.errors
    shell("wait", "--frames", "1", "--inactivity", "0.2", code=1)
    shell("start", code=1)
    assert "is armed there" in shell.errors
    shell("flush", code=1)
    assert "Traceback" not in shell.errors
    monkeypatch.setenv("STREAMDET_API_KEY", 5 * "wrong")
    shell("kill", code=1)
    assert "key" in shell.errors
    shell("status", "--url", "http://127.0.0.1:1", code=1)
    assert "No service answers" in shell.errors


@pytest.mark.parametrize("text", ["{", '{"settings": {"n_frames": "many"}}', '{"colour": 1}'])
def test_a_file_that_is_no_session(shell: Shell, tmp_path: Path, text: str) -> None:
    file = tmp_path / "session.json"
    file.write_text(text)
    shell("configure", "--config", str(file), code=2)

    assert f"{file} is no session" in shell.errors
    assert file.read_text() == text
    shell("configure", "--config", str(tmp_path), code=2)
    shell("configure", "--config", str(file / "below"), code=2)


def test_ctrl_c_ends_the_waiting_alone(shell: Shell) -> None:
    shell("configure", "goes-on.h5", "--n-frames", "5")
    shell("start")
    with subprocess.Popen([*COMMAND, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert "Writer: receiving" in waiting.stdout.readline()
        waiting.send_signal(signal.SIGINT)
        out, errors = waiting.communicate(timeout=TIMEOUT)
    assert waiting.returncode == 1
    assert "is receiving" in out
    assert "Traceback" not in errors
    assert shell.json("status")["status"] == "receiving"


def test_a_terminal_has_a_bar(shell: Shell) -> None:
    pexpect = pytest.importorskip("pexpect", reason="needs pexpect")
    shell("configure", "bar.h5", "--n-frames", "4")
    shell("start")
    with pexpect.spawn(COMMAND[0], [*COMMAND[1:], "wait"], timeout=TIMEOUT, encoding="utf-8") as terminal:
        terminal.expect("━.*Writer: receiving, #received:    0")
        terminal.sendintr()
        terminal.expect("is receiving")
        terminal.expect(pexpect.EOF)


def test_a_shell_completes_its_words(shell: Shell) -> None:
    environment = os.environ | {
        "_STREAMDET_COMPLETE": "complete_bash",
        "COMP_WORDS": "streamdet writer st",
        "COMP_CWORD": "2",
    }
    code = "from bluesky_streamdet.cli.main import app; app(prog_name='streamdet')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )

    assert done.stdout.split() == ["start", "stop", "status", "statistics"]
