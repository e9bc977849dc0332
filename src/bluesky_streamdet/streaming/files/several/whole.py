"""Files that have one series between them: the account of all together, and the master that shows them.

Several services may have written them at the same time, each with an account of its share; or one service has, file by
file, and died before it could write the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bluesky_streamdet.core.errors import WriteFailed
from bluesky_streamdet.core.ledger import Ledger
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.core.union import united
from bluesky_streamdet.streaming.files.failing import REFUSALS, failed
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.several.master import write_master
from bluesky_streamdet.streaming.files.several.naming import SUFFIXES
from bluesky_streamdet.streaming.files.several.parts import Part, listed_parts
from bluesky_streamdet.streaming.files.several.sources import Share, Source, read_source
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport

WORST = (Outcome.ABORTED, Outcome.INTERRUPTED, Outcome.INCOMPLETE)
"""What the outcome of one share makes of the whole; the first of them goes before the others."""
BY_FILE = "frames are in the order of the files, and not in that of their numbers"
DIED = "the writer died before it had written the account of the whole"


def write_together(
    path: Path,
    reports: Sequence[SeriesReport],
    *,
    series: str,
    expected: int | None = None,
    replace: bool = False,
) -> SeriesReport:
    """Write the master of series that several services have written at the same time, each a share of one series.

    reports: of the series, which have ended, with files that can be read here. series: the id of the whole. expected:
    how many frames there should be. Frames are in the order of their numbers; one that two have is shown once, and
    counted. Returns the account of the whole. Raises `FileTaken` or `WriteFailed`.
    """
    shares = [share for one in reports if one.file is not None for share in shares_of(Path(one.file), one.id)]
    sources = _read(path, shares)
    report = _account(path, sources, reports, series, expected)
    known = {one.path: one for one in sources}
    # Numbers that began anew under one header say nothing of the order.
    by_number = report.ledger.passes == 1
    if shares and not write_master(
        path, shares, series=series, report=report, by_number=by_number, replace=replace, known=known
    ):
        report.reason = "; ".join(filter(None, (report.reason, BY_FILE)))
    return report.model_copy(update={"file": str(path) if shares else None, "parts": len(shares)})


def shares_of(path: Path, series: str) -> list[Share]:
    """The files that have the frames which a file of a series shows: itself, or those of a master."""
    try:
        with open_to_read(path) as file:
            listed = listed_parts(file)
    except REFUSALS as error:
        raise failed(path, "read", error) from error
    return [Share(path.resolve().parent / one.file, one.series) for one in listed] or [Share(path, series)]


def restore_master(path: Path) -> SeriesReport:
    """Write the master of a series whose writer died, of which `path` is one of its files, or a master before.

    All its files have to be readable; each is shown as far as it is. Returns the account, as far as numbers tell.
    Raises `WriteFailed`, also for a file that is not of several.
    """
    try:
        master, shares = parts_beside(path)
        if not shares:
            raise WriteFailed(f"None of the files that {path} shows was written by one writer after another.")
        reports = [_own_report(one) for one in shares]
    except REFUSALS as error:
        raise failed(path, "read", error) from error
    series = shares[0].series
    sources = _read(master, shares)
    report = _account(master, sources, reports, series, None)
    reason = "; ".join(filter(None, (DIED, report.reason)))
    report = report.model_copy(update={"outcome": Outcome.INTERRUPTED, "reason": reason})
    known = {one.path: one for one in sources}
    write_master(master, shares, series=series, report=report, replace=_is_of(master, series), known=known)
    return report


def parts_beside(path: Path) -> tuple[Path, list[Share]]:
    """The master, and the files of the same series beside it, by their index, whether it shows them already or not.

    path: of one of the files, or of the master. Raises `WriteFailed` for another file, or what h5py raises.
    """
    with open_to_read(path, whole=False) as file:
        part, listed = Part.read(file), listed_parts(file)
        series = str(file[places.read(file).identifier].asstr()[()])
    if part is None and not listed:
        raise WriteFailed(f"The file {path} is not one of several of a series.")
    master = path if part is None else path.with_name(part.master)
    found: dict[int, Path] = {}
    for one in sorted(path.parent.iterdir()):
        if one.suffix not in SUFFIXES or one == master:
            continue
        try:
            with open_to_read(one) as file:
                own = Part.read(file)
                same = file[places.read(file).identifier].asstr()[()] == series
            if same and own is not None and own.master == master.name:
                found[own.index] = one
        except REFUSALS:
            continue  # of another program, or of nobody any more
    return master, [Share(found[index], series) for index in sorted(found)]


def _is_of(path: Path, series: str) -> bool:
    """Whether there is a master of this series, which may be replaced."""
    if not path.exists():
        return False
    with open_to_read(path, whole=False) as file:
        return bool(listed_parts(file)) and file[places.read(file).identifier].asstr()[()] == series


def _own_report(share: Share) -> SeriesReport:
    """What a file that is closed, or was mended, says of itself."""
    said = inspect(share.path)
    count = said.readable
    ledger = LedgerReport(received=count, unique=count, written=count)
    return SeriesReport(
        id=said.series,
        detector=said.detector,
        file=str(share.path),
        started_at=said.started_at,
        ended_at=said.ended_at,
        outcome=said.outcome or Outcome.INTERRUPTED,
        ledger=ledger,
    )


def _read(path: Path, shares: Sequence[Share]) -> list[Source]:
    sources: list[Source] = []
    try:
        for share in shares:
            sources.append(read_source(share, sources[-1] if sources else None))
    except REFUSALS as error:
        raise failed(path, "written as a master", error) from error
    return sources


def _account(
    path: Path, sources: Sequence[Source], reports: Sequence[SeriesReport], series: str, expected: int | None
) -> SeriesReport:
    numbers = np.concatenate([*(one.numbers for one in sources), np.empty(0, np.uint64)])
    ledger = united([_ledger(one.ledger) for one in reports], numbers, expected)
    outcomes = {one.outcome for one in reports}
    shortfalls = ledger.shortfalls()
    if ledger.duplicate > sum(one.ledger.duplicate for one in reports):
        shortfalls.append(f"{ledger.duplicate} frames came twice, some to two services; each is shown once")
    worst = next((one for one in WORST if one in outcomes), Outcome.COMPLETE)
    if worst is Outcome.COMPLETE and ledger.shortfalls():
        worst = Outcome.INCOMPLETE
    bad = [f"{one.id} is {one.outcome}: {one.reason}" for one in reports if one.outcome in WORST and one.reason]
    first = reports[0]
    return first.model_copy(
        update={
            "id": series,
            "file": str(path),
            "started_at": min((one.started_at for one in reports if one.started_at), default=None),
            "ended_at": max((one.ended_at for one in reports if one.ended_at), default=None),
            "outcome": worst,
            "reason": "; ".join((*shortfalls, *bad)),
            "ledger": LedgerReport.model_validate(ledger.report()),
        }
    )


def _ledger(report: LedgerReport) -> Ledger:
    """The account to calculate with; what is missing of a share follows from the whole."""
    return Ledger(
        received=report.received,
        unique=report.unique,
        duplicate=report.duplicate,
        foreign=Counter(report.foreign),
        malformed=Counter(report.malformed),
        written=report.written,
        live_only=report.live_only,
        discarded=Counter(report.discarded),
        failed=Counter(report.failed),
        late=report.late,
        passes=report.passes,
    )
