"""The command line: quick help, exit codes, errors in the user's words."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from bluesky_streamdet.catalog import DETECTORS
from bluesky_streamdet.cli.console import Speed, pair_of
from bluesky_streamdet.cli.main import COMMANDS, main
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.progress import Ticker

HEAVY = (
    "asyncio",
    "bluesky",
    "cbor2",
    "fastapi",
    "h5py",
    "matplotlib",
    "msgspec",
    "numpy",
    "ophyd",
    "pydantic",
    "rich",
    "zmq",
)
"""What only the commands that need it may import. typer itself reads a command's options with pydantic."""


def imported_by(*arguments: str) -> set[str]:
    """What the process imports to carry out this command line."""
    code = "import sys; from bluesky_streamdet.cli.main import main; main(sys.argv[1:]); print('\\n', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("--help") & set(HEAVY)


@pytest.mark.parametrize("command", ["simulate", "record", "replay", "watch", "detectors", "writer"])
def test_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    assert not imported_by(command, "--help") & (set(HEAVY) - {"pydantic", "asyncio", "rich"})


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_table_exists_and_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"bluesky_streamdet.cli.{command}")
    assert hasattr(module, "app") or getattr(module, command).__doc__
    assert main([command, "--help"]) == 0
    assert "Usage: streamdet " + command in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command} " in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out[0].isdigit()


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["record"],
        ["record", "tcp://127.0.0.1:1", "file", "--nonsense"],
        ["replay", "no-file-of-this-name", "tcp://127.0.0.1:0"],
        ["replay", ".", "tcp://127.0.0.1:0", "--rate", "0"],
        ["replay", ".", "tcp://127.0.0.1:0", "--socket", "rep"],
        ["record", "tcp://127.0.0.1:1", "file", "--socket", "rep"],
        ["watch", "tcp://127.0.0.1:1", "--codec", "nonsense"],
        ["watch", "detector:9999"],
        ["simulate", "nonsense"],
        ["simulate", "stins", "--shape", "64"],
        ["simulate", "stins", "--drop", "some"],
        ["simulate", "stins", "--port", "0", "--shape", "8x8"],
        ["simulate", "stins", "--port", "0", "--shape", "16x16", "--dtype", "float32"],
        ["simulate", "stins", "--port", "70000"],
    ],
)
def test_wrong_usage_exits_2_with_a_word(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_a_wrong_log_level_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    assert main(["detectors"]) == 2
    assert "LOUD" in capsys.readouterr().err


def test_detectors_has_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1 + len(DETECTORS)
    for (name, row), line in zip(DETECTORS.items(), rows[1:], strict=True):
        assert line.startswith(name)
        assert row.description in line
        assert str(row.port) in line


def test_replaying_what_is_no_recording_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no recording")
    assert main(["replay", str(tmp_path / "notes.txt"), "tcp://127.0.0.1:0"]) == 1
    assert "notes.txt" in capsys.readouterr().err


def test_a_shape_is_read_or_refused() -> None:
    assert pair_of("1065x1030", "shape") == (1065, 1030)
    for text in ("1065", "x", "0x5", "5x-5", "1.5x2"):
        with pytest.raises(ConfigError, match="ROWSxCOLUMNS"):
            pair_of(text, "shape")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_plain_line_is_printed_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Ticker(clock=clock) as ticker:
        for tenth in range(35):
            clock.now = tenth / 10
            ticker.show(tenth, lambda tenth=tenth: f"{tenth} done")
    assert capsys.readouterr().out.splitlines() == ["10 done", "20 done", "30 done"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with Ticker(10) as ticker:
        ticker.show(5, lambda: "5 [of] 10")
    assert "5 [of] 10" in terminal.getvalue()
    assert "━" in terminal.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_speed_is_that_of_the_last_second() -> None:
    clock = Clock()
    speed = Speed(clock)
    assert speed(0, 0) == "0.0/s, 0.0 MB/s"
    clock.now = 2.0
    assert speed(10, 20_000_000) == "5.0/s, 10.0 MB/s"
    clock.now = 2.5
    assert speed(99, 99_000_000) == "5.0/s, 10.0 MB/s"
    clock.now = 4.0
    assert speed(12, 20_000_000) == "1.0/s, 0.0 MB/s"
