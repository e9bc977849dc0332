"""One detector, data planes that are real processes, and their clients; all end with the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import zmq

from bluesky_streamdet.streaming.config import DataPlaneConfig
from bluesky_streamdet.streaming.sender import Sender
from tests.system.planes import COMMAND, Plane, configuration
from tests.wire.streams import LOOPBACK, Client


class Bench:
    """One detector, and planes that end with the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sender = Sender(LOOPBACK, linger=0)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._planes: list[Plane] = []
        self._clients: list[Client] = []

    def config(self, **options: Any) -> DataPlaneConfig:
        return configuration(self.directory, self.sender.address, **options)

    def plane(self, start: bool = True, prefix: list[str] | None = None, **options: Any) -> Plane:
        """A data plane, run by the command `prefix`, if there is one."""
        plane = Plane(self.config(**options), [*(prefix or []), *COMMAND], start=start)
        self._planes.append(plane)
        return plane

    def client(self, plane: Plane, queue: int = 1000) -> Client:
        status = plane.status
        assert status is not None
        client = Client(self.context, status.outputs[0].address, queue=queue)
        self._clients.append(client)
        plane.until(lambda: plane.status and plane.status.outputs[0].clients, "the connection of a client")
        return client

    def send(self, plane: Plane, messages: Any) -> None:
        for message in messages:
            plane.until(lambda message=message: self.sender.offer(message), "room for a message")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for one in (*self._planes, *self._clients):
            one.close()
        self.sender.close()
        self.context.term()
