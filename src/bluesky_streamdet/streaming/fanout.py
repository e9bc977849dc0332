"""The fan-out: every frame, as it came, to whoever is connected, in one of the formats of `catalog.OUTPUTS`.

Each output has its own queue and its own overflow rule, and none holds up another: it drops and counts, unless it is
told to block. What libzmq's PUB drops inside can't be counted; so a PUB output uses an XPUB that refuses rather than
drops, and keeps queue and count in front of it. At every moment, in frames: seen = skipped + sent + queued + dropped.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import zmq

from bluesky_streamdet.catalog import OUTPUTS
from bluesky_streamdet.codecs import std_det_writer
from bluesky_streamdet.codecs.codec import Encoder, Message
from bluesky_streamdet.core.events import Event, Frame, SeriesEnd, SeriesStart, payload_bytes
from bluesky_streamdet.streaming.clients import Clients
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.rate import Rate
from bluesky_streamdet.streaming.source import address_of, open_socket
from bluesky_streamdet.streaming.status import OutputReport

log = logging.getLogger(__name__)

MOST_ANNOUNCEMENTS = 100
"""Headers and ends that may wait, beside the frames, for a client that never reads."""
LARGEST_TABLE = 1000
"""Elements of an array in a header that is forwarded; flat fields and pixel masks are in the file."""

NOBODY = "nobody connected"
LEFT = "client left"
OVERFLOW = "queue full"
ABORTED = "aborted"
EARLIER = "came before this output"
"""It hands messages on, and that of the frame was not kept."""
NO_RUN = "no run to write"
"""It is for a std-det-writer, whose run has not been given yet, or is over."""
UNREADABLE = "can't be decoded"
CLOSED = "output closed"

NOTHING: Mapping[str, Any] = {}

Waiting = tuple[Event | Message, int]
"""What waits to be sent, encoded if it has to be in an older format; and bytes of payload, 0 for what is no frame."""


class Output:
    """One port. Raises `AddressTaken` when it can't be bound.

    What waits is encoded when it is sent, so that messages are numbered as clients get them. usual: key in
    `catalog.OUTPUTS` of what it sends when the configuration does not say. clock: seconds, monotonic.
    """

    def __init__(
        self,
        config: OutputConfig,
        context: zmq.Context[zmq.Socket[bytes]],
        usual: str = "stins",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.seen = self.skipped = self.sent = 0
        self._clock = clock
        self._rule = config.send.rule() if config.send is not None else None
        self._rate = Rate(clock)
        self._usual = usual
        self.dropped: Counter[str] = Counter()
        self._clients = Clients(context, config)
        self._socket = self._clients.socket
        self._form = OUTPUTS[config.encoder or usual]
        self._encoder = self._new_encoder()
        self._queue: deque[Waiting] = deque()
        self._queued_frames = self._queued_bytes = 0
        self._message: Message | None = None  # the first in the queue, encoded, when the socket has refused it
        self._cut = False  # whether parts of that have gone already, as messages of their own
        self._header: SeriesStart | None = None
        self._announced = False
        try:
            open_socket(self._socket, config.address, bind=not config.connect)
        except BaseException:
            self.close()
            raise
        self.address = address_of(self._socket)

    @property
    def _blocks(self) -> bool:
        """Whether nothing may be dropped now."""
        return self.config.overflow == "block" or (self.config.overflow == "wait" and self._clients.now > 0)

    @property
    def blocked(self) -> bool:
        """Whether the detector has to wait for a client of this output."""
        return self._blocks and (self._full or self._too_many_announcements)

    @property
    def waiting(self) -> bool:
        """Whether anything waits for a client that is there."""
        return bool(self._queue) and self._look()

    @property
    def queued(self) -> int:
        """Frames that wait."""
        return self._queued_frames

    @property
    def _full(self) -> bool:
        most = 1 if self.config.overflow == "latest" else self.config.queue
        return self._queued_frames >= most or self._queued_bytes >= self.config.queue_bytes

    @property
    def _too_many_announcements(self) -> bool:
        return len(self._queue) - self._queued_frames > MOST_ANNOUNCEMENTS

    def start(self, start: SeriesStart) -> None:
        """Announce a series. A client that comes in its middle, and is alone, gets the header before its first frame.

        Others would take a header in the middle of a series for the start of another.
        """
        small = {name: value for name, value in start.metadata.items() if getattr(value, "size", 0) <= LARGEST_TABLE}
        self._header = msgspec.structs.replace(start, metadata=small)
        if self._look() or self._blocks:
            self._announced = True
            self._offer(self._header, 0)
        else:
            self._announced = False

    def send(self, frames: list[Frame]) -> None:
        """Send those of the frames that the rule wants, or queue them, or drop and count them."""
        self.seen += len(frames)
        if self._rule is not None:
            before, now, rule = len(frames), self._clock(), self._rule
            frames = [frame for frame in frames if rule.wants(frame.number, now, frame.detail or NOTHING)]
            self.skipped += before - len(frames)
        if self._writing is not None and self._writing.over:
            self.dropped[NO_RUN] += len(frames)
            return
        if self._form.verbatim and any(frame.message is None for frame in frames):
            self.dropped[EARLIER] += sum(frame.message is None for frame in frames)
            frames = [frame for frame in frames if frame.message is not None]
        if not self._look() and not self._blocks:
            self.dropped[NOBODY] += len(frames)
            return
        self._greet()
        at_once = self._clients.now > 0 and not self._form.loose and self._writing is None
        for frame in frames:
            if at_once and not self._queue and self._sent_at_once(frame):
                continue
            if self._full and not self._blocks:
                self.flush()
                if self._full and not self._make_room():
                    self.dropped[OVERFLOW] += 1
                    continue
            self._offer(frame, payload_bytes(frame))

    def _sent_at_once(self, frame: Frame) -> bool:
        """Send a frame that nothing waits before. False when there is no room for it; then it is encoded."""
        message = self._encoder.frame(frame)
        try:
            self._clients.send(message)
        except zmq.Again:
            self._message = message
            return False
        self.sent += 1
        return True

    def _make_room(self) -> bool:
        """Drop the oldest frames for a newer one, if that is the rule. False when there is no room all the same."""
        if self.config.overflow not in {"drop-oldest", "latest"}:
            return False
        kept: deque[Waiting] = deque()
        while self._queue and self._full:
            event, nbytes = self._queue.popleft()
            if not nbytes or (self._cut and not kept):
                kept.append((event, nbytes))  # An announcement, or a frame of which some messages have gone.
                continue
            if not kept:
                self._message = None
            self.dropped[OVERFLOW] += 1
            self._queued_frames -= 1
            self._queued_bytes -= nbytes
        self._queue.extendleft(reversed(kept))
        return not self._full

    def end(self, end: SeriesEnd) -> None:
        """Announce the end of the series."""
        if self._look() or self._blocks:
            if self._blocks:
                self._greet()
            if self._announced:
                self._offer(end, 0)
        self._header = None

    def flush(self) -> None:
        """Send what waits, as far as clients take it."""
        if self._queue and self._look():
            self._greet()
            self._send_queue()

    def wait(self, milliseconds: int) -> None:
        """Wait until clients may take more, at most so long."""
        self._look()
        self._clients.wait(milliseconds)

    def discard(self) -> None:
        """Drop the frames that wait: the series was aborted."""
        self._drop(ABORTED)

    def report(self) -> OutputReport:
        self._look()
        return OutputReport(
            name=self.config.name,
            address=self.address,
            kind=self.config.kind,
            clients=self._clients.now,
            seen=self.seen,
            skipped=self.skipped,
            queued=self.queued,
            queued_bytes=self._queued_bytes,
            sent=self.sent,
            dropped=dict(+self.dropped),
            frames_per_second=self._rate(self.sent),
        )

    def keeps_socket(self, config: OutputConfig) -> bool:
        """Whether it could have these settings by `change`."""
        mine, form = self.config, OUTPUTS[config.encoder or self._usual]
        same_socket = config.address in {mine.address, self.address} and config.kind == mine.kind
        return same_socket and config.connect == mine.connect and not (form.loose or self._form.loose)

    def change(self, config: OutputConfig) -> None:
        """Have other settings, but for those of the socket. Clients stay, and what waits goes as it would have."""
        old, self.config = self.config, config
        if config.send != old.send:
            self._rule = config.send.rule() if config.send is not None else None
        if (config.encoder, config.writer) == (old.encoder, old.writer):
            return
        self._end_run()
        self._form = OUTPUTS[config.encoder or self._usual]
        self._encoder = self._new_encoder()
        if self._announced and self._header is not None:
            self._offer(self._header, 0)

    def take_over(self, other: Output) -> None:
        """Count on where `other` stopped."""
        self.seen, self.skipped, self.sent = other.seen, other.skipped, other.sent
        self.dropped = other.dropped + Counter({CLOSED: other.queued})
        self._rate = other._rate

    def close(self, linger: int = 0) -> None:
        """Close; what ZeroMQ has taken may still leave within `linger` ms."""
        if self._writing is not None:
            self._end_run()
            self.flush()
        self._clients.close(linger)

    @property
    def _writing(self) -> std_det_writer.Encoder | None:
        """The encoder, where it is one of a run."""
        return self._encoder if isinstance(self._encoder, std_det_writer.Encoder) else None

    def _new_encoder(self) -> Encoder:
        if self.config.writer is not None:
            return std_det_writer.Encoder(self.config.writer.run())
        return self._form.encoder()

    def _end_run(self) -> None:
        """Let a std-det-writer close its file, after what waits for it."""
        self._seal()
        closing = self._writing.close() if self._writing is not None else []
        if closing:
            self._offer(closing, 0)

    def _seal(self) -> None:
        """Encode all that waits, as the format, or the run, is to be another one."""
        waiting, self._queue = self._queue, deque()
        for event, nbytes in waiting:
            message = self._message or self._encode(event)
            self._message = None
            if message:
                self._queue.append((message, nbytes))
                self._count_image(event)
            elif nbytes:
                self._count_frame(message, nbytes)

    def _count_image(self, event: Event | Message) -> None:
        """A frame of a run has got its message."""
        if self._writing is not None and type(event) is Frame:
            self._writing.count()

    def _count_frame(self, message: Message, nbytes: int) -> None:
        """A frame has left the queue; without a message, it is said in another one, or can't be."""
        self._queued_frames -= 1
        self._queued_bytes -= nbytes
        if message or self._writing is None:
            self.sent += 1
        else:
            self.dropped[NO_RUN if self._writing.over else UNREADABLE] += 1

    def _look(self) -> bool:
        """See who came and who left; what waits for a client that left is dropped. Whether anybody is there."""
        if self._clients.changed():
            self._announced = False
            if not self._blocks:
                self._forget(LEFT)
        return self._clients.now > 0

    def _greet(self) -> None:
        """Send the header ahead of all that waits, unless the client has it or will get it."""
        if self._announced or self._header is None:
            return
        self._announced = True
        if not any(type(event) is SeriesStart for event, _ in self._queue):
            self._message, self._cut = None, False
            self._queue.appendleft((self._header, 0))
            self._send_queue()

    def _offer(self, event: Event | Message, nbytes: int) -> None:
        if self._too_many_announcements and not self._blocks:
            self._forget(OVERFLOW)
        self._queue.append((event, nbytes))
        if nbytes:
            self._queued_frames += 1
            self._queued_bytes += nbytes
        if len(self._queue) == 1:
            self._send_queue()

    def _send_queue(self) -> None:
        if self._clients.now == 0:
            return
        while self._queue:
            event, nbytes = self._queue[0]
            message = self._message or self._encode(event)
            try:
                if self._form.loose:
                    self._send_parts(message)
                else:
                    self._clients.send(message)
            except zmq.Again:
                self._message = message
                return
            self._message, self._cut = None, False
            self._queue.popleft()
            if nbytes:
                self._count_frame(message, nbytes)
                self._count_image(event if message else message)
            if self._writing is not None and self._writing.complete:
                self._drop(NO_RUN)
                self._end_run()

    def _send_parts(self, message: Message) -> None:
        """Send each part as a message. Raises `zmq.Again`, with those that have gone taken out of `message`."""
        while message:
            self._clients.send(message[:1])
            del message[0]
            self._cut = True

    def _encode(self, event: Event | Message) -> Message:
        if type(event) is Frame:
            return self._encoder.frame(event)
        if type(event) is list:
            return event
        if type(event) is SeriesEnd:
            return self._encoder.end(event)
        assert type(event) is SeriesStart
        try:
            return self._encoder.start(event)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            log.warning("output %s: the header goes without its settings: %s", self.config.name, error)
            return self._encoder.start(msgspec.structs.replace(event, metadata={}))

    def _drop(self, reason: str) -> None:
        """Drop the frames that wait. Headers and ends stay, so that clients know where they are.

        So does a frame of which some messages have gone, as its clients wait for the others.
        """
        begun = self._queue[0] if self._cut else None
        frames = self._queued_frames - (begun is not None and bool(begun[1]))
        if frames:
            self.dropped[reason] += frames
        self._queue = deque(one for one in self._queue if one is begun or not one[1])
        self._queued_bytes = begun[1] if begun is not None else 0
        self._queued_frames = int(self._queued_bytes > 0)
        if begun is None:
            self._message = None

    def _forget(self, reason: str) -> None:
        """Drop all that waits; who comes next hears of the series anew."""
        self._cut = False
        self._drop(reason)
        self._queue.clear()
        self._announced = False
