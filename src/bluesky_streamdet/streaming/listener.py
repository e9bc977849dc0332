"""Listening to one endpoint, for tools that look at a stream and are no service: recording, watching."""

from __future__ import annotations

from types import TracebackType
from typing import Literal

import zmq

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.source import Part, Source

MOST_AT_ONCE = 64
MOST_BYTES_AT_ONCE = 64 << 20


class Listener:
    """One input socket. A "pull" socket takes messages away from other receivers of its sender; a "sub" socket does
    not.

    bind: whether the sender connects to us. queue: messages that may wait here. Raises `AddressTaken`, or `ConfigError`
    for an impossible address.
    """

    def __init__(
        self, endpoint: str, socket: Literal["pull", "sub"] = "pull", bind: bool = False, queue: int = 16
    ) -> None:
        if "://" not in endpoint:
            raise ConfigError(f"{endpoint!r} is no ZeroMQ address.", "Write it as tcp://HOST:PORT.")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            config = SourceConfig.model_construct(endpoints=[endpoint], socket=socket, bind=bind, queue=queue)
            self._source = Source(config, self._context)
        except BaseException:
            self._context.term()
            raise
        self.address = self._source.addresses[0]
        self.kind = socket

    def receive(self, timeout: float) -> list[list[Part]]:
        """What has come: some messages, the parts of each, or none after `timeout` seconds."""
        if not self._source.sockets[0].poll(round(1000 * timeout)):
            return []
        return list(self._source.take(0, MOST_AT_ONCE, MOST_BYTES_AT_ONCE))

    @property
    def connected(self) -> bool:
        """Whether a sender is connected."""
        return self._source.report()[0].connected > 0

    def close(self) -> None:
        self._source.close()
        self._context.term()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
