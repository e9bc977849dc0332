"""The last series of a service, on disk, so that their accounts outlive it: one JSON file for each.

They lie in `.streamdet/series` of the data directory, which services of several detectors may share; each service
reads, completes and removes only its own detector's. A file is replaced as a whole, so that a crash leaves the old one
or the new.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.paths import RECORDS, record_name
from bluesky_streamdet.streaming.settling import settled
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport, Statistics

log = logging.getLogger(__name__)

KEPT = 100
SUMMED = ("received", "unique", "duplicate", "written", "live_only", "missing", "late")


class OnDisk(Protocol):
    """What a file says of itself; `streaming.files.inspect.FileReport` does."""

    @property
    def series(self) -> str: ...
    @property
    def outcome(self) -> Outcome | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def written(self) -> int: ...
    @property
    def ledger(self) -> LedgerReport | None: ...


class SeriesRecords:
    """The newest `kept` series of one detector, in memory and on disk.

    `note` is for each news and only remembers; `save` writes, and may be called in another thread.
    """

    def __init__(self, directory: Path, detector: str, kept: int = KEPT) -> None:
        self._folder = directory / RECORDS
        self._detector = detector
        self._kept = kept
        self._series: dict[str, SeriesReport] = {}
        self._surplus: list[str] = []

    def load(self) -> None:
        """Read what is there, and make sure that more can be written. Raises `ConfigError` when it can't."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files = list(self._folder.glob("*.json"))
        except OSError as error:
            raise ConfigError(
                f"The data directory {self._folder.parent.parent} can't be used: {error.strerror}.",
                "Set files.directory to a folder that this user may write to.",
            ) from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise ConfigError(f"The folder {self._folder} can't be written to.", "Mend its owner or mode.")
        ours = []
        for file in files:
            found = _read(file)
            if found is not None and found[1].detector == self._detector:
                self._name_anew(file, found[1].id)
                ours.append(found)
        # By when they began: what comes after the end, such as the result of a hook, makes none of them newer.
        self._series = {report.id: report for _, report in sorted(ours, key=lambda pair: pair[0])}
        self._forget_surplus()

    def __contains__(self, id: str) -> bool:
        return id in self._series

    def get(self, id: str) -> SeriesReport | None:
        return self._series.get(id)

    def newest_first(self) -> list[SeriesReport]:
        return list(reversed(self._series.values()))

    def unfinished(self) -> list[SeriesReport]:
        """Series that were armed or running when their service died."""
        return [report for report in self._series.values() if report.outcome is None]

    def note(self, report: SeriesReport) -> bool:
        """Remember the newest account of a series. True when it says more than other counts."""
        known = self._series.get(report.id)
        self._series[report.id] = report
        if known is None:
            self._forget_surplus()
            return True
        counts = {"ledger": known.ledger, "statistics": known.statistics}
        return report.model_copy(update=counts) != known

    def save(self, report: SeriesReport) -> None:
        """Write one series to disk, and remove the oldest of too many. Raises `OSError`."""
        temporary = self._folder / f".{report.id}.{os.getpid()}.tmp"
        temporary.write_text(report.model_dump_json(), encoding="utf-8")
        os.replace(temporary, self._file(report.id))
        while self._surplus:
            self._file(self._surplus.pop()).unlink(missing_ok=True)

    def _forget_surplus(self) -> None:
        surplus = list(self._series)[: -self._kept]
        self._surplus += surplus
        for id in surplus:
            del self._series[id]

    def _name_anew(self, file: Path, id: str) -> None:
        """Before, a record's name said nothing of the detector, so that one could be taken for another's."""
        if file != self._file(id):
            try:
                file.rename(self._file(id))
            except OSError as error:
                log.warning("the record %s keeps its name: %s", file, error)

    def _file(self, id: str) -> Path:
        return self._folder / record_name(self._detector, id)


def tally(ledger: LedgerReport) -> Counter[tuple[str, str]]:
    """The counts of a ledger by name and reason, empty where there are no reasons; to be summed over series."""
    counts = Counter[tuple[str, str]]()
    for name, value in ledger:
        if isinstance(value, dict):
            counts.update({(name, reason): count for reason, count in value.items()})
        elif name in SUMMED:
            counts[name, ""] = value
    return counts


def payload(statistics: Statistics) -> Counter[tuple[str, str]]:
    """The bytes of a series, to be summed with what `tally` returns."""
    return Counter({("bytes", "received"): statistics.bytes_received, ("bytes", "written"): statistics.bytes_written})


def interrupted(report: SeriesReport, disk: OnDisk | None, reason: str) -> SeriesReport:
    """The last word on a series whose data plane died, or lost its service and stopped.

    disk: what its file says, None when there is no readable one. A file that was closed with all its frames has had the
    last word already; one that was closed for want of a service says how far the series came.
    """
    closed = disk is not None and disk.outcome is not None
    ledger = (disk.ledger if disk is not None and closed else None) or settled(
        report.ledger, disk.written if disk is not None else 0
    )
    outcome = Outcome.INTERRUPTED
    if disk is not None and closed:
        mended = disk.outcome is Outcome.INTERRUPTED
        whole = disk.outcome is Outcome.COMPLETE and ledger.expected is not None and ledger.unique >= ledger.expected
        outcome = disk.outcome if whole else Outcome.INTERRUPTED
        if whole:
            reason = disk.reason
        elif not mended:
            reason = f"{reason}; its file was closed as {disk.outcome}: {disk.reason}".rstrip(": ")
    ended = report.ended_at or datetime.now(UTC)
    return report.model_copy(update={"outcome": outcome, "reason": reason, "ledger": ledger, "ended_at": ended})


def _read(file: Path) -> tuple[float, SeriesReport] | None:
    """A record, and when its series began; None for what is none, as anybody may have written into the folder."""
    try:
        report = SeriesReport.model_validate_json(file.read_text(encoding="utf-8"))
        if file.name not in (record_name(report.detector, report.id), f"{report.id}.json"):
            raise ValueError(f"it is of a series {report.id!r} of {report.detector!r}")
        begun = report.armed_at or report.started_at or report.ended_at
        return begun.timestamp() if begun is not None else file.stat().st_mtime, report
    except FileNotFoundError:
        return None  # The service of another detector has removed its oldest one.
    except (OSError, ValueError, OverflowError) as error:
        log.warning("the record %s can't be read and is left alone: %s", file, error)
        return None
