"""The newest status of a service, for everybody who wants to know: each change once, and none kept for who is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bluesky_streamdet.streaming.status import DiskReport, Status

HEARTBEAT = 1.0
"""Seconds after which also what is no news is announced, so that clients know that the service lives."""

NO_NEWS: dict[str, Any] = {
    "revision": 0,
    "frames_per_second": 0.0,
    "megabytes_per_second": 0.0,
    "seconds_without_data": None,
    "resident_megabytes": 0.0,
}
"""What changes all the time, and wakes nobody."""


class StatusBoard:
    """Where the supervisor puts each status, and clients await the next. Lives in one event loop.

    Revisions grow from the time of the start in milliseconds, so that they grow over restarts too.
    """

    def __init__(self, status: Status, clock: Callable[[], float] = time.monotonic) -> None:
        self.closed = False
        self._clock = clock
        self._revision = time.time_ns() // 1_000_000
        self._announced = self._revision
        self._announced_at = clock()
        self._news = asyncio.Event()
        self.status = status.model_copy(update={"revision": self._revision})
        self._last = _news_of(self.status)

    def put(self, status: Status) -> None:
        """This is how things are now."""
        self._revision += 1
        self.status = status.model_copy(update={"revision": self._revision})
        essence = _news_of(status)
        now = self._clock()
        if essence != self._last or now - self._announced_at >= HEARTBEAT:
            self._last = essence
            self._announced, self._announced_at = self._revision, now
            self._wake()

    async def newer_than(self, revision: int) -> Status | None:
        """The newest status, as soon as something has changed since `revision`; None when the service ends."""
        while self._announced <= revision and not self.closed:
            await self._news.wait()
        return None if self.closed else self.status

    def close(self) -> None:
        """Tell all who wait that nothing more comes."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _news_of(status: Status) -> Status:
    disk = status.disk
    if disk is not None:
        # That it will be full is news; how soon changes all the time.
        disk = DiskReport(free_megabytes=0, warning="low" if disk.warning else "")
    return status.model_copy(update=NO_NEWS | {"disk": disk})
