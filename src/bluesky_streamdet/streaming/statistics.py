"""How fast a series came and was written: counted by batches, so that a frame costs nothing more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from bluesky_streamdet.core.events import Frame, payload_bytes
from bluesky_streamdet.streaming.status import Statistics

BILLION = 1_000_000_000


class SeriesStatistics:
    """What is counted of one series, from frames in their order. clock: ns since 1970, as frames have it."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._batch: Sequence[Frame] = ()
        self._batch_bytes = 0
        self._frames = self._bytes = 0
        self._first_number = self._last_number = 0
        self._first_at = self._last_at = 0
        self._in_work = 0
        self._readable_frames = self._readable_bytes = 0
        self._readable_at = 0

    def came(self, frames: Sequence[Frame]) -> int:
        """Count a batch that has come, of one frame at least. Returns its payload in bytes, as it travelled."""
        self._batch, self._batch_bytes = frames, sum(map(payload_bytes, frames))
        first, last = frames[0], frames[-1]
        if not self._frames:
            self._first_number, self._first_at = first.number, first.received
        self._last_number = last.number
        # One that waited for those before it came before they did.
        self._last_at = max(self._last_at, first.received, last.received)
        self._frames += len(frames)
        self._bytes += self._batch_bytes
        return self._batch_bytes

    def size_of(self, frames: Sequence[Frame]) -> int:
        """Their payload in bytes, which is known already of the batch that came last."""
        return self._batch_bytes if frames is self._batch else sum(map(payload_bytes, frames))

    def wrote(self, frames: Sequence[Frame]) -> None:
        """Count what the file has taken, mostly the batch that came last; it is not readable yet."""
        self._in_work += self.size_of(frames)

    def readable(self, frames: int) -> None:
        """So many frames of the series can be read now, among them all that the file has taken."""
        self._readable_bytes += self._in_work
        self._in_work = 0
        self._readable_frames, self._readable_at = frames, self._clock()

    def report(self) -> Statistics:
        """The rates, as means from the first frame to the last one."""
        if not self._frames:
            return Statistics()
        # Between n frames are n - 1 intervals, and the first one's bytes came before them.
        share = (self._frames - 1) / self._frames
        coming = _per_second(self._last_at - self._first_at)
        writing = _per_second(self._readable_at - self._first_at)
        return Statistics(
            first_number=self._first_number,
            last_number=self._last_number,
            first_frame_at=_moment(self._first_at),
            last_frame_at=_moment(self._last_at),
            bytes_received=self._bytes,
            bytes_written=self._readable_bytes,
            received_per_second=round(share * self._frames * coming, 3),
            received_megabytes_per_second=round(share * self._bytes * coming / 1e6, 3),
            written_per_second=round(self._readable_frames * writing, 3),
            written_megabytes_per_second=round(self._readable_bytes * writing / 1e6, 3),
        )


def _per_second(nanoseconds: int) -> float:
    """What one in so long a time makes in a second; nothing for no time, or a clock that was set back."""
    return BILLION / nanoseconds if nanoseconds > 0 else 0.0


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / BILLION, UTC)
