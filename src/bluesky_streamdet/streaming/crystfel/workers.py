"""The sockets that indexamajig connects to: a ROUTER that knows each worker, and a PUB for who only wants to look.

A worker is a REQ socket: it asks, and waits for as long as it takes. It never asks again, also not when the service
that it asked was started anew; so a worker that has connected and says nothing is woken, by a reply that is no frame.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import struct
from collections.abc import Callable, Hashable
from typing import NamedTuple

import zmq
from typing_extensions import Buffer
from zmq.utils.monitor import recv_monitor_message

from bluesky_streamdet.streaming.clients import Clients
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.source import address_of, open_socket

log = logging.getLogger(__name__)

WAKE = b"wake"
"""At most 15 bytes, which is no frame for indexamajig: it asks again."""
SILENT = 1.5
"""Seconds after which a worker that has connected and not asked is woken."""
CROSSING = 0.2
"""Seconds after that in which its requests may have crossed the wake; then only the last of them is open."""
LONGEST_REQUEST = 64 << 10
BACKLOG = 4096
ROUTING_ID = struct.Struct(">BI")
"""What ZeroMQ calls a peer without a name: 0, and a number which grows by one with each."""
ALL = "all that listen"
"""The only peer of a socket that publishes."""


class Asked(NamedTuple):
    """A worker asks for a frame."""

    peer: Hashable


class Left(NamedTuple):
    """A worker is gone."""

    peer: Hashable


News = list[Asked | Left]


class RequestPort:
    """A ROUTER. Raises `AddressTaken` or `ConfigError` when it can't be bound.

    workers: that are connected and have asked. woken: how many were. odd: messages that are no request. texts: what
    workers asked for, which makes no difference. clock: seconds, monotonic.
    """

    def __init__(self, address: str, context: zmq.Context[zmq.Socket[bytes]], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_fd: dict[int, bytes] = {}
        self._fd_of: dict[bytes, int] = {}
        self._machine: dict[bytes, str] = {}
        self._strangers: dict[bytes, float] = {}
        self._crossing: dict[bytes, float] = {}
        self.woken = self.odd = 0
        self.texts: set[bytes] = set()
        _allow_many_files()
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.rcvhwm = 16
        self.socket.backlog = BACKLOG
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, LONGEST_REQUEST)
        # A machine that was switched off says no good-bye.
        self.socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        self.socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
        self.socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
        self.socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            self._first = self._learn_first(context)
            self._known = self._first
            self._monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            open_socket(self.socket, address, bind=True)
        except BaseException:
            self.close()
            raise
        self.address = address_of(self.socket)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """What to be woken by."""
        assert self._monitor is not None
        return [self.socket, self._monitor]

    @property
    def workers(self) -> int:
        return len(self._fd_of)

    @property
    def due(self) -> float | None:
        """When to look again, though nothing has come; None for never."""
        times = [*self._crossing.values()]
        if self._strangers:
            times.append(next(iter(self._strangers.values())))
        return min(times, default=None)

    def news(self) -> News:
        """Who asked and who left, since the last time."""
        # Requests are read first: what has happened to a connection before one came is among the events then, also
        # that it took the number of another that was closed.
        requests = self._requests()
        news: News = []
        self._watch(news)
        now = self._clock()
        for peer, fd in requests:
            self._note(peer, fd, news)
            if peer not in self._crossing:
                news.append(Asked(peer))
        if self._strangers and self._wake(now):
            return news
        for peer in [peer for peer, until in self._crossing.items() if until <= now]:
            del self._crossing[peer]
            if peer in self._fd_of:
                news.append(Asked(peer))
        return news

    def send(self, peer: Hashable, message: Buffer) -> bool:
        """Answer a worker. False when it is not there any more."""
        assert isinstance(peer, bytes)
        try:
            self.socket.send_multipart([peer, b""], zmq.SNDMORE | zmq.NOBLOCK)
            self.socket.send(message, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in {zmq.EHOSTUNREACH, zmq.EAGAIN}:
                raise
            self._forget(peer)
            return False
        return True

    def name_of(self, peer: Hashable) -> str:
        """The machine of a worker, and a number of its own."""
        assert isinstance(peer, bytes)
        number = ROUTING_ID.unpack(peer)[1] - self._first if len(peer) == ROUTING_ID.size else peer.hex()
        return f"{self._machine.get(peer, '')}#{number}"

    def close(self, linger: int = 0) -> None:
        self.socket.linger = linger
        if self._monitor is not None:
            self.socket.disable_monitor()
            self._monitor.close(linger=0)
        self.socket.close()

    def _learn_first(self, context: zmq.Context[zmq.Socket[bytes]]) -> int:
        """The number of a peer of our own, which is the first; the others follow it."""
        inside = f"inproc://first-{id(self)}"
        self.socket.bind(inside)
        with context.socket(zmq.REQ) as probe:
            probe.linger = 0
            probe.connect(inside)
            probe.send(b"")
            number = ROUTING_ID.unpack(self.socket.recv_multipart()[0])[1]
        self.socket.unbind(inside)
        return number

    def _requests(self) -> list[tuple[bytes, int]]:
        """Who asked, and by which connection. What is no request of a REQ socket is counted and forgotten."""
        requests = []
        with contextlib.suppress(zmq.Again):
            while True:
                peer, *rest = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
                if len(rest) < 2 or len(rest[0]):
                    if not self.odd:
                        log.warning("a message of %d parts is no request; it came from no REQ socket", len(rest))
                    self.odd += 1
                    continue
                requests.append((peer.bytes, int(rest[1].get(zmq.SRCFD))))
                if peer.bytes not in self._machine:
                    self._machine[peer.bytes] = str(rest[1].get("Peer-Address"))
                if len(self.texts) < 100:
                    self.texts.add(rest[1].bytes[:100])
        return requests

    def _watch(self, news: News) -> None:
        """Take note of who came and who left."""
        assert self._monitor is not None
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._known += 1
                self._strangers[_routing_id(self._known)] = self._clock() + SILENT
            elif (peer := self._by_fd.get(event["value"])) is not None:
                self._forget(peer)
                news.append(Left(peer))

    def _note(self, peer: bytes, fd: int, news: News) -> None:
        self._strangers.pop(peer, None)
        if self._fd_of.get(peer) == fd:
            return
        before = self._by_fd.get(fd)
        if before is not None:
            self._forget(before)
            news.append(Left(before))
        self._by_fd[fd] = peer
        self._fd_of[peer] = fd

    def _forget(self, peer: bytes) -> None:
        self._machine.pop(peer, None)
        fd = self._fd_of.pop(peer, None)
        if fd is not None:
            del self._by_fd[fd]
        self._crossing.pop(peer, None)

    def _wake(self, now: float) -> bool:
        """Wake workers that have been silent for too long. True when somebody has asked meanwhile."""
        silent = []
        for peer, until in self._strangers.items():
            if until > now:
                break
            silent.append(peer)
        if silent and self.socket.poll(0):
            return True
        for peer in silent:
            del self._strangers[peer]
            if self.send(peer, WAKE):
                self.woken += 1
                # Its own request may be on its way, and then the wake answers that; it asks once more.
                self._crossing[peer] = now + CROSSING
        return False


class PublishPort:
    """A PUB whose queue is ours. All that listen are one worker, which asks for more as long as its socket takes it.

    Raises `AddressTaken` or `ConfigError` when it can't be bound.
    """

    woken = odd = 0
    due = None

    def __init__(self, address: str, prefix: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._prefix = prefix.encode()
        self._clients = Clients(context, OutputConfig(address=address, kind="pub"))
        self.socket = self._clients.socket
        self._asked = False
        try:
            open_socket(self.socket, address, bind=True)
        except BaseException:
            self.close()
            raise
        self.address = address_of(self.socket)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        return [self.socket]

    @property
    def workers(self) -> int:
        return self._clients.now

    def news(self) -> News:
        """Whether somebody listens who did not before."""
        self._clients.changed()
        listened, self._asked = self._asked, self._clients.now > 0
        if listened == self._asked:
            return []
        return [Asked(ALL)] if self._asked else [Left(ALL)]

    def send(self, peer: Hashable, message: Buffer) -> bool:
        """Send to all. Raises `zmq.Again` when one of them has no room."""
        parts = [self._prefix, message] if self._prefix else [message]
        self.socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        return True

    def name_of(self, peer: Hashable) -> str:
        return str(peer)

    def close(self, linger: int = 0) -> None:
        self._clients.close(linger)


def _routing_id(number: int) -> bytes:
    return ROUTING_ID.pack(0, number & 0xFFFFFFFF)


def _allow_many_files() -> None:
    """Let a thousand workers connect where the soft limit is for fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
