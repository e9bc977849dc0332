"""A simulated detector as a process of its own, as a real one would be: its Python takes no time from its receiver's.

Settings come as JSON on standard input; one line of JSON on standard output says where it listens, or why it can't.
It ends when it is told to, or when its parent has died.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from types import TracebackType

import msgspec

from bluesky_streamdet.core.errors import DeadlineExceeded, ServiceUnreachable, StreamdetError
from bluesky_streamdet.sim.client import SimulatedDetectorClient
from bluesky_streamdet.sim.settings import SimulatorSettings, simulator
from bluesky_streamdet.streaming.problems import error_of, problem_of
from bluesky_streamdet.streaming.status import Problem

STARTING = 30.0
"""Seconds that a simulator may take to make its pictures."""
STOPPING = 5.0
LOOK = 0.2
"""Seconds after which the process looks whether its parent still lives."""


class Ready(msgspec.Struct):
    """The one line that the process says."""

    address: str = ""
    control: str = ""
    problem: dict[str, str] | None = None


class SimulatorProcess:
    """A running simulator; it has a control port, on loopback unless the settings say otherwise.

    Raises what the simulator raises at its start, such as `AddressTaken`, and `DeadlineExceeded` when it says nothing.
    """

    def __init__(self, settings: SimulatorSettings, timeout: float = STARTING) -> None:
        if settings.control is None:
            settings = msgspec.structs.replace(settings, control="tcp://127.0.0.1:0")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bluesky_streamdet.sim.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"OMP_NUM_THREADS": "1", **os.environ},
        )
        try:
            ready = self._start(settings, timeout)
        except BaseException:
            self.close()
            raise
        self.address = ready.address
        """Where it sends."""
        self.control = ready.control
        """Endpoint of its control port."""

    @property
    def ended(self) -> bool:
        """Whether there is no simulator any more."""
        return self._process.poll() is not None

    def client(self, timeout: float = 10.0) -> SimulatedDetectorClient:
        """A new client of its control port."""
        return SimulatedDetectorClient(self.control, timeout)

    def close(self) -> None:
        """End the process: first by asking, then by force. May be called twice."""
        process = self._process
        process.terminate()
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> SimulatorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, settings: SimulatorSettings, timeout: float) -> Ready:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(msgspec.json.encode(settings))
        stdin.close()
        readable, _, _ = select.select([stdout], [], [], timeout)
        if not readable:
            raise DeadlineExceeded(
                f"The simulated detector was not ready within {timeout:g} s.", "Try a smaller shape."
            )
        line = stdout.readline()
        if not line:
            raise ServiceUnreachable("The simulated detector ended before it was ready.", "Its last words are above.")
        ready = msgspec.json.decode(line, type=Ready)
        if ready.problem is not None:
            raise error_of(Problem.model_validate(ready.problem))
        return ready


def main() -> int:
    parent = os.getppid()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=SimulatorSettings)
    try:
        with simulator(settings) as running:
            control = running.control
            assert control is not None
            _say(Ready(running.address, control.address))
            while not (stop.wait(LOOK) or control.quit.is_set() or os.getppid() != parent):
                pass
            running.detector.disarm()
    except StreamdetError as error:
        _say(Ready(problem=problem_of(error).model_dump()))
        return 1
    return 0


def _say(ready: Ready) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
