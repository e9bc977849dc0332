"""Detectors, clients and pipelines for tests: real sockets on loopback, and a loop that the test turns by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs.codec import Encoder, Message
from bluesky_streamdet.core.events import SeriesEnd, SeriesStart
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.streaming.config import DataPlaneConfig
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.pipeline import Pipeline
from bluesky_streamdet.streaming.report import StatusReporter
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.frames import frame, pictures

PATIENCE = 20.0
"""Seconds after which a test fails that waits for something."""
LOOPBACK = "tcp://127.0.0.1:*"


def until(condition: Callable[[], Any], step: Callable[[], Any], what: str = "what the test waits for") -> None:
    """Take steps until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        step()


class Clock:
    """Time that passes when the test says so, or by itself from `start` on."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


class Stream:
    """What a detector sends: the messages of series, in one format, numbered as that numbers them."""

    def __init__(self, codec: str = "stins") -> None:
        self.codec = codec
        self._encoder: Encoder = CODECS[codec].encoder()
        self._series = 0

    @property
    def key(self) -> str | None:
        return str(self._series) if self.codec == "dectris_v1" else None

    def start(self, filename: str | None = None, **start: Any) -> Message:
        self._series += 1
        return self._encoder.start(SeriesStart(series=self.key, filename=filename, **start))

    def frame(self, number: int, discard: bool = False, **way: Any) -> Message:
        one = frame(number, **way)
        return self._encoder.frame(msgspec.structs.replace(one, series=self.key, discard=discard))

    def end(self) -> Message:
        return self._encoder.end(SeriesEnd(self.key))

    def whole(self, numbers: Sequence[int], filename: str | None = None, **way: Any) -> list[Message]:
        """Header, frames and end."""
        return [self.start(filename), *(self.frame(number, **way) for number in numbers), self.end()]


class Rig:
    """A pipeline, its detectors, and the folder that it writes to. `clock` is real time unless one is given.

    senders: how many endpoints. Options are of the configuration, such as `unarmed="ignore"`.
    """

    def __init__(
        self,
        directory: Path,
        codec: str = "stins",
        senders: int = 1,
        clock: Callable[[], float] = time.monotonic,
        kind: str = "push",
        **options: Any,
    ) -> None:
        self.directory = directory
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.senders = [Sender(LOOPBACK, kind=kind, linger=0) for _ in range(senders)]  # type: ignore[arg-type]
        self.changes = 0
        self._clients: list[Client] = []
        try:
            self.config = DataPlaneConfig.model_validate(
                {
                    "detector": "eiger",
                    "codec": codec,
                    "source": {
                        "endpoints": [sender.address for sender in self.senders],
                        "socket": "sub" if kind == "pub" else "pull",
                    },
                    "files": {"directory": directory, "flush_seconds": 0, **options.pop("files", {})},
                    "wait": {"gap_seconds": 0.2, "finish_seconds": 0.5, "settle_seconds": 0.1}
                    | options.pop("wait", {}),
                    **options,
                }
            )
            self.pipeline = Pipeline(self.config, self.context, clock, self._note_change)
        except BaseException:
            self._close()
            raise
        self.reporter = StatusReporter(self.pipeline, clock)
        self.until(lambda: all(sender.has_peer() for sender in self.senders), "the connection")

    def _note_change(self) -> None:
        self.changes += 1

    def turn(self, wait: float = 0.01) -> None:
        self.pipeline.turn(wait)

    def until(self, condition: Callable[[], Any], what: str = "what the test waits for") -> None:
        until(condition, self.turn, what)

    def send(self, messages: Sequence[Sequence[Buffer]], sender: int = 0) -> None:
        """Send, turning the pipeline when there is no room."""
        for message in messages:
            self.until(lambda message=message: self.senders[sender].offer(message), "room for a message")

    def client(self, output: int = 0, queue: int = 1000, *, connected: bool = True) -> Client:
        """Somebody at one of the outputs, whose connection has been noticed; closed with everything else."""
        port = self.pipeline.outputs[output]
        before = port.report().clients
        client = Client(self.context, port.address, port.config.kind, queue)
        self._clients.append(client)
        if connected:
            self.until(lambda: port.report().clients > before, "the connection of a client")
        return client

    def run(self, messages: Sequence[Sequence[Buffer]]) -> SeriesReport:
        """Send what makes one series, and wait for its end."""
        last = self.pipeline.last
        self.send(messages)
        self.until(lambda: self.pipeline.last is not last, "the end of the series")
        return self.last

    def settle(self, received: int) -> None:
        """Wait until so many frames of the running series were received, and those in order are readable."""
        self.until(lambda: self.series is not None and self.ledger.received == received, f"{received} frames")
        self.until(lambda: self.ledger.pending <= (self.pipeline.receiver.series.frames.held), "the flush")  # type: ignore[union-attr]

    @property
    def state(self) -> State:
        return self.pipeline.state

    @property
    def series(self) -> SeriesReport | None:
        writer = self.pipeline.writer
        return None if writer is None else writer.report()

    @property
    def ledger(self) -> LedgerReport:
        assert self.series is not None
        return self.series.ledger

    @property
    def last(self) -> SeriesReport:
        assert self.pipeline.last is not None
        return self.pipeline.last

    def close(self) -> None:
        self._close(self.pipeline)

    def _close(self, *pipeline: Pipeline) -> None:
        # Who sends goes first: libzmq 4.3 aborts when a receiver leaves in the middle of a message that a closed
        # socket is still sending.
        for one in (*self.senders, *pipeline, *self._clients):
            one.close()
        self.context.term()


def balanced(ledger: LedgerReport) -> bool:
    """Whether every frame is accounted for, with nothing on its way."""
    seen = ledger.unique + ledger.duplicate + sum(ledger.foreign.values()) + sum(ledger.malformed.values())
    settled = ledger.written + ledger.live_only + sum(ledger.discarded.values()) + sum(ledger.failed.values())
    expected = ledger.expected is None or ledger.expected == ledger.unique + ledger.missing
    return ledger.received == seen and ledger.unique == settled and ledger.pending == 0 and expected


def rows_of(report: SeriesReport) -> NDArray[Any]:
    assert report.file is not None
    return read_frames(report.file)


def numbers_of(report: SeriesReport) -> list[int]:
    assert report.file is not None
    return read_frames(report.file, f"/entry/instrument/{report.detector}/sequence_number").reshape(-1).tolist()


def holds(report: SeriesReport, numbers: Sequence[int], shape: tuple[int, ...] = (4, 6), dtype: str = "<u2") -> bool:
    """Whether the file holds just these frames, in this order, and as many as the ledger says."""
    return (
        numbers_of(report) == list(numbers)
        and np.array_equal(rows_of(report), pictures(numbers, shape, dtype))
        and report.ledger.written == len(numbers)
    )


class Client:
    """Somebody who takes what an output sends: a PULL or SUB socket that waits no longer than a test may."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, kind: str = "push", queue: int = 1000):
        self.socket = context.socket(zmq.SUB if kind == "pub" else zmq.PULL)
        self.socket.linger = 0
        self.socket.rcvhwm = queue
        if kind == "pub":
            self.socket.subscribe(b"")
        self.socket.connect(address)

    def take(self, step: Callable[[], Any] = lambda: None, wait: int = 10) -> list[bytes] | None:
        """The next message, None when none has come; `step` is taken first."""
        step()
        return self.socket.recv_multipart() if self.socket.poll(wait) else None

    def message(self, step: Callable[[], Any] = lambda: None) -> list[bytes]:
        """The next message; steps are taken while there is none."""
        got: list[list[bytes]] = []

        def try_once() -> None:
            message = self.take(step)
            if message is not None:
                got.append(message)

        until(lambda: got, try_once, "a message for the client")
        return got[0]

    def next(self, step: Callable[[], Any] = lambda: None) -> tuple[dict[str, Any], list[bytes]]:
        """The header and the other parts of the next message; steps are taken while there is none."""
        header, *payload = self.message(step)
        return msgspec.json.decode(header), payload

    def rest(self, step: Callable[[], Any] = lambda: None) -> list[dict[str, Any]]:
        """The headers of all that comes, up to the end of a series."""
        headers: list[dict[str, Any]] = []
        while not headers or headers[-1]["htype"] != "series_end":
            headers.append(self.next(step)[0])
        return headers

    def close(self) -> None:
        self.socket.close()


def frame_numbers(headers: Sequence[dict[str, Any]]) -> list[int]:
    return [header["frame"] for header in headers if header["htype"] == "image"]


def payload(parts: Sequence[Buffer]) -> bytes:
    return b"".join(bytes(part) for part in parts)
