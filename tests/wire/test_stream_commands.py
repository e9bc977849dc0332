"""`simulate`, `record`, `replay` and `watch` as users call them, on real sockets."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.cli.console import stopped_by_signal
from bluesky_streamdet.cli.main import main
from bluesky_streamdet.core.events import RAW, Frame, SeriesEnd
from bluesky_streamdet.sim.client import SimulatedDetectorClient
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.sim.faults import Chosen, Faults
from bluesky_streamdet.sim.settings import SimulatorSettings, simulator
from bluesky_streamdet.streaming.listener import Listener
from bluesky_streamdet.streaming.recordfile import read_recording
from bluesky_streamdet.streaming.sender import Sender

pytestmark = pytest.mark.wire

ANY = "tcp://127.0.0.1:0"
TIMEOUT = 10.0
SHAPE = ["--shape", "16x16", "--dtype", "uint16", "--compression", "none"]


@contextmanager
def streaming(job: Arm, faults: Faults | None = None) -> Iterator[str]:
    """A simulated detector that sends one series; gives its address."""
    settings = SimulatorSettings("stins", ANY, shape=(16, 16), dtype="uint16", encoding=RAW, faults=faults or Faults())
    with simulator(settings) as simulated:
        simulated.detector.arm(job)
        for _ in range(job.triggers):
            simulated.detector.trigger()
        yield simulated.address


class Collector:
    """Receives a whole series in a thread, while the main thread runs a command."""

    def __init__(self) -> None:
        self._listener = Listener(ANY, bind=True)
        self.port = self._listener.address.rpartition(":")[2]
        self.address = self._listener.address
        self.numbers: list[int] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        decoder = CODECS["stins"].decoder()
        with self._listener:
            while messages := self._listener.receive(TIMEOUT):
                events = [event for parts in messages for event in decoder.decode(parts, 0)]
                self.numbers += [event.number for event in events if isinstance(event, Frame)]
                if any(isinstance(event, SeriesEnd) for event in events):
                    return

    def end(self) -> list[int]:
        self._thread.join()
        return self.numbers


def test_simulate_sends_a_series_and_tells_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    collector = Collector()
    faults = ["--drop", "3,5-6", "--duplicate", "8"]
    arguments = ["simulate", "stins", "--connect", "--port", collector.port, "--frames", "10", "--rate", "0", *SHAPE]
    assert main([*arguments, *faults]) == 0
    assert collector.end() == [0, 1, 2, 4, 7, 8, 8, 9]
    out = capsys.readouterr().out
    assert f"sends on tcp://127.0.0.1:{collector.port}: 16x16 uint16" in out
    assert "series 1: 10 frames; 3 dropped (3, 5-6); 1 duplicated (8)" in out


def test_simulate_names_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    with Listener(ANY, bind=True) as listener:
        port = listener.address.rpartition(":")[2]
        assert main(["simulate", "stins", "--port", port, *SHAPE]) == 1
    err = capsys.readouterr().err
    assert port in err
    assert "in use" in err


def test_simulate_obeys_its_control_port_and_ends_on_quit() -> None:
    arguments = ["simulate", "stins", "--port", "0", "--control-port", "0", *SHAPE]
    process = subprocess.Popen(
        [sys.executable, "-m", "bluesky_streamdet.cli.main", *arguments], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        address = process.stdout.readline().partition("sends on ")[2].partition(": ")[0]
        control = process.stdout.readline().partition(": ")[2].strip()
        with SimulatedDetectorClient(control) as client, Listener(address) as listener:
            client.arm(frames=3, exposure=0.0)
            client.trigger()
            seen = 0
            while seen < 5:
                seen += len(listener.receive(TIMEOUT))
            client.quit()
        assert "series 1: 3 frames; no faults" in process.stdout.read()
        assert process.wait(TIMEOUT) == 0


def test_ctrl_c_ends_a_simulated_series_with_its_end_message() -> None:
    collector = Collector()
    arguments = ["simulate", "stins", "--connect", "--port", collector.port, "--frames", "1000000", "--loop", *SHAPE]
    process = subprocess.Popen(
        [sys.executable, "-m", "bluesky_streamdet.cli.main", *arguments], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert "sends on" in process.stdout.readline()
        line = process.stdout.readline()
        assert "of 1000000 frames" in line
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
        assert "of 1000000 frames; no faults" in process.stdout.read()
    assert collector.end()


def test_record_then_replay_gives_the_same_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stream.cbors"
    with streaming(Arm(frames=10, exposure=0.0)) as address:
        assert main(["record", address, str(path), "--count", "12"]) == 0
    assert "12 messages" in capsys.readouterr().out
    assert len(list(read_recording(path))) == 12
    collector = Collector()
    assert main(["replay", str(path), collector.address, "--connect"]) == 0
    assert collector.end() == list(range(10))
    assert "12 messages sent" in capsys.readouterr().out


def test_record_never_overwrites_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stream.cbors"
    path.write_text("precious")
    with streaming(Arm(exposure=0.0)) as address:
        assert main(["record", address, str(path), "--count", "1"]) == 1
        assert "--replace" in capsys.readouterr().err
        assert path.read_text() == "precious"
        assert main(["record", address, str(path), "--count", "1", "--replace"]) == 0
    assert len(list(read_recording(path))) == 1


def test_ctrl_c_ends_a_recording_with_whole_messages(tmp_path: Path) -> None:
    path = tmp_path / "stream.cbors"
    with streaming(Arm(frames=1_000_000, exposure=0.001)) as address:
        arguments = [sys.executable, "-m", "bluesky_streamdet.cli.main", "record", address, str(path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "messages" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT) == 0
            last = process.stdout.read().splitlines()[-1]
    assert last.startswith(f"{path}: {len(list(read_recording(path)))} messages")


def test_replay_without_receiver_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "000000_000.raw").write_bytes(b"part")
    assert main(["replay", str(tmp_path), ANY, "--timeout", "0.05"]) == 1
    assert "Nobody took a message" in capsys.readouterr().err


def test_watch_says_what_comes_and_saves_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "latest.png"
    with streaming(Arm(frames=10, exposure=0.0), Faults(drop=Chosen(numbers=frozenset({4})))) as address:
        assert main(["watch", address, "--socket", "pull", "--frames", "9", "--save", str(path)]) == 0
    out = capsys.readouterr().out
    assert "series 1 (stins) began; description Simulated EIGER" in out
    assert "16x16 <u2 none, 512 bytes" in out
    assert path.read_bytes().startswith(b"\x89PNG")


def test_watch_prints_headers(capsys: pytest.CaptureFixture[str]) -> None:
    with streaming(Arm(frames=3, exposure=0.0)) as address:
        assert main(["watch", address, "-m", "PULL", "-f", "frame, shape,nested.name", "--frames", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # The header of the series, which has neither, comes before them.
    assert [one for one in lines if one.startswith("frame ")][:4] == [
        "frame -  shape -  nested.name -",
        *(f"frame {number}  shape [16, 16]  nested.name -" for number in range(3)),
    ]


def test_watch_prints_whole_headers_and_survives_those_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    with Sender(ANY, linger=0) as sender:
        sender_thread = threading.Thread(
            target=lambda: [sender.send(one, TIMEOUT) for one in ([b'{"a":"\\u001b[31m"}'], [b"\xff", b"x"], [b""])]
        )
        sender_thread.start()
        assert main(["watch", sender.address, "-m", "pull", "-f", "all", "--seconds", "1"]) == 0
        sender_thread.join()
    out = capsys.readouterr().out
    assert '{"a":"' in out and "\x1b" not in out
    assert "header that is no JSON, of 2 parts" in out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_watch_shows_a_table_on_a_terminal_whatever_the_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("bluesky_streamdet.cli.watch.EVERY", 0.0)
    with streaming(Arm(frames=10, exposure=0.01, filename="[/bold]\x1b[31mred")) as address:
        assert main(["watch", address, "--socket", "pull", "--frames", "10"]) == 0
    shown = terminal.getvalue()
    assert "10 of 10 frames" in shown
    assert "[/bold]?[31mred" in shown


def test_watch_says_when_nothing_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with Listener(ANY, bind=True) as listener:
        address = listener.address
    assert main(["watch", address, "--seconds", "0.05"]) == 0
    assert f"no detector at {address} yet; one that sends by PUSH needs --socket pull" in capsys.readouterr().out
    assert main(["watch", address, "--seconds", "0.05", "--socket", "pull"]) == 0
    assert capsys.readouterr().out.endswith(f"no detector at {address} yet\n")


def test_watch_refuses_to_save_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["watch", "tcp://127.0.0.1:1", "--save", "x.png"]) == 1
    assert "bluesky-streamdet[plots]" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_the_second_one_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signal() as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(TIMEOUT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
