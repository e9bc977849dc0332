"""What tests of the repeater share: the command as a process, its old interface, a camera and clients."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import zmq

from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.sender import Sender
from tests.wire.streams import LOOPBACK, Client, Stream

PATIENCE = 20.0


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody has, and that no connection is given by itself before they are opened."""
    with ExitStack() as stack:
        ports: list[int] = []
        for port in random.sample(range(20_000, 32_000), 1000):
            one = stack.enter_context(socket.socket())
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise AssertionError("no port is free")


class Camera:
    """A sender of array-1.0 that goes on counting. Its socket pushes, and holds little."""

    def __init__(self) -> None:
        self.sender = Sender(LOOPBACK, linger=0)
        self.address = self.sender.address
        self.number = 0
        self._stream = Stream("gigafrost")

    def message(self, **way: Any) -> list[Any]:
        self.number += 1
        return self._stream.frame(self.number - 1, **way)

    def send(self, frames: int, **way: Any) -> None:
        for _ in range(frames):
            self.sender.send(self.message(**way), PATIENCE)


class Running:
    """`streamdet repeat` of a file. url, key: of its REST; old: a client of its old interface, if it has one."""

    def __init__(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        self.process, self.lines = process, lines
        text = "".join(lines)
        page = re.search(r"page +(http://\S+?)/#key=(\S+)", text)
        assert page is not None, text
        self.url, self.key = page[1], page[2]
        compat = re.search(r"compat +http://[^:]+:(\d+)", text)
        # Each request has a connection of its own, so that none is left for the next test.
        alone = httpx.Limits(max_keepalive_connections=0)
        where = "" if compat is None else f"http://127.0.0.1:{compat[1]}"
        self.old = httpx.Client(base_url=where, trust_env=False, limits=alone) if where else None

    @property
    def data_plane(self) -> int:
        """Its process id."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def client(self) -> ServiceClient:
        return ServiceClient(self.url, self.key)

    def ask(self, path: str, body: Any = None) -> Any:
        """What the old interface says: to a POST with a body, even an empty one, and to a GET without."""
        assert self.old is not None
        response = self.old.get(path) if body is None else self.old.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    @property
    def state(self) -> str:
        return self.ask("/get_state")["state"][0]


@contextmanager
def repeating(folder: Path, *arguments: str, **environ: str) -> Iterator[Running]:
    """`streamdet repeat`, until it is ready; Ctrl-C ends it."""
    command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "repeat", *arguments]
    known = {"XDG_RUNTIME_DIR": str(folder), "STREAMDET_FILES__DIRECTORY": str(folder / "data"), "LOG_LEVEL": "WARNING"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | known | environ) as process:
        running = None
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or not lines[-1].startswith("API key"):
                line = process.stdout.readline()
                assert line, f"it did not start: {lines}"
                lines.append(line)
            running = Running(process, lines)
            yield running
        finally:
            if running is not None and running.old is not None:
                running.old.close()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)


def old_file(path: Path, address: str, streams: dict[str, dict[str, Any]]) -> Path:
    """A configuration file of the old repeater."""
    whole = {"in-stream": {"name": "backend", "zmq_mode": "PULL", "address": address}, "out-streams": streams}
    path.write_text(json.dumps(whole))
    return path


def old_stream(port: int, mode: str = "send_every_nth", param: float = 1, kind: str = "PUSH") -> dict[str, Any]:
    return {"zmq_mode": kind, "port": port, "send_output_mode": mode, "send_output_param": param}


@contextmanager
def clients(ports: list[int], kinds: list[str] | None = None) -> Iterator[list[Client]]:
    """One for each port."""
    kinds = kinds or ["push"] * len(ports)
    with zmq.Context() as context:
        made = [Client(context, f"tcp://127.0.0.1:{port}", kind) for port, kind in zip(ports, kinds, strict=True)]
        try:
            yield made
        finally:
            for one in made:
                one.close()


def numbers(client: Client, frames: int) -> list[int]:
    """Of the next frames that come."""
    return [client.next()[0]["frame"] for _ in range(frames)]


def connected(service: ServiceClient, names: int) -> None:
    """Wait until so many outputs have a client."""
    service.wait(lambda status: sum(one.clients > 0 for one in status.outputs) >= names, PATIENCE, "the clients")
