"""Documents to other processes, over ZeroMQ: published by whoever runs plans, received by plots, without pickle.

    publisher = DocumentPublisher()          # in the process of the RunEngine
    RE.subscribe(publisher)

    with DocumentSubscriber() as subscriber:  # anywhere else
        for name, document in subscriber.receive(timeout=1.0):
            callback(name, document)

A message is [topic, header, name, document, name, document, …]. The header is msgpack, [version, epoch, number, what]:
the epoch tells one publisher from the next, the number counts documents, and what is "document", or "alive" when there
has been none for a while. Documents of the topic `d` go to everybody. A
subscriber that comes late, or finds a gap in the numbers, subscribes to `r` and a name that it makes up; then it gets
what is known of the open runs, up to a number, under that topic. So it misses nothing that can still be had.

The publisher never waits: for a subscriber that does not keep up, ZeroMQ drops.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import msgspec
import zmq

from bluesky_streamdet.core.errors import ConfigError, MalformedMessage
from bluesky_streamdet.streaming.documentcode import LARGEST, decode, encode
from bluesky_streamdet.streaming.openruns import Document, OpenRuns, Unseen
from bluesky_streamdet.streaming.source import ConnectionWatch, address_of, open_socket

log = logging.getLogger(__name__)

DEFAULT_ADDRESS = "tcp://127.0.0.1:5579"
VERSION = 1
ALL, REPLAY = b"d", b"r"
DOCUMENT, ALIVE = "document", "alive"
LONGEST_TOPIC = 64
QUEUE = 10_000
"""Documents that wait for the publisher's thread, or for a subscriber that does not keep up."""
HELD_BYTES = 256 << 20
"""Of documents that a subscriber keeps while it waits for a replay."""
LOOK = 500
"""Milliseconds between two looks whether the program still runs."""
TURN = 100
"""Milliseconds between two looks whether a publisher has come."""
PATIENCE = 2.0
"""Seconds after which a replay that did not come is asked for again."""


class Header(msgspec.Struct, array_like=True, frozen=True):
    version: int
    epoch: int
    number: int
    what: str


class DocumentPublisher:
    """A callback for a RunEngine that publishes documents. Raises `AddressTaken`, `ConfigError`.

    address: where to bind; anybody who reaches it can read all metadata, so it is this machine only, unless another is
    given. queue: documents that wait for a subscriber that does not keep up. subscribers: how many there are. dropped:
    documents that were not published, as they could not be written as bytes, or too many waited. A thread of its own
    sends; `close` waits until it has sent what waits.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, queue: int = QUEUE) -> None:
        self.subscribers = self.dropped = 0
        self._epoch = secrets.randbits(60)
        self._number = 0
        self._open = OpenRuns()
        self._waiting: deque[tuple[int, str, Document, bytes]] = deque()
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        try:
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            self._socket.sndhwm = queue
            self._socket.setsockopt(zmq.MAXMSGSIZE, LONGEST_TOPIC * 4)
            open_socket(self._socket, _checked(address), bind=True)
            self.address = address_of(self._socket)
            self._wake, self._woken = (self._context.socket(zmq.PAIR) for _ in range(2))
            self._woken.bind("inproc://wake")
            self._wake.connect("inproc://wake")
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="documents")
        self._thread.start()

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Have a document published; returns at once, and raises nothing."""
        try:
            data = encode(document)
        except MalformedMessage as error:
            log.warning("a document %s is not published: %s", name, error)
            self.dropped += 1
            return
        except Exception:
            # Such as of an object that can't say what it is; no plan fails by that.
            log.exception("a document %s is not published", name)
            self.dropped += 1
            return
        with self._lock:
            if self._closing:
                return
            # Counted in any case, so that subscribers know of what they do not get.
            self._number += 1
            if len(self._waiting) >= QUEUE:
                self.dropped += 1
                return
            self._waiting.append((self._number, name, dict(document), data))
            self._rouse()

    def close(self, linger: float = 1.0) -> None:
        """Publish what waits, and end. linger: seconds for what is on its way. May be called twice."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._rouse()
        self._thread.join()
        for socket in (self._wake, self._woken):
            socket.close(linger=0)
        self._socket.close(linger=round(1000 * linger))
        self._context.term()

    def __enter__(self) -> DocumentPublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rouse(self) -> None:
        # Told so many times that no more fits, it will wake up all the same.
        with suppress(zmq.Again):
            self._wake.send(b"", zmq.NOBLOCK)

    # In the publisher's thread.

    def _work(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        number, over = 0, False
        while not over:
            ready = dict(poller.poll(LOOK))
            if self._woken in ready:
                self._woken.recv()
            if not ready:
                # So that who missed the last document comes to know it.
                self._send(ALL, number, ALIVE, [])
            over = self._closing or not threading.main_thread().is_alive()
            while self._waiting:
                number, name, document, data = self._waiting.popleft()
                self._remember(name, document)
                self._send(ALL, number, DOCUMENT, [name.encode(), data])
            if self._socket in ready:
                self._hear(self._socket.recv(), number)

    def _remember(self, name: str, document: Document) -> None:
        try:
            self._open(name, document)
        except (KeyError, TypeError, AttributeError):
            log.debug("a document %s is incomplete", name)

    def _hear(self, message: bytes, number: int) -> None:
        """Somebody subscribes (1) or goes (0)."""
        begins, topic = message[:1] == b"\x01", message[1:]
        if topic == ALL:
            self.subscribers = max(0, self.subscribers + (1 if begins else -1))
        elif begins and topic.startswith(REPLAY) and len(topic) <= LONGEST_TOPIC:
            parts: list[bytes] = []
            for name, document in self._open.documents():
                # Whoever got it first may have put something into it since.
                with suppress(MalformedMessage):
                    parts += [name.encode(), encode(document)]
            self._send(topic, number, DOCUMENT, parts)

    def _send(self, topic: bytes, number: int, what: str, parts: Sequence[bytes]) -> None:
        header = msgspec.msgpack.encode(Header(VERSION, self._epoch, number, what))
        self._socket.send_multipart([topic, header, *parts], zmq.NOBLOCK)


class DocumentSubscriber:
    """Receives what a `DocumentPublisher` publishes, each document once and in order, from the start of open runs on.

    Used by one thread. gaps: how often documents were dropped on the way; those of runs that are open came later, those
    of others are lost. refused: messages that are none of ours, and
    documents that are malformed. Raises `ConfigError` for an impossible address; a publisher need not be there yet.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS) -> None:
        self.gaps = self.refused = 0
        self._unseen = Unseen()
        self._epoch: int | None = None
        self._number = 0
        self._held: list[tuple[Header, Sequence[bytes]]] = []
        self._held_bytes = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.rcvhwm = QUEUE
        self._socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        self._topic, self._asked = b"", 0.0
        self._watch = ConnectionWatch(self._socket)
        try:
            open_socket(self._socket, _checked(address), bind=False)
        except BaseException:
            self.close()
            raise
        self._socket.subscribe(ALL)

    def receive(self, timeout: float) -> list[tuple[str, Document]]:
        """What has come; nothing after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self._look()
            left = max(0.0, deadline - time.monotonic())
            documents = self._come() if self._socket.poll(min(TURN, round(1000 * left))) else []
            if documents or not left:
                return documents

    def _look(self) -> None:
        """Ask, where a publisher is new or did not answer."""
        before = self._watch.ever
        self._watch.update()
        if self._watch.ever != before or (self._topic and time.monotonic() - self._asked > PATIENCE):
            self._ask()

    def _come(self) -> list[tuple[str, Document]]:
        documents: list[tuple[str, Document]] = []
        for _ in range(QUEUE):
            try:
                topic, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            documents += self._take(topic, parts)
        return documents

    def close(self) -> None:
        """May be called twice."""
        if not self._socket.closed:
            self._watch.close()
        self._socket.close()
        self._context.term()

    def __enter__(self) -> DocumentSubscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self) -> None:
        """Ask for what is known of open runs; what comes meanwhile is held back."""
        if self._topic:
            self._socket.unsubscribe(self._topic)
        self._topic = REPLAY + secrets.token_hex(8).encode()
        self._asked = time.monotonic()
        self._socket.subscribe(self._topic)

    def _take(self, topic: bytes, parts: Sequence[bytes]) -> list[tuple[str, Document]]:
        try:
            header = msgspec.msgpack.decode(parts[0], type=Header)
            if header.version != VERSION or len(parts) % 2 == 0:
                raise MalformedMessage("another version")
        except (IndexError, msgspec.DecodeError, MalformedMessage):
            self.refused += 1
            return []
        if topic == ALL:
            return self._follow(header, parts[1:])
        if topic != self._topic:
            return []
        self._socket.unsubscribe(topic)
        self._topic = b""
        documents = self._read(parts[1:])
        self._epoch, self._number = header.epoch, header.number
        held, self._held, self._held_bytes = self._held, [], 0
        for one, its_parts in held:
            if one.epoch == header.epoch and one.number > header.number:
                documents += self._follow(one, its_parts)
        return documents

    def _follow(self, header: Header, parts: Sequence[bytes]) -> list[tuple[str, Document]]:
        alive = header.what == ALIVE
        new = header.number - self._number
        if not self._topic and (header.epoch != self._epoch or new > (0 if alive else 1)):
            self.gaps += header.epoch == self._epoch
            self._ask()
        if self._topic:
            self._hold(header, parts)
            return []
        self._number = max(self._number, header.number)
        return self._read(parts) if new == 1 else []

    def _hold(self, header: Header, parts: Sequence[bytes]) -> None:
        """Keep it until the replay has come. Of too much, the replay, or the next, will have it."""
        self._held_bytes += sum(map(len, parts))
        if len(self._held) >= QUEUE or self._held_bytes > HELD_BYTES:
            self._held.clear()
            self._held_bytes = 0
        elif header.what != ALIVE:
            self._held.append((header, parts))

    def _read(self, parts: Sequence[bytes]) -> list[tuple[str, Document]]:
        found = []
        for name, data in zip(parts[::2], parts[1::2], strict=True):
            try:
                kind = name.decode("ascii", "replace")
                document = self._unseen(kind, decode(kind, data))
            except MalformedMessage as error:
                self.refused += 1
                log.warning("a document is refused: %s", error)
                continue
            if document is not None:
                found.append((kind, document))
        return found


def _checked(address: str) -> str:
    if not address.startswith(("tcp://", "ipc://")):
        raise ConfigError(f"{address!r} is no address of documents.", "Write it as tcp://HOST:PORT.")
    return address
