"""Who is connected to an output's socket, and the socket itself."""

from __future__ import annotations

import zmq

from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.source import ConnectionWatch

SOCKET_QUEUE = 16
"""Messages for each client inside of ZeroMQ; what is more waits in our own queue, where it can be counted."""
PUB_RETRY = 5
"""Milliseconds between tries of a PUB socket that blocks, as nothing tells when its clients have room again."""
COPY_BELOW = 64 << 10
"""Smaller parts are copied into ZeroMQ, which is cheaper there than keeping count of who still uses them."""
LAST, MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


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

    def send(self, message: Message) -> None:
        """Send a message; one without parts needs nothing. Raises `zmq.Again` when there is no room for it."""
        send, last = self.socket.send, len(message) - 1
        for index, part in enumerate(message):
            whole = part.obj if type(part) is memoryview else None
            flags = LAST if index == last else MORE
            if type(whole) is zmq.Frame and len(whole) == part.nbytes:  # type: ignore[union-attr]
                # The message that it came in: to send that again costs ZeroMQ a count, and no memory of ours.
                send(whole, flags, copy=False)
            else:
                send(part, flags, copy=memoryview(part).nbytes < COPY_BELOW)

    def wait(self, milliseconds: int) -> None:
        """Wait until somebody may take more, at most so long."""
        if self._publishes:
            self.socket.poll(min(milliseconds, PUB_RETRY))
        else:
            self.socket.poll(milliseconds, zmq.POLLOUT)

    def close(self, linger: int) -> None:
        self.socket.linger = linger
        self._watch.close()
        self.socket.close()
