"""The frames of a run for CrystFEL's indexamajig, as they are measured."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from event_model.documents import Event, RunStop
from numpy.typing import NDArray

from bluesky_streamdet.callbacks.frames import NOBODY, FrameDocuments, FrameRange, read_patiently
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesStart
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.feed import Feed
from bluesky_streamdet.streaming.messages import START
from bluesky_streamdet.streaming.status import CrystfelReport

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds to wait for a file that is behind its documents, and for the event of a frame."""
BLOCK = 32 << 20
"""Bytes of frames that are read together."""
ENERGY = "photon_energy"


class CrystfelFrames(FrameDocuments):
    """Gives each frame of the runs to one of the workers that ask at `address`.

        RE.subscribe(CrystfelFrames("tcp://*:23500", distance=80.0))

    Each message has what can be copied (`--copy-header`) of the run's start document, of the configuration in the
    descriptor, and of the event, under their own names; `frame_number` is the row in the file, from 0, and `series_id`
    the run's uid. keys, path_map, catalog: as of `FrameDocuments`. options: of `CrystfelConfig`; policy is "complete",
    unless they say otherwise, as what waits is in the file. Frames are read and sent in a thread of its own, until
    `close`. missed: frames that the file did not have in time. Raises `AddressTaken` or `ConfigError` when the address
    can't be bound.
    """

    def __init__(
        self,
        address: str = "tcp://*:23500",
        *,
        keys: Collection[str] | None = None,
        path_map: Mapping[str, str] | None = None,
        catalog: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(self._offer, keys, path_map, catalog)
        self.missed = 0
        self._offered: deque[_Offer | str] = deque()
        self._frames: Iterator[Frame] = iter(())
        self._events: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._lock = threading.Lock()
        config = CrystfelConfig(**{"policy": "complete", "address": address, **options})
        self._feed = Feed(config, self._take, lambda: bool(self._offered), "CrystFEL frames")
        self.address = self._feed.address

    # In the thread of the plan.

    def event(self, doc: Event) -> Event:
        if doc["descriptor"] in self._descriptors:
            with self._lock:
                self._events[doc["descriptor"], doc["seq_num"]] = doc["data"]
            self._feed.wake()
        return super().event(doc)

    def stop(self, doc: RunStop) -> None:
        super().stop(doc)
        self._put(doc["run_start"])

    def _offer(self, offered: FrameRange) -> None:
        self._put(_Offer(offered, time.monotonic()))

    def _put(self, news: _Offer | str) -> None:
        with self._lock:
            self._offered.append(news)
        self._feed.wake()

    # For anybody.

    def report(self) -> CrystfelReport:
        """Who waits for what, and what became of the frames."""
        return self._feed.report()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until workers are done with all frames that documents have announced. False when that took longer."""
        return self._feed.wait(timeout)

    def close(self, timeout: float = 0.0) -> None:
        """End, after workers have had so many seconds for what waits. May be called twice."""
        self._feed.close(timeout)

    def __enter__(self) -> CrystfelFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # In the thread of the feed.

    def _take(self) -> Frame | None:
        while True:
            frame = next(self._frames, None)
            if frame is not None:
                return frame
            offered = self._next()
            if offered is None:
                return None
            self._frames = self._read(offered)

    def _next(self) -> FrameRange | None:
        """The next range of frames whose events have come, or need not be waited for."""
        with self._lock:
            while self._offered:
                first = self._offered[0]
                if isinstance(first, _Offer):
                    if not self._has_events(first.range) and time.monotonic() - first.since < PATIENCE:
                        return None
                    self._offered.popleft()
                    return first.range
                # A run is over, and all its frames have been read.
                self._offered.popleft()
                self._events = {key: data for key, data in self._events.items() if key[0] in self._descriptors}
        return None

    def _has_events(self, offered: FrameRange) -> bool:
        """Whether all events of these frames are there; a stream without data of its own has none."""
        keys = offered.described.get("data_keys", NOBODY)
        if all("external" in one for one in keys.values()):
            return True
        return all((offered.described["uid"], number) in self._events for number in offered.seq_nums)

    def _read(self, offered: FrameRange) -> Iterator[Frame]:
        """The frames of a range, each with what its event says."""
        self._begin(offered)
        left = offered
        while left.rows > 0:
            part = left.first(self._rows_at_once(left))
            left = left.after(part.rows)
            rows = read_patiently(part.read, PATIENCE, threading.Event().wait)
            if rows is None:
                log.warning("%s has no frame %d yet; it is not sent", part.path, part.start)
                self.missed += part.rows
                continue
            yield from self._of(part, rows)

    def _of(self, part: FrameRange, rows: NDArray[Any]) -> Iterator[Frame]:
        each = max(1, len(rows) // max(1, len(part.seq_nums)))
        form = FrameFormat(rows.shape[1:], rows.dtype.str, RAW, rows.shape[1:])
        for index, row in enumerate(rows):
            number = part.seq_nums[min(index // each, len(part.seq_nums) - 1)]
            detail = {**self._events.get((str(part.described.get("uid")), number), NOBODY), "seq_num": number}
            yield Frame(part.start + index, None, None, form, (row,), time.time_ns(), detail)

    def _begin(self, offered: FrameRange) -> None:
        """Let frames have what is said of their run."""
        configured: dict[str, Any] = {}
        for device in offered.described.get("configuration", NOBODY).values():
            configured |= device.get("data", NOBODY)
        energy = next((value for name, value in configured.items() if name.endswith(ENERGY)), None)
        uid = str(offered.run["uid"])
        self._feed.begin(SeriesStart(uid, metadata={ENERGY: energy}), uid, {**configured, START: dict(offered.run)})

    def _rows_at_once(self, left: FrameRange) -> int:
        if len(left.seq_nums) != left.rows:
            return left.rows  # of a file in which an event has several rows
        size = 8
        for length in left.described.get("data_keys", NOBODY).get(left.key, NOBODY).get("shape", ()):
            size *= max(1, int(length))
        return max(1, BLOCK // size)


class _Offer(NamedTuple):
    """What a document has announced, and when."""

    range: FrameRange
    since: float
