"""The data plane as a real process, steered by a test over its link, as the control plane does."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from bluesky_streamdet.streaming.config import DataPlaneConfig
from bluesky_streamdet.streaming.messages import Answer, Command, Request
from bluesky_streamdet.streaming.status import SeriesReport, Status

COMMAND = [sys.executable, "-m", "bluesky_streamdet.streaming.process", "--link"]
PATIENCE = 20.0


class Plane:
    """A data plane's process. What it says is taken whenever the test waits for something.

    series: the newest report of each series, by its id. problem: why the process could not start.
    """

    def __init__(self, config: DataPlaneConfig, command: list[str] = COMMAND, start: bool = True) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="plane-")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.bind(f"ipc://{self._folder.name}/link")
        self._number = 0
        self._answers: dict[int, tuple[Answer, list[bytes]]] = {}
        self.status: Status | None = None
        self.problem: str | None = None
        self.series: dict[str, SeriesReport] = {}
        self.process = subprocess.Popen(
            [*command, f"ipc://{self._folder.name}/link"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(config.model_dump_json())
        self.process.stdin.close()
        if start:
            try:
                self.until(lambda: self.status is not None, "the first status")
            except BaseException:
                self.close()
                raise

    def take(self, wait: float = 0.0) -> None:
        """Take what the process has said."""
        while self._socket.poll(round(1000 * wait)):
            parts = self._socket.recv_multipart()
            answer = Answer.model_validate_json(parts[0])
            if answer.number is not None:
                self._answers[answer.number] = (answer, parts[1:])
            elif answer.problem is not None:
                self.problem = answer.problem.code
            if answer.status is not None:
                self.status = answer.status
                for report in (answer.status.last_series, answer.status.series):
                    if report is not None:
                        self.series[report.id] = report
            wait = 0.0

    def until(self, condition: Callable[[], Any], what: str, step: Callable[[], Any] = lambda: None) -> None:
        """Take what it says until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen; last: {self.status}"
            assert self.process.poll() is None, f"the process ended before {what}: {self.said()}"
            step()
            self.take(0.005)

    def ask(self, command: Command) -> tuple[Answer, list[bytes]]:
        """Send a command and wait for its answer, which may be a problem."""
        self._number = number = self._number + 1
        self._socket.send(Request(number=number, command=command).model_dump_json().encode())
        self.until(lambda: number in self._answers, "the answer")
        return self._answers.pop(number)

    def say(self, text: bytes) -> None:
        """Send what need not be a request."""
        self._socket.send(text)

    def kill(self, signal: int) -> None:
        self.process.send_signal(signal)

    def wait(self) -> int:
        """Wait for its end, and take what it has said by then; its exit code."""
        code = self.process.wait(PATIENCE)
        self.take(0.05)
        return code

    def said(self) -> str:
        """What an ended process has printed."""
        assert self.process.stderr is not None
        return "" if self.process.stderr.closed else self.process.stderr.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self._socket.close()
        self._context.term()
        self._folder.cleanup()


def wait_for_end(pid: int, step: Callable[[], Any] = lambda: None) -> bool:
    """Whether a process that need not be our child ends in time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if select.select([descriptor], [], [], 0.01)[0]:
                return True
            step()
        return False
    finally:
        os.close(descriptor)


def configuration(directory: Path, *endpoints: str, **options: Any) -> DataPlaneConfig:
    """Of a data plane that writes at once what comes from these endpoints."""
    return DataPlaneConfig.model_validate(
        {
            "detector": "eiger",
            "codec": options.pop("codec", "stins"),
            "source": {"endpoints": list(endpoints), **options.pop("source", {})},
            "files": {"directory": directory, "flush_seconds": 0, **options.pop("files", {})},
            "wait": {"gap_seconds": 0.2, "finish_seconds": 1, "settle_seconds": 0.2, **options.pop("wait", {})},
            "log_level": "WARNING",
            **options,
        }
    )
