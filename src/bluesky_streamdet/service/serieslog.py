"""What is known of each series, also of those whose data plane or service died; written behind the service's back.

No answer waits for the disk that the records lie on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bluesky_streamdet.core.errors import NoSuchSeries, StreamdetError
from bluesky_streamdet.service.records import OnDisk, SeriesRecords, interrupted, payload, tally
from bluesky_streamdet.streaming.status import HookReport, SeriesReport

log = logging.getLogger(__name__)

COUNTS_EVERY = 1.0
"""Seconds between records of a running series of which only the counts change."""
DESCRIBING = 10.0
"""Seconds for a look at a file that was left behind; its disk may be what failed."""

Describe = Callable[[Path, SeriesReport], OnDisk]


def describe(path: Path, known: SeriesReport) -> OnDisk:
    """What a file of ours holds, after what the death of its writer left is mended. Raises `StreamdetError`.

    known: the last news of its series.
    """
    # Imported when needed, as HDF5 is of no other use to the control plane.
    from bluesky_streamdet.streaming.files.inspect import inspect
    from bluesky_streamdet.streaming.files.mending.recovering import recover

    try:
        # Of several files, it is the last one that was being written.
        recover(path if known.part is None else Path(known.part), known=known)
    except StreamdetError as error:
        log.warning("%s", error)  # What is readable of it is readable all the same.
    return inspect(path, known.data.dataset if known.data is not None else None)


class SeriesLog:
    """The series of one detector: news at once on disk, counts now and then. Lives in one event loop.

    closed, counts: how many series were closed since the start, and the sums of their ledgers. on_closed: called when
    one has been.
    describe: tells what a file holds that was left behind. clock: seconds, monotonic.
    """

    def __init__(
        self,
        directory: Path,
        detector: str,
        describe: Describe = describe,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last: SeriesReport | None = None
        self.closed = 0
        self.counts = Counter[tuple[str, str]]()
        self.on_closed: Callable[[SeriesReport], None] = lambda _: None
        self._records = SeriesRecords(directory, detector)
        self._describe = describe
        self._clock = clock
        self._waiting: dict[str, SeriesReport] = {}
        self._wake = asyncio.Event()
        self._saved_at = clock()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the records, and close those of series that ran when their service died. Raises `ConfigError`."""
        self._records.load()
        self._writer = asyncio.create_task(self._write(), name="series log")
        for report in self._records.newest_first():
            if report.hook is not None and report.hook.running:
                hook = HookReport(output="The service died while it ran.")
                self.note(report.model_copy(update={"hook": hook}))
        for report in self._records.unfinished():
            await self.interrupt(report, "the service died while the series ran")
        self.last = next(iter(self._records.newest_first()), None)

    def __contains__(self, id: str) -> bool:
        return self._records.get(id) is not None

    def report(self, id: str) -> SeriesReport:
        """The account of series `id`. Raises `NoSuchSeries`."""
        report = self._records.get(id)
        if report is None:
            raise NoSuchSeries(f"There is no series {id!r}.", "GET /api/v1/series lists the last ones.")
        return report

    def newest_first(self) -> list[SeriesReport]:
        return self._records.newest_first()

    def note(self, report: SeriesReport) -> None:
        """Remember the newest account of a series, and see that it gets to disk."""
        known = self._records.get(report.id)
        if known is not None and known.outcome is not None and report.hook is None:
            return  # Late news of a series that is closed: only its hook has anything more to say.
        closing = report.outcome is not None and (known is None or known.outcome is None)
        if report.hook is not None and not report.hook.running:
            self.counts["hooks", _result_of(report.hook)] += 1
        news = known != report and self._records.note(report)
        if news or (known != report and self._clock() - self._saved_at >= COUNTS_EVERY):
            self._waiting[report.id] = report
            self._saved_at = self._clock()
            self._wake.set()
        if closing:
            self.closed += 1
            self.counts += tally(report.ledger) + payload(report.statistics)
        if closing or (self.last is not None and self.last.id == report.id):
            self.last = report
        if closing:
            self.on_closed(report)

    async def interrupt(self, report: SeriesReport, reason: str) -> SeriesReport:
        """Close a series whose data plane died, with what is on disk."""
        disk, trouble = await self._look_at(report)
        final = interrupted(report, disk, "; ".join(one for one in (reason, trouble) if one))
        self.note(final)
        return final

    async def close(self) -> None:
        """Write what waits, and end."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer

    async def _look_at(self, report: SeriesReport) -> tuple[OnDisk | None, str]:
        """What the file of a series says, and why it says nothing."""
        if report.file is None:
            return None, ""
        try:
            async with asyncio.timeout(DESCRIBING):
                disk = await asyncio.to_thread(self._describe_if_there, Path(report.file), report)
        except TimeoutError:
            return None, f"its file {report.file} could not be looked at within {DESCRIBING:g} s"
        except StreamdetError as error:
            return None, error.message
        # The series may have died before it replaced an older file.
        return (disk, "") if disk is not None and disk.series == report.id else (None, "no file was begun")

    def _describe_if_there(self, path: Path, report: SeriesReport) -> OnDisk | None:
        begun = path.exists() or (report.part is not None and Path(report.part).exists())
        return self._describe(path, report) if begun else None

    async def _write(self) -> None:
        while self._waiting or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                report = self._waiting.pop(next(iter(self._waiting)))
                try:
                    await asyncio.to_thread(self._records.save, report)
                except OSError as error:
                    log.warning("series %s can't be recorded: %s", report.id, error)


def _result_of(hook: HookReport) -> str:
    if hook.code is None:
        return "not ended"
    return "failed" if hook.code else "done"
