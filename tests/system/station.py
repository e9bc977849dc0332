"""Commands as a beamline runs them, in processes that end with the test, in whatever state they are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

PATIENCE = 60.0
"""Seconds that a command may take to be ready or to end, on a busy machine."""
COMMAND = [sys.executable, "-m", "bluesky_streamdet.cli.main"]


class Process:
    """One `streamdet` command. ready: what its output says when it is; groups of these are in `said`."""

    def __init__(self, arguments: Sequence[str], ready: str, environ: Mapping[str, str]) -> None:
        self._said = re.compile(ready)
        self._ready = threading.Event()
        self.said: tuple[str, ...] = ()
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environ},
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(PATIENCE) or not self.said:
            self.end()
            raise AssertionError(f"{arguments} was never ready: {self.lines}")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; when that ends it at once, it has ended."""
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait(PATIENCE)

    def end(self) -> None:
        """End it, in whatever state it is, and take back what it has."""
        if self.running:
            for number in (signal.SIGCONT, signal.SIGINT):
                self.kill(number)
        self.wait()

    def wait(self) -> None:
        """Wait for its end, and that of a data plane that outlives its service."""
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            # The data plane has the same output.
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            if not self.said and (found := self._said.search(line)):
                self.said = found.groups()
                self._ready.set()
        self._ready.set()
