"""The fan-out: every frame, as it came, to whoever is connected, in the standard format.

Each output has its own queue and its own overflow rule, and none holds up another: it drops and counts, unless it is
told to block. What libzmq's PUB drops inside can't be counted; so a PUB output uses an XPUB that refuses rather than
drops, and keeps queue and count in front of it.
"""

from __future__ import annotations

from collections import Counter, deque

import msgspec
import zmq

from bluesky_streamdet.codecs import stins
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart, payload_bytes
from bluesky_streamdet.streaming.config import OutputConfig
from bluesky_streamdet.streaming.messages import OutputReport
from bluesky_streamdet.streaming.source import ConnectionWatch, address_of, open_socket

COPY_BELOW = 64 << 10
"""Smaller payloads are copied into ZeroMQ, which is cheaper there than keeping count of who still uses them."""
SOCKET_QUEUE = 16
"""Messages for each client inside of ZeroMQ; what is more waits in our own queue, where it can be counted."""
MOST_ANNOUNCEMENTS = 100
"""Headers and ends that may wait, beyond the frames, for a client that never reads."""
LARGEST_TABLE = 1000
"""Elements of an array in a header that is forwarded; flat fields and pixel masks are in the file."""

NOBODY = "nobody connected"
OVERFLOW = "queue full"
ABORTED = "aborted"


class Output:
    """One port. Raises `AddressTaken` when it can't be bound."""

    def __init__(self, config: OutputConfig, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.config = config
        self._socket = context.socket(zmq.XPUB if config.kind == "pub" else zmq.PUSH)
        self._socket.linger = 0
        self._socket.sndhwm = SOCKET_QUEUE
        if config.kind == "pub":
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._watch = ConnectionWatch(self._socket)
        self._encoder = stins.Encoder()
        self._queue: deque[tuple[Message, int]] = deque()
        self._queued_bytes = 0
        self._header: SeriesStart | None = None
        self._announced = False
        self.seen = self.sent = 0
        self.dropped: Counter[str] = Counter()
        try:
            open_socket(self._socket, config.address, bind=True)
        except BaseException:
            self.close()
            raise
        self.address = address_of(self._socket)

    @property
    def blocked(self) -> bool:
        """Whether the detector has to wait for a client of this output."""
        return self.config.overflow == "block" and self._full

    @property
    def socket(self) -> zmq.Socket[bytes]:
        return self._socket

    @property
    def _full(self) -> bool:
        return len(self._queue) >= self.config.queue or self._queued_bytes >= self.config.queue_bytes

    def start(self, start: SeriesStart) -> None:
        """Announce a series. A client that comes in its middle gets the header before its first frame."""
        small = {name: value for name, value in start.metadata.items() if getattr(value, "size", 0) <= LARGEST_TABLE}
        self._header = msgspec.structs.replace(start, metadata=small)
        self._announced = False
        if self._has_clients():
            self._announce()

    def send(self, frames: list[Frame]) -> None:
        """Send the frames, or queue them, or drop and count them."""
        self.seen += len(frames)
        if not self._has_clients() and self.config.overflow == "drop":
            self.dropped[NOBODY] += len(frames) + self._drop_queue()
            self._announced = False
            return
        if not self._announced:
            self._announce()
        for frame in frames:
            if self.config.overflow == "drop" and self._full:
                self.flush()
                if self._full:
                    self.dropped[OVERFLOW] += 1
                    continue
            self._offer(self._encoder.frame(frame), payload_bytes(frame))

    def end(self, end: SeriesEnd) -> None:
        """Announce the end of the series."""
        self._header = None
        if self._announced:
            self._offer(self._encoder.end(end), 0)

    def flush(self) -> None:
        """Send what waits, as far as clients take it."""
        while self._queue:
            message, nbytes = self._queue[0]
            if not self._try(message, nbytes):
                return
            self._queue.popleft()
            self._queued_bytes -= nbytes

    def discard(self) -> None:
        """Drop what waits: the series was aborted."""
        self.dropped[ABORTED] += self._drop_queue()

    def report(self) -> OutputReport:
        self._watch.update()
        return OutputReport(
            name=self.config.name,
            address=self.address,
            kind=self.config.kind,
            clients=self._watch.connected,
            seen=self.seen,
            queued=len(self._queue),
            queued_bytes=self._queued_bytes,
            sent=self.sent,
            dropped=dict(+self.dropped),
        )

    def close(self) -> None:
        self._watch.close()
        self._socket.close()

    def _has_clients(self) -> bool:
        self._watch.update()
        return self._watch.connected > 0

    def _announce(self) -> None:
        self._announced = True
        if self._header is not None:
            self._offer(self._encoder.start(self._header), 0)

    def _offer(self, message: Message, nbytes: int) -> None:
        if len(self._queue) >= self.config.queue + MOST_ANNOUNCEMENTS:
            self.dropped[OVERFLOW] += self._drop_queue()
        if self._queue or not self._try(message, nbytes):
            self._queue.append((message, nbytes))
            self._queued_bytes += nbytes

    def _try(self, message: Message, nbytes: int) -> bool:
        try:
            self._socket.send_multipart(message, zmq.NOBLOCK, copy=nbytes < COPY_BELOW)
        except zmq.Again:
            return False
        if nbytes:
            self.sent += 1
        return True

    def _drop_queue(self) -> int:
        frames = sum(1 for _, nbytes in self._queue if nbytes)
        self._queue.clear()
        self._queued_bytes = 0
        return frames
