"""Sending messages as a detector does: one ZeroMQ socket that waits, and never drops, when its receiver is slow.

Queues are small, so that a slow receiver is felt here and not found in memory. PUB sockets drop silently; so a sender
of kind "pub" is an XPUB that refuses what does not fit, and knows when somebody has subscribed. What it sends while
nobody has subscribed is lost: `wait_for_peer` first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Literal

import zmq
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import DeadlineExceeded
from bluesky_streamdet.streaming.source import address_of, open_socket

QUEUE = 16
"""Messages that ZeroMQ holds for each receiver."""
COPY_BELOW = 64 << 10
"""Messages below this size are copied into ZeroMQ, which is faster there; larger ones are not."""
LINGER = 2.0
"""Seconds that a closing sender gives to messages that it has taken."""

SOCKETS = {"push": zmq.PUSH, "pub": zmq.XPUB}


class Sender:
    """One socket that messages leave by. Not thread-safe; each thread needs its own.

    endpoint: such as "tcp://127.0.0.1:0", port 0 for any that is free. kind: "push" (each message to one receiver) or
    "pub" (to all subscribers). bind: whether receivers connect to us. high_water_mark: messages that wait for each of
    them. linger: seconds that `close` may take to deliver what waits. context: only for inproc endpoints, not closed
    here. Raises `AddressTaken`, or `ConfigError` for an impossible address.
    """

    def __init__(
        self,
        endpoint: str,
        kind: Literal["push", "pub"] = "push",
        bind: bool = True,
        high_water_mark: int = QUEUE,
        linger: float = LINGER,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.kind = kind
        self._owns_context = context is None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context() if context is None else context
        self._socket = self._context.socket(SOCKETS[kind])
        self._socket.linger = round(1000 * linger)
        self._socket.sndhwm = high_water_mark
        # A receiver that has been gone since before its connection stood must not swallow messages.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        if kind == "pub":
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._subscriptions = 0
        self._timeout_ms = -1
        try:
            open_socket(self._socket, endpoint, bind=bind)
        except BaseException:
            self.close()
            raise
        self.address = address_of(self._socket)
        """The endpoint as it is, with the port that was given where port 0 was asked for."""

    def offer(self, parts: Sequence[Buffer], timeout: float = 0.0) -> bool:
        """Send a message if there is room for it within `timeout` seconds. False when there was none: nothing was
        sent.

        Large parts are not copied: leave them as they are. A message without parts has gone at once.
        """
        if not parts:
            return True
        timeout_ms = round(1000 * timeout)
        if timeout_ms != self._timeout_ms:
            self._socket.sndtimeo = self._timeout_ms = timeout_ms
        try:
            # Not polled before: an XPUB that refuses to drop says that it is writable all the same.
            self._socket.send_multipart(parts, copy=sum(memoryview(part).nbytes for part in parts) < COPY_BELOW)
        except zmq.Again:
            return False
        return True

    def send(self, parts: Sequence[Buffer], timeout: float) -> None:
        """Send a message. Raises `DeadlineExceeded` when nobody has taken it within `timeout` seconds."""
        if not self.offer(parts, timeout):
            raise DeadlineExceeded(
                f"Nobody took a message at {self.address} within {timeout:g} s.",
                "Start its receiver, or look why that is slow.",
            )

    def wait_for_peer(self, timeout: float) -> None:
        """Wait until somebody is connected and has room, or has subscribed. Raises `DeadlineExceeded`."""
        if not self.has_peer(timeout):
            verb = "subscribed" if self.kind == "pub" else "connected"
            raise DeadlineExceeded(f"Nobody {verb} at {self.address} within {timeout:g} s.", "Start a receiver of it.")

    def has_peer(self, timeout: float = 0.0) -> bool:
        """Whether, within `timeout` seconds, somebody is connected and has room, or has subscribed."""
        if self.kind == "push":
            return bool(self._socket.poll(round(1000 * timeout), zmq.POLLOUT))
        deadline = time.monotonic() + timeout
        while True:
            self._read_subscriptions()
            left = deadline - time.monotonic()
            if self._subscriptions > 0 or left <= 0:
                return self._subscriptions > 0
            self._socket.poll(round(1000 * left) + 1)

    def close(self) -> None:
        """Close, after what waits has left or the linger time is over."""
        self._socket.close()
        if self._owns_context:
            self._context.term()

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_subscriptions(self) -> None:
        while self._socket.poll(0):
            self._subscriptions += 1 if self._socket.recv()[:1] == b"\x01" else -1
