"""What is known of a series only at its end: places for it in the file, made before the first frame.

SWMR admits no new object while a file is open, and a file that is opened for anything else can be read by nobody, not
even after a crash. So outcome, reason, end and ledger have their datasets from the start, empty until they are known;
to fill them needs no room on a disk that is full.

Where a file goes on with another series, the account of the one before moves into the table `series`, and the places
are empty again. A kill in between loses neither: the identifier of the new series is what is written last.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import validity
from bluesky_streamdet.streaming.files.fields import add_group
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport

COMPLETE = "complete"
"""Attribute of the root: whether every series of the file is complete. It is false as long as one is written."""
UNKNOWN = -1
"""Stands for an expected number of frames that nobody said."""
SHARED = "shared"
"""1 where other services have the rest of the series; not in files of older versions."""
COUNTS = tuple(name for name in LedgerReport.model_fields if name not in ("missing_ranges", SHARED))
BY_REASON = tuple(name for name in COUNTS if isinstance(LedgerReport.model_fields[name].default, dict))
"""Counts that are kept by reason; their sum stands under their name, the reasons in the dataset `reasons`."""
MOST_REASONS = 32
LONGEST_REASON = 160
"""Bytes of one of them; of all together, in words, `LONGEST_TEXT`."""
LONGEST_TEXT = 2000
RANGES_CHUNK = 64
NO_ROOM = "for reasons that the file had no room for"

LONGEST_IDENTIFIER = 80
TIME = 40
LONGEST_LEDGER = 8000
LONGEST_ACCOUNT = 16_000
"""Bytes of JSON, a row of the table `series`. A row is one text, as Tiled can't read records that hold texts."""


class Account(BaseModel):
    """What a file says of one of its series. first_row, frames: where its frames are, counted one by one."""

    series: str
    started_at: datetime | None
    ended_at: datetime | None
    first_row: int
    frames: int
    outcome: Outcome
    reason: str
    ledger: LedgerReport


class Verdict:
    """The places in an open file. Raises what h5py raises."""

    def __init__(self, file: h5py.File, places: Places) -> None:
        account = file[places.account]
        ledger = account["ledger"]
        self._file = file
        self._places = places
        self._ledger = ledger
        self._identifier = file[places.identifier]
        self._start = account["series_start"]
        self._end = file[places.end_time]
        self._outcome = account["outcome"]
        self._reason = account["reason"]
        # By HDF5's own functions, as a series of many files does this for each of them.
        self._counts = {name: h5py.h5d.open(ledger.id, name.encode()) for name in COUNTS}
        self._shared = ledger.get(SHARED)
        self._reasons = ledger["reasons"]
        self._ranges = ledger["missing_ranges"]
        self._earlier = account["series"]

    @classmethod
    def create(cls, file: h5py.File, places: Places, series: str, started: datetime) -> Self:
        """Make the places."""
        file.attrs[COMPLETE] = False
        account = add_group(file, places.account, "NXcollection")
        ledger = add_group(account, "ledger", "NXcollection")
        _fill(_text_place(file, places.identifier, LONGEST_IDENTIFIER), series)
        file[places.start_time] = started.isoformat()
        _text_place(file, places.end_time, TIME)
        _fill(_text_place(account, "series_start", TIME), started.isoformat())
        _text_place(account, "outcome", 20)
        _text_place(account, "reason", LONGEST_TEXT)
        for name in (*COUNTS, SHARED):
            ledger.create_dataset(name, data=np.int64(UNKNOWN))
        kind = h5py.string_dtype("utf-8", LONGEST_REASON)
        ledger.create_dataset("reasons", data=np.zeros(MOST_REASONS, kind))
        ledger.create_dataset("missing_ranges", (0, 2), "i8", maxshape=(None, 2), chunks=(RANGES_CHUNK, 2))
        validity.create(ledger)
        rows = h5py.string_dtype("utf-8", LONGEST_ACCOUNT)
        account.create_dataset("series", (0,), rows, maxshape=(None,), chunks=(1,))
        return cls(file, places)

    def set_aside(self, account: Account, series: str, started: datetime) -> None:
        """Move the account of the last series into the table, and be ready for that of another."""
        self._mark(complete=False)
        rows = len(self._earlier)
        self._earlier.resize((rows + 1,))
        self._earlier[rows] = _account_text(account).encode()
        self._file.flush()
        _fill(self._outcome, "")
        self._file.flush()
        for place in (self._reason, self._end):
            _fill(place, "")
        for place in self._counts.values():
            _count(place, UNKNOWN)
        self._reasons[...] = np.zeros(MOST_REASONS, self._reasons.dtype)
        self._ranges.resize((0, 2))
        validity.fill(self._ledger, None)
        _fill(self._start, started.isoformat())
        self._file.flush()
        _fill(self._identifier, series)
        self._file.flush()

    def write(
        self, report: SeriesReport, rows: slice = slice(None), numbers: NDArray[np.integer] | None = None
    ) -> None:
        """Fill them. The outcome comes after all that it stands for, and what needs new room comes last.

        rows: of the frames of this series, counted one by one. numbers: of them, if they are not to be read.
        """
        reasons = []
        for name, value in report.ledger.model_dump(include=set(COUNTS)).items():
            if isinstance(value, dict):
                reasons += [f"{name} {count}: {why}" for why, count in value.items()]
                value = sum(value.values())
            _count(self._counts[name], UNKNOWN if value is None else value)
        if self._shared is not None:
            self._shared[()] = report.ledger.shared
        _fill(self._reasons, reasons[:MOST_REASONS])
        _fill(self._reason, report.reason)
        _fill(self._end, report.ended_at.isoformat() if report.ended_at is not None else "")
        self._file.flush()
        _fill(self._outcome, str(report.outcome or ""))
        self._file.flush()
        ranges = np.array(report.ledger.missing_ranges, np.int64).reshape(-1, 2)
        self._ranges.resize(ranges.shape)
        self._ranges[...] = ranges
        if validity.is_wanted(report):
            if numbers is None:
                numbers = np.asarray(self._file[self._places.columns["sequence_number"]]).reshape(-1)[rows]
            validity.fill(self._ledger, validity.vector(numbers, report.ledger.missing_ranges, report.ledger.expected))
        self._mark(complete=report.outcome is Outcome.COMPLETE and _others_complete(self._file, self._places))

    def _mark(self, *, complete: bool) -> None:
        if COMPLETE in self._file.attrs:  # not in files of an older version
            self._file.attrs.modify(COMPLETE, complete)


def read_accounts(file: h5py.File, places: Places) -> list[Account]:
    """The series that were in the file before its last one; none in a file that was not appended to."""
    return _accounts_of(file[places.account])


def _accounts_of(account: h5py.Group) -> list[Account]:
    table = account.get("series")
    if not isinstance(table, h5py.Dataset):
        return []
    if table.dtype.names:
        return [_of_older_version(row) for row in table[()]]
    return [Account.model_validate_json(row) for row in table.asstr()[()]]


def _of_older_version(row: Any) -> Account:
    """Of a record, as the table had them before it was of texts."""
    said: dict[str, Any] = {}
    for name in row.dtype.names:
        said[name] = row[name].decode() if isinstance(row[name], bytes) else int(row[name])
    times = {name: said[name] or None for name in ("started_at", "ended_at")}
    return Account.model_validate({**said, **times, "ledger": json.loads(said["ledger"])})


def _others_complete(file: h5py.File, places: Places) -> bool:
    """Whether all that the file had before the last series is complete, of its dataset and of others."""
    groups = {str(file[str(path)].attrs["account"]) for path in file.attrs.get("frames", ())} | {places.account}
    earlier = [one.outcome for group in groups for one in _accounts_of(file[group])]
    others = [file[f"{group}/outcome"].asstr()[()] for group in groups - {places.account}]
    return all(one == Outcome.COMPLETE for one in (*earlier, *others))


def read_ledger(file: h5py.File, places: Places) -> LedgerReport:
    """The ledger of a closed file. Raises `KeyError` or `ValueError` for a file that has none."""
    group = file[places.inside("ledger")]
    counts = {name: int(group[name][()]) for name in COUNTS}
    values: dict[str, Any] = {name: {} if name in BY_REASON else count for name, count in counts.items()}
    for line in filter(None, group["reasons"].asstr()[()]):
        head, _, why = line.partition(": ")
        name, _, count = head.partition(" ")
        values[name][why] = int(count)
    for name in BY_REASON:
        if rest := counts[name] - sum(values[name].values()):
            values[name][NO_ROOM] = rest
    values["expected"] = None if values["expected"] == UNKNOWN else values["expected"]
    values["shared"] = SHARED in group and int(group[SHARED][()]) == 1
    values["missing_ranges"] = group["missing_ranges"][()].tolist()
    return LedgerReport.model_validate(values)


def _text_place(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    return group.create_dataset(name, data=b"", dtype=h5py.string_dtype("utf-8", size))


def _account_text(account: Account) -> str:
    """The account as JSON, without what there is no room for."""
    ledger, reason = account.ledger, _cut(account.reason, LONGEST_TEXT).decode()
    while len(ledger.model_dump_json().encode()) > LONGEST_LEDGER:
        if ledger.missing_ranges:
            ranges = ledger.missing_ranges[: len(ledger.missing_ranges) // 2]
            ledger = ledger.model_copy(update={"missing_ranges": ranges})
        else:
            counts = {name: sum(getattr(ledger, name).values()) for name in BY_REASON}
            ledger = ledger.model_copy(update={name: {NO_ROOM: count} for name, count in counts.items() if count})
    while True:
        text = account.model_copy(update={"ledger": ledger, "reason": reason}).model_dump_json()
        if len(text.encode()) <= LONGEST_ACCOUNT:
            return text
        reason = reason[: len(reason) // 2]  # It is of letters that take six times their room in JSON.


def _cut(text: str, size: int) -> bytes:
    """As much of a text as there is room for, cut between two letters."""
    return text.encode(errors="replace")[:size].decode(errors="ignore").encode()


def _count(place: h5py.h5d.DatasetID, value: int) -> None:
    place.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(value, np.int64))


def _fill(dataset: h5py.Dataset, text: str | list[str]) -> None:
    """Write a text, or one into each element from the first; cut to what there is room for."""
    size = dataset.dtype.itemsize
    cut = [_cut(one, size) for one in ([text] if isinstance(text, str) else text)]
    if isinstance(text, str):
        dataset[()] = np.bytes_(cut[0])
    elif cut:
        dataset[: len(cut)] = np.array(cut, dataset.dtype)
