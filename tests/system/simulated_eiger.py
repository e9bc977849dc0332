"""The simulated Eiger of tickit-devices, in a process of its own, on ports of this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

from bluesky_streamdet.core.errors import HardwareFailed
from bluesky_streamdet.devices.eiger.simplon import Simplon

PROGRAM = Path(__file__).with_name("tickit_program.py")
PATIENCE = 30.0
"""Seconds that it may take to start, on a busy machine."""


class Tickit:
    """command: of tickit. stream: addresses of versions 1 and 2 of its stream. A cable triggers it in mode exts."""

    def __init__(self, command: Path, folder: Path) -> None:
        rest, legacy, cbor, self._cable = free_ports(4)
        self.url = f"http://127.0.0.1:{rest}"
        self.simplon = Simplon(self.url)
        self.stream = {1: f"tcp://127.0.0.1:{legacy}", 2: f"tcp://127.0.0.1:{cbor}"}
        ports = {"port": rest, "stream_legacy_port": legacy, "stream_cbor_port": cbor}
        hosts = {"host": "127.0.0.1", "stream_host": "127.0.0.1"}
        wired = {"trigger": {"component": "cable", "port": "trigger"}}
        eiger = {"type": "tickit_devices.eiger.Eiger", "name": "eiger", "inputs": wired}
        cable = {"type": "tickit_cable.Cable", "name": "cable", "inputs": {}, "port": self._cable}
        config = folder / "eiger.yaml"
        config.write_text(json.dumps([{**eiger, **hosts, **ports}, cable]))
        self._command = [str(command.with_name("python")), str(PROGRAM), "--log-level", "ERROR", "all", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Switch it on; it is not initialized."""
        self._process = subprocess.Popen(self._command)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, "tickit does not answer"
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"tickit has ended with {self._process.wait(0.05)}")

    def take(self, frames: int) -> None:
        """Have it take a series of version 1 by itself."""
        self.simplon.command("initialize")
        self.simplon.set("stream/config/format", "legacy")
        settings = {"trigger_mode": "ints", "nimages": frames, "ntrigger": 1, "frame_time": 0.001}
        for name, value in settings.items():
            self.simplon.set(f"detector/config/{name}", value)
        self.simplon.command("arm")
        self.simplon.command("trigger")

    def pulse(self, number: int, period: float) -> None:
        """Give so many triggers by the cable, and do not wait for them. period: in s."""
        body = json.dumps({"number": number, "period": period})
        connection = HTTPConnection("127.0.0.1", self._cable, timeout=PATIENCE)
        try:
            connection.request("PUT", "/pulses", body, {"Content-Type": "application/json"})
            assert connection.getresponse().read() == b"{}"
        finally:
            connection.close()

    def stop(self) -> None:
        """Switch it off."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(10)

    def _answers(self) -> bool:
        try:
            return self.simplon.state() == "na"
        except HardwareFailed:
            return False


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
