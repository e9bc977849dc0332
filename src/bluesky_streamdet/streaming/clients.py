"""Who is connected to an output's socket, and the socket itself."""

from __future__ import annotations

import zmq

from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.source import ConnectionWatch

SOCKET_QUEUE = 16
"""Messages for each client inside of ZeroMQ; what is more waits in our own queue, where it can be counted."""


class Clients:
    """The socket of an output, not opened yet. now: how many are connected to a PUSH, or have subscribed to a PUB."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], config: OutputConfig) -> None:
        self._publishes = config.kind == "pub"
        self.socket = context.socket(zmq.XPUB if self._publishes else zmq.PUSH)
        self.socket.linger = 0
        self.socket.sndhwm = SOCKET_QUEUE
        if self._publishes:
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)
            self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._watch = ConnectionWatch(self.socket)
        self.now = self._ever = self._known = 0

    def changed(self) -> bool:
        """Whether, since the last call, all have left, or the only one is new."""
        before = self.now
        if self._publishes:
            while self.socket.poll(0):
                step = {b"\x01": 1, b"\x00": -1}.get(self.socket.recv()[:1], 0)
                self.now = max(0, self.now + step)
                self._ever += step > 0
        else:
            self._watch.update()
            self.now, self._ever = self._watch.connected, self._watch.ever
        if self.now < before or self._ever != self._known:
            # Makes ZeroMQ hear of it too, which otherwise looks only each millisecond, and sends to who has left.
            self.socket.getsockopt(zmq.EVENTS)
        new, self._known = self._ever != self._known, self._ever
        return (self.now == 0 and before > 0) or (self.now == 1 and new)

    def close(self, linger: int) -> None:
        self.socket.linger = linger
        self._watch.close()
        self.socket.close()
