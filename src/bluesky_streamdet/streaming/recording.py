"""Recording a stream, message by message as it came, and playing it again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Buffer

from bluesky_streamdet.core.errors import DeadlineExceeded, MalformedMessage
from bluesky_streamdet.streaming.listener import Listener
from bluesky_streamdet.streaming.recordfile import RecordingWriter, read_recording
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.sniff import DRANSPOSE_NAMES, codec_of

TURN = 0.1
"""Seconds after which a wait looks whether it has to end."""
FLUSH = 1.0
"""Seconds after which at most others can read what was recorded."""
DRAINING = 1.0
"""Seconds that a recording which is stopped gives at most to messages on their way, until none comes for a turn."""


@dataclass(slots=True)
class Traffic:
    """What has passed so far. waiting: whether the other side is what one waits for."""

    messages: int = 0
    bytes: int = 0
    waiting: bool = False

    def count(self, parts: Sequence[Buffer]) -> None:
        self.messages += 1
        self.bytes += sum(memoryview(part).nbytes for part in parts)


Reporter = Callable[[Traffic], None]
"""Called often; decides itself when there is something to say."""
Pause = Callable[[threading.Event, float], bool]


def record(
    listener: Listener,
    writer: RecordingWriter,
    stop: threading.Event,
    count: int | None = None,
    seconds: float | None = None,
    report: Reporter = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Traffic:
    """Write what comes, until `stop` is set, `count` messages have come, or `seconds` have passed.

    When it is stopped, what has come already is written too. Raises `WriteFailed`.
    """
    traffic = Traffic()
    kinds = _Kinds()
    now = flushed = clock()
    deadline = None if seconds is None else now + seconds
    while not stop.is_set() and (deadline is None or now < deadline):
        wait = TURN if deadline is None else min(TURN, deadline - now)
        _write(listener.receive(wait), writer, kinds, traffic, count)
        now = clock()
        if now - flushed >= FLUSH:
            writer.flush()
            flushed = now
        traffic.waiting = not listener.connected
        report(traffic)
        if traffic.messages == count:
            return traffic
    drained_by = clock() + DRAINING
    while clock() < drained_by and (messages := listener.receive(TURN)) and traffic.messages != count:
        _write(messages, writer, kinds, traffic, count)
    return traffic


class _Kinds:
    """What dranspose calls the format of the messages, found out at the first that can be recognised."""

    def __init__(self) -> None:
        self._known: str | None = None

    def of(self, parts: Sequence[Buffer]) -> str:
        if self._known is None:
            codec = codec_of(parts)
            self._known = None if codec is None else DRANSPOSE_NAMES.get(codec, codec)
        return self._known or "unknown"


def _write(
    messages: Sequence[Sequence[Buffer]], writer: RecordingWriter, kinds: _Kinds, traffic: Traffic, count: int | None
) -> None:
    for parts in messages:
        if traffic.messages == count:
            return
        writer.write(parts, kinds.of(parts))
        traffic.count(parts)


def replay(
    path: Path,
    sender: Sender,
    stop: threading.Event,
    rate: float | None = None,
    loops: int = 1,
    stream: str | None = None,
    patience: float = 60.0,
    report: Reporter = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    pause: Pause = threading.Event.wait,
) -> Traffic:
    """Send the messages of a file or folder, until its end or until `stop` is set.

    rate: messages per second, as fast as they are taken when None. loops: how often, 0 for ever. stream: which one, of
    several. patience: seconds to wait for a receiver that takes nothing; then `DeadlineExceeded` is raised.
    Raises what `read_recording` raises.
    """
    traffic = Traffic()
    player = _Player(sender, stop, patience, report, traffic)
    begun = clock()
    played = 0
    while loops == 0 or played < loops:
        for message in read_recording(path, stream):
            if rate is not None:
                pause(stop, max(begun + traffic.messages / rate - clock(), 0.0))
            if stop.is_set() or not player.play(message.parts):
                return traffic
        if traffic.messages == 0:
            raise MalformedMessage("empty recording", f"{path} holds no message")
        played += 1
    return traffic


class _Player:
    """Sends messages one by one, and waits for whoever takes them."""

    def __init__(
        self, sender: Sender, stop: threading.Event, patience: float, report: Reporter, traffic: Traffic
    ) -> None:
        self._sender, self._stop, self._patience = sender, stop, patience
        self._report, self._traffic = report, traffic

    def play(self, parts: Sequence[Buffer]) -> bool:
        """Send a message. False when it was stopped before there was room. Raises `DeadlineExceeded`."""
        waits = 0
        while not self._send(parts, TURN if waits else 0.0):
            waits += 1
            self._traffic.waiting = True
            self._report(self._traffic)
            if self._stop.is_set():
                return False
            if waits * TURN > self._patience:
                raise DeadlineExceeded(
                    f"Nobody took a message at {self._sender.address} within {self._patience:g} s; "
                    f"{self._traffic.messages} were sent before.",
                    "Start a receiver, or look why it is slow.",
                )
        self._traffic.waiting = False
        self._traffic.count(parts)
        self._report(self._traffic)
        return True

    def _send(self, parts: Sequence[Buffer], timeout: float) -> bool:
        if self._sender.kind == "pub" and self._traffic.messages == 0 and not self._sender.has_peer(timeout):
            return False  # What is published before anybody has subscribed is lost.
        return self._sender.offer(parts, timeout)
