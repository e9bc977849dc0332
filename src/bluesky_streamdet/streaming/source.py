"""Where frames come from: one or several ZeroMQ sockets of one detector, and who is connected to them."""

from __future__ import annotations

from collections.abc import Iterator

import zmq
from zmq.utils.monitor import recv_monitor_message

from bluesky_streamdet.codecs.codec import LARGEST_FRAME
from bluesky_streamdet.core.errors import AddressTaken, ConfigError
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.status import SourceReport

LARGEST_MESSAGE = LARGEST_FRAME + (1 << 20)
LARGEST_COPIED = 64 << 10
"""Bytes of a first part that is copied out of ZeroMQ's memory."""

Part = bytes | memoryview
"""A payload stays in ZeroMQ's memory, which the view keeps alive. pyzmq's own frames are not handed on: libraries that
take their buffer directly crash (pyzmq 27.3)."""


class ConnectionWatch:
    """Counts the peers of a socket by its monitor events."""

    EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(self.EVENTS)
        self.connected = 0
        self.ever = 0

    def update(self) -> None:
        """Take what has happened since."""
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.EVENT_DISCONNECTED:
                self.connected = max(0, self.connected - 1)
            else:
                self.connected += 1
                self.ever += 1

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)


class Source:
    """The input sockets of one detector; none while we are `away`.

    Raises `AddressTaken` or `ConfigError` when one can't be opened.
    """

    def __init__(self, config: SourceConfig, context: zmq.Context[zmq.Socket[bytes]], *, away: bool = False) -> None:
        self.config = config
        self.sockets: list[zmq.Socket[bytes]] = []
        self._watches: list[ConnectionWatch] = []
        self._messages: list[int] = []
        try:
            for endpoint in () if away else config.endpoints:
                self._open(endpoint, context)
        except BaseException:
            self.close()
            raise

    def _open(self, endpoint: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        socket = context.socket(zmq.SUB if self.config.socket == "sub" else zmq.PULL)
        self.sockets.append(socket)
        socket.linger = 0
        socket.rcvhwm = self.config.queue
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self.config.socket == "sub":
            socket.subscribe(b"")
        self._watches.append(ConnectionWatch(socket))
        self._messages.append(0)
        open_socket(socket, endpoint, bind=self.config.bind)

    @property
    def addresses(self) -> list[str]:
        """The endpoints as they are, with the port that was given where port 0 was asked for."""
        return [address_of(socket) for socket in self.sockets]

    def take(self, index: int, most: int, most_bytes: int) -> Iterator[list[Part]]:
        """Messages that wait at socket `index`: at most so many, and no more once `most_bytes` are exceeded."""
        receive = self.sockets[index].recv
        taken = nbytes = 0
        try:
            while taken < most and nbytes < most_bytes:
                # Twice as fast as `recv_multipart`, which asks the socket after each part whether there is another.
                part = receive(zmq.NOBLOCK, copy=False)
                size = len(part)
                # Headers are read faster so; what is longer is a whole image, in a format of one part.
                parts: list[Part] = [part.bytes if size <= LARGEST_COPIED else part.buffer]
                nbytes += size
                while part.more:
                    part = receive(zmq.NOBLOCK, copy=False)
                    parts.append(view := part.buffer)
                    nbytes += len(view)
                taken += 1
                yield parts
        except zmq.Again:
            pass
        finally:
            self._messages[index] += taken

    def report(self) -> list[SourceReport]:
        """Who is connected, and how much came."""
        if not self.sockets:
            return [SourceReport(endpoint=endpoint) for endpoint in self.config.endpoints]
        for watch in self._watches:
            watch.update()
        return [
            SourceReport(
                endpoint=address,
                connected=watch.connected,
                reconnects=max(0, watch.ever - 1) if not self.config.bind else 0,
                messages=messages,
                hung_up=watch.ever > 0 and not watch.connected and not messages,
            )
            for address, watch, messages in zip(self.addresses, self._watches, self._messages, strict=True)
        ]

    def close(self) -> None:
        for watch in self._watches:
            watch.close()
        for socket in self.sockets:
            socket.close()
        self._watches.clear()
        self.sockets.clear()


def address_of(socket: zmq.Socket[bytes]) -> str:
    """Where the socket is bound or connected, with the port that it was given."""
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


def open_socket(socket: zmq.Socket[bytes], endpoint: str, *, bind: bool) -> None:
    """Bind or connect. Raises `AddressTaken` when somebody else is bound, `ConfigError` for an impossible address."""
    try:
        (socket.bind if bind else socket.connect)(endpoint)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise AddressTaken(
                f"The address {endpoint} is in use.",
                f"`ss -ltnp 'sport = :{endpoint.rpartition(':')[2]}'` shows who holds it; stop that, or take another.",
            ) from error
        verb = "bind to" if bind else "connect to"
        raise ConfigError(f"Can't {verb} {endpoint!r}: {error.strerror}.", "Write it as tcp://HOST:PORT.") from error
