"""The Tango server in a process of its own, without a database, and a client that waits by change events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

tango = pytest.importorskip("tango", reason="needs the extra 'tango'")

TIMEOUT = 20.0
DEVICE = "test/xspress3/1"


class TangoServer:
    """`streamdet xspress3 tango` with these options, from `start` to `close`."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "xspress3", "tango", "1", "--device", DEVICE]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if line.startswith("device "):
                self.address = line.split()[1]
            elif line.startswith("Ready"):
                return
        raise AssertionError(f"the server ended with {self._process.wait()}: {lines}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def services(self) -> list[int]:
        """Processes that the server has started."""
        return children_of(self.pid)

    def everything(self) -> dict[str, int]:
        """Threads, open sockets and processes of the server and of all that it started, by kind."""
        processes = [self.pid, *descendants_of(self.pid)]
        return {
            "processes": len(processes),
            "threads": sum(len(os.listdir(f"/proc/{pid}/task")) for pid in processes),
            "sockets": sum(len(sockets_of(pid)) for pid in processes),
            "ports": len(listening({one for pid in processes for one in sockets_of(pid)})),
        }

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; the exit code."""
        self._process.send_signal(number)
        return self._process.wait(TIMEOUT)

    def close(self) -> None:
        assert self._process.stdout is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()


@contextmanager
def serving(directory: Path, *options: str, **simulation: Any) -> Iterator[TangoServer]:
    """A server of a simulated detector on free ports."""
    settings = {"channels": 2, "seed": 1, **simulation}
    ports = [f"--property={name}=0" for name in ("StreamerPort", "PublicPort", "MonitorPort")]
    server = TangoServer("--directory", str(directory), f"--property=Simulate={json.dumps(settings)}", *ports, *options)
    try:
        yield server
    finally:
        server.close()


class Client:
    """A `DeviceProxy` that follows some attributes by their change events. Close it."""

    FOLLOWED = ("State", "nFramesAcquired", "nFramesWritten", "ReadyForSwTrigger")

    def __init__(self, address: str) -> None:
        self.proxy = tango.DeviceProxy(address)
        self.seen: list[tuple[str, Any]] = []
        self._values: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._subscriptions = [
            self.proxy.subscribe_event(name, tango.EventType.CHANGE_EVENT, self._hear) for name in self.FOLLOWED
        ]

    def _hear(self, event: Any) -> None:
        if event.err:
            return
        name = event.attr_value.name.lower()
        with self._changed:
            self._values[name] = event.attr_value.value
            self.seen.append((name, event.attr_value.value))
            self._changed.notify_all()

    def until(self, **wanted: Any) -> None:
        """Wait until events have told that these attributes have these values."""
        expected = {name.lower(): value for name, value in wanted.items()}

        def reached() -> bool:
            return all(self._values.get(name) == value for name, value in expected.items())

        with self._changed:
            assert self._changed.wait_for(reached, TIMEOUT), (wanted, self._values, self.proxy.Status())

    def until_seen(self, count: int, name: str, value: Any) -> None:
        """Wait until an event after the first `count` has told that an attribute has this value."""
        with self._changed:
            assert self._changed.wait_for(lambda: (name.lower(), value) in self.seen[count:], TIMEOUT), self.seen

    def until_state(self, name: str) -> str:
        """Wait for a state; returns the status that goes with it."""
        self.until(State=getattr(tango.DevState, name))
        return self.proxy.Status()

    def arm(self, **attributes: Any) -> None:
        """Set attributes and arm, and wait for the news of it. What is not named is as it was at the beginning."""
        defaults = {
            "ExposureTime": 0.02,
            "LatencyTime": 0.0,
            "TriggerMode": "SOFTWARE",
            "nTriggers": 1,
            "nFramesPerTrigger": 1,
            "DestinationFileName": "",
            "DestinationFileOverwritable": False,
            "WriteHdf5": True,
        }
        for name, value in (defaults | attributes).items():
            self.proxy.write_attribute(name, value)
        before = len(self.seen)
        self.proxy.Arm()
        self.until_seen(before, "State", tango.DevState.RUNNING)

    def close(self) -> None:
        for one in self._subscriptions:
            self.proxy.unsubscribe_event(one)


@contextmanager
def refused(reason: str, text: str = "") -> Iterator[None]:
    """The block is refused for that reason."""
    with pytest.raises(tango.DevFailed) as caught:
        yield
    error = caught.value.args[0]
    assert error.reason == reason, error
    assert text in error.desc, error


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, file.read_text().split())
    return found


def descendants_of(pid: int) -> list[int]:
    found = children_of(pid)
    return found + [one for child in found for one in descendants_of(child)]


def sockets_of(pid: int) -> list[str]:
    """Inodes of the sockets that a process has open."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.append(target[8:-1])
    return found


def listening(inodes: set[str]) -> list[str]:
    """Those of these sockets that listen at a TCP port."""
    found = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.append(fields[1])
    return found


def until(happens: Callable[[], bool], what: str) -> None:
    """Wait for what nothing tells, such as the end of a thread in another process."""
    waiting = threading.Event()
    for _ in range(int(TIMEOUT / 0.02)):
        if happens():
            return
        waiting.wait(0.02)
    raise AssertionError(f"it did not happen: {what}")
