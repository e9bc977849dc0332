"""What tests of the service share: a detector that streams the standard format, and waiting for what must happen."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.codecs.stins import Encoder
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import Status

TIMEOUT = 20.0
SHAPE = (16, 32)
FORM = FrameFormat(SHAPE, "<u2", RAW, SHAPE)


class Detector:
    """Sends series of small frames, each filled with its number."""

    def __init__(self) -> None:
        self._sender = Sender("tcp://127.0.0.1:0", high_water_mark=10_000, linger=0)
        self._encoder = Encoder()
        self.address = self._sender.address

    def start(self, frames: int | None = None) -> None:
        """Announce a series."""
        self._sender.send(self._encoder.start(SeriesStart(frames=frames)), TIMEOUT)

    def frames(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            frame = Frame(number, None, None, FORM, (pixels(number).tobytes(),), 0)
            self._sender.send(self._encoder.frame(frame), TIMEOUT)

    def end(self) -> None:
        self._sender.send(self._encoder.end(SeriesEnd()), TIMEOUT)

    def series(self, frames: int) -> None:
        """A whole series."""
        self.start(frames)
        self.frames(range(frames))
        self.end()

    def close(self) -> None:
        self._sender.close()


def pixels(number: int) -> NDArray[Any]:
    """What frame `number` shows."""
    return np.full(SHAPE, number, np.uint16)


def config_for(detector: Detector, directory: Path, **changes: Any) -> DetectorConfig:
    """A service of that detector on any free port, whose series end only by themselves or by request."""
    values: dict[str, Any] = {
        "detector": "camera",
        "type": "stins",
        "source": {"endpoints": [detector.address]},
        "files": {"directory": directory, "flush_seconds": 0.0},
        "rest": {"port": 0},
        "wait": {"quiet_seconds": 1000},
        "log_level": "WARNING",
    }
    return DetectorConfig.model_validate(values | changes)


async def until(board: StatusBoard, predicate: Callable[[Status], bool]) -> Status:
    """The first status of which `predicate` is true."""
    status: Status | None = board.status
    seen = []
    try:
        async with asyncio.timeout(TIMEOUT):
            while status is not None and not predicate(status):
                seen.append(f"{status.state} {status.error or ''} {status.slow or ''}")
                status = await board.newer_than(status.revision)
    except TimeoutError:
        raise AssertionError(f"it did not happen; seen: {list(dict.fromkeys(seen))}") from None
    assert status is not None, "the service ended"
    return status


def process_ended(pid: int) -> bool:
    """Whether a process that is not our child has ended, within the time limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ended, _, _ = select.select([descriptor], [], [], TIMEOUT)
    finally:
        os.close(descriptor)
    return bool(ended)
