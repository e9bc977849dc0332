"""What a crash has left in a file, and how it becomes one that any program reads.

A file whose writer died is marked as being written, so that only readers by SWMR open it. It may have frames without
their numbers, has no verdict, and what came late lies beside it. All of that is mended at once or not at all; what
could be read before can be read afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
from pydantic import BaseModel, ValidationError

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import apart, appending
from bluesky_streamdet.streaming.files.failing import REFUSALS
from bluesky_streamdet.streaming.files.flatview import add_flat_view
from bluesky_streamdet.streaming.files.growth import FIRST_IMAGE, LAST_IMAGE
from bluesky_streamdet.streaming.files.hold import Hold
from bluesky_streamdet.streaming.files.inspect import FileReport, NotOurFile, inspect, report_on
from bluesky_streamdet.streaming.files.layouts import places, placing
from bluesky_streamdet.streaming.files.layouts.layout import Layout, fill, word_of
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.mending.amending import Overlay, amended, redo, redo_log
from bluesky_streamdet.streaming.files.mending.contents import (
    frames_of,
    frames_per_event,
    growing,
    last_byte,
    layout_of,
    outcome_of,
    words_of,
)
from bluesky_streamdet.streaming.files.mending.journal import journal_of, take_journal
from bluesky_streamdet.streaming.files.mending.left import cut_short, open_left, superblock_of, unmarked
from bluesky_streamdet.streaming.files.mending.merging import merge
from bluesky_streamdet.streaming.files.paths import RECORDS, record_name
from bluesky_streamdet.streaming.files.several.parts import Part, listed_parts
from bluesky_streamdet.streaming.files.several.whole import parts_beside, restore_master
from bluesky_streamdet.streaming.files.verdict import Verdict
from bluesky_streamdet.streaming.settling import settled
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport

log = logging.getLogger(__name__)

DIED = "its writer died while the series ran"


class NotMended(StreamdetError):
    """The file can't be made whole. It is as it was."""

    code = "not_mended"


class Recovery(BaseModel):
    """What was found wrong with a file, in words; nothing for one that is whole. report: what it says afterwards."""

    path: Path
    found: list[str]
    mended: bool = False
    report: FileReport | None = None


def recover(path: Path, *, dry_run: bool = False, known: SeriesReport | None = None) -> Recovery:
    """Mend what a crash has left of a file, and of the others of its series. dry_run: say it only.

    known: the last news of its series; without, those are taken that the service has noted in the data directory.

    Raises `FileTaken` while somebody writes the file, `NotOurFile` for one that can't be read or is another program's,
    `NotMended` when it can't be written. Each time the file is as it was.
    """
    if not path.exists():
        raise NotOurFile(f"There is no file {path}.")
    try:
        Hold(path).release()
        found = list(_beside(path))
        if found and dry_run:
            return Recovery(path=path, found=found)  # What else there may be shows once they are finished.
        redo(path)
        if _is_one_of_several(path):
            return _recover_all(path, dry_run, found)
        found += _recover_file(path, dry_run, known)
        report = _report(path, None)
    except (*REFUSALS, AttributeError, IndexError) as error:
        raise NotMended(f"{path} can't be mended: {error}.", "It is as it was.") from error
    return Recovery(path=path, found=found, mended=bool(found) and not dry_run, report=report)


def mend(path: Path, report: SeriesReport) -> None:
    """Make what can be made of a file that HDF5 could not close, with what is known of its series."""
    try:
        recover(path, known=report)
    except StreamdetError as error:
        log.warning("series %s: %s", report.id, error)


def _recover_file(path: Path, dry_run: bool, known: SeriesReport | None) -> list[str]:
    """What was found wrong with a file that has its frames inside."""
    found = [*_of_file(path), *(one for name in _datasets(path) for one in _of_dataset(path, name))]
    if found and not dry_run:
        _mend(path, known)
    return found


def _recover_all(path: Path, dry_run: bool, found: list[str]) -> Recovery:
    """Of a file of a series that has several, or their master: all of them, then the master."""
    master, shares = parts_beside(path)
    found += [f"{one.path.name}: {what}" for one in shares for what in _recover_file(one.path, dry_run, None)]
    if not master.exists() or inspect(master).outcome is None:
        found.append(f"{master.name} does not show all of the series, whose writer died")
    if found and not dry_run:
        restore_master(path)
    report = inspect(master) if master.exists() else None
    return Recovery(path=path, found=found, mended=bool(found) and not dry_run, report=report)


def _is_one_of_several(path: Path) -> bool:
    with open_left(path) as file:
        return bool(listed_parts(file)) or Part.read(file) is not None


# What is wrong.


def _beside(path: Path) -> Iterator[str]:
    if redo_log(path).exists():
        yield "changes of it were interrupted, and lie beside it"


def _of_file(path: Path) -> Iterator[str]:
    head = superblock_of(path)
    if head is not None and head.flags:
        yield f"{DIED}: it is still marked as being written"
    if head is not None and head.end > path.stat().st_size:
        yield "it is shorter than it says"
    if journal_of(path).exists():
        yield "parameters that came late lie beside it"


def _of_dataset(path: Path, dataset: str) -> Iterator[str]:
    report = _report(path, dataset)
    with open_left(path) as file:
        there = places.read(file, dataset)
        event, frames = frames_per_event(file, there), frames_of(file, there)
        if not outcome_of(file, there):
            written = frames - report.first_row
            yield f"series {report.series} has no verdict; {written} frames of it are readable"
        rows = -(-frames // event)
        if longer := [name for name, one in growing(file, there).items() if len(one) != rows]:
            yield f"{len(longer)} datasets have rows without a frame, such as {longer[0]}"
        if event > 1 and frames and fill(layout_of(file, there).single_frames, words_of(file, there)) not in file:
            yield "the view of single frames is missing"


def _report(path: Path, dataset: str | None) -> FileReport:
    with open_left(path) as file:
        return report_on(path, file, dataset)


def _datasets(path: Path) -> list[str]:
    """The names of the frames' datasets."""
    with open_left(path) as file:
        return places.dataset_names(file) or [places.read(file).dataset]


# Mending.


def _mend(path: Path, known: SeriesReport | None) -> None:
    """Close the file as its writer would have, had it known that it would die."""
    head = superblock_of(path)
    if head is not None and head.end > path.stat().st_size:
        # Of what was never written, nothing is needed, most likely; and there may be no room for it.
        with suppress(*REFUSALS):
            _close(path, known, cut_short)
            return
    _close(path, known, unmarked)


def _close(path: Path, known: SeriesReport | None, prepare: Callable[[Overlay], None]) -> None:
    reports = {name: _report(path, name) for name in _datasets(path)}
    late, size = take_journal(path), path.stat().st_size
    with amended(path, prepare, _check) as file:
        for name, report in reports.items():
            there = places.read(file, name)
            layout, event, frames = layout_of(file, there), frames_per_event(file, there), frames_of(file, there)
            _cut(file, there, -(-frames // event))
            _check_rows(file, there, size)
            _count(file, layout, there, frames)
            if apart.APART in file[there.account]:
                merge(file, layout, there, event, frames)
            if not outcome_of(file, there):
                news = (
                    known
                    if known is not None and known.id == report.series
                    else _recorded(path, there.detector, report.series)
                )
                _judge(file, there, report, news, frames)
            if event > 1:
                add_flat_view(file, layout, there, event, frames)
        _add(file, path, late)
    journal_of(path).unlink(missing_ok=True)
    log.info("%s was mended", path)


def _check(file: h5py.File) -> None:
    """Raise `ValueError` or `OSError` if what was mended is not whole."""
    for name in places.dataset_names(file) or [places.read(file).dataset]:
        there = places.read(file, name)
        rows = -(-frames_of(file, there) // frames_per_event(file, there))
        if not outcome_of(file, there) or any(len(one) != rows for one in growing(file, there).values()):
            raise ValueError(f"the dataset {name} is not whole")


def _check_rows(file: h5py.File, there: Places, size: int) -> None:
    """Raise `ValueError` if some rows lie behind the end of what is a file of `size` bytes."""
    for path, one in growing(file, there).items():
        if last_byte(one) > size:
            raise ValueError(f"rows of {path} are lost, as they lay behind what is left of it")


def _cut(file: h5py.File, there: Places, rows: int) -> None:
    for one in growing(file, there).values():
        if len(one) != rows:
            one.resize(rows, axis=0)


def _count(file: h5py.File, layout: Layout, there: Places, frames: int) -> None:
    """Put right the attributes that say how many images there are."""
    columns = layout.columns
    said = [layout.frames.attributes, columns.attributes]
    said += [one.attributes for one in (*columns.names.values(), *columns.derived.values())]
    words = {name: word_of(value) for attributes in said for name, value in attributes.items()}
    first = next((name for name, word in words.items() if word == FIRST_IMAGE), None)
    for one in growing(file, there).values():
        before = int(one.attrs.get(first, 1)) - 1 if first is not None else 0
        for name, word in words.items():
            if word == LAST_IMAGE and name in one.attrs:
                one.attrs.modify(name, np.int32(before + frames))


def _judge(file: h5py.File, there: Places, report: FileReport, known: SeriesReport | None, frames: int) -> None:
    """Fill in what is known of the series that was cut short; or of the one before, which it never followed."""
    verdict = Verdict(file, there)
    if report.outcome is not None:
        account = report.account
        own = slice(report.first_row, report.first_row + report.written)
        said = _series_report(there, account.series, account.ledger, account.outcome, account.reason, report)
        verdict.write(said, own)
        table = file[there.inside("series")]
        table.resize(len(table) - 1, axis=0)
        return
    written = frames - report.first_row
    ledger = LedgerReport(received=written, unique=written, written=written)
    if known is not None and report.part is None:
        ledger = settled(known.ledger, written)
    outcome, reason = Outcome.INTERRUPTED, f"{DIED}, with {written} frames in the file"
    if known is not None and known.outcome is not None and known.reason:
        outcome, reason = known.outcome, known.reason
    ended = _last_time(file, there, frames)
    said = _series_report(there, report.series, ledger, outcome, reason, report, ended)
    verdict.write(said, slice(report.first_row, frames))


def _series_report(
    there: Places,
    series: str,
    ledger: LedgerReport,
    outcome: Outcome,
    reason: str,
    report: FileReport,
    ended: datetime | None = None,
) -> SeriesReport:
    return SeriesReport(
        id=series,
        detector=there.detector,
        started_at=report.started_at,
        ended_at=report.ended_at or ended,
        outcome=outcome,
        reason=reason,
        ledger=ledger,
    )


def _last_time(file: h5py.File, there: Places, frames: int) -> datetime | None:
    """When the last frame came."""
    if not frames:
        return None
    times, event = file[there.columns["receive_time"]], frames_per_event(file, there)
    last = times[divmod(frames - 1, event) if event > 1 else frames - 1]
    return datetime.fromtimestamp(int(np.ravel(last)[0]) / 1e9, UTC)


def _recorded(path: Path, detector: str, series: str) -> SeriesReport | None:
    """What the service has noted of the series, if the file still lies in its data directory."""
    for folder in path.resolve().parents:
        record = folder / RECORDS / record_name(detector, series)
        try:
            return SeriesReport.model_validate_json(record.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError):
            continue
    return None


def _add(file: h5py.File, path: Path, late: dict[str, object]) -> None:
    """Put parameters that came late where they would have gone when the file was closed."""
    if not late:
        return
    there = places.read(file)
    layout = layout_of(file, there)
    if len(file[there.inside("series")]) if "series" in file[there.account] else 0:
        series = file[there.identifier].asstr()[()]
        appending.add_account(file, layout, there, series, {"late": {}, "settings": {}, "parameters": {}}, late)
    else:
        placing.add_parameters(file, layout, there, late)
