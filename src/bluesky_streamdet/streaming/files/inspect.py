"""What a file of ours holds, and whether it can be trusted; also of one whose writer died."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import BaseModel

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.documents import DATA
from bluesky_streamdet.streaming.files import verdict
from bluesky_streamdet.streaming.files.flatview import EVENT_ATTRIBUTE
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.mending.amending import redo_log
from bluesky_streamdet.streaming.files.mending.journal import journal_of
from bluesky_streamdet.streaming.files.mending.left import is_left, open_left
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.several.parts import Listed, Part, listed_parts, unreadable
from bluesky_streamdet.streaming.files.verdict import Account
from bluesky_streamdet.streaming.status import LedgerReport


class NotOurFile(StreamdetError):
    """The file can't be read, or has not been written by this package."""

    code = "not_our_file"


class FileReport(BaseModel):
    """What `inspect` says of a file.

    readable: frames that others can read. outcome: None for a file that was not closed, whose writer still runs or
    died. earlier: series that it had before it went on with another; series, times, outcome, reason and ledger are
    those of the last one, whose frames begin at first_row, counted one by one. growable: whether it has room for their
    accounts. journal, redo: whether parameters that came late still lie beside the file, or changes that were
    interrupted. layout: what the layout is called.
    dataset: the name of the frames' dataset that all this is of, and data its path; datasets: the names of all that the
    file has, in the order in which they were made. columns: paths of what each frame has beside it. part: which of the
    series' files it is, where there are several. parts: the files that a master shows; faults: what is wrong with them.
    """

    path: Path
    layout: str = "nexus"
    dataset: str = places.FIRST_DATASET
    data: str = DATA
    datasets: list[str] = [places.FIRST_DATASET]
    columns: dict[str, str] = {}
    detector: str
    series: str
    started_at: datetime | None
    ended_at: datetime | None
    outcome: Outcome | None
    reason: str
    readable: int
    shape: tuple[int, ...]
    dtype: str
    filters: list[str]
    nbytes: int
    first_number: int | None
    last_number: int | None
    ledger: LedgerReport | None
    frames_per_event: int = 1
    first_row: int = 0
    earlier: list[Account] = []
    growable: bool = False
    journal: bool
    redo: bool = False
    part: Part | None = None
    parts: list[Listed] = []
    faults: list[str] = []

    @property
    def complete(self) -> bool:
        outcomes = (self.outcome, *(one.outcome for one in self.earlier))
        return not self.faults and all(one is Outcome.COMPLETE for one in outcomes)

    @property
    def written(self) -> int:
        """Readable frames of the last series."""
        return self.readable - self.first_row

    @property
    def account(self) -> Account:
        """Of the last series. Raises `ValueError` when that was not closed."""
        if self.outcome is None or self.ledger is None:
            raise ValueError(f"{self.path} was not closed")
        return Account(
            series=self.series,
            started_at=self.started_at,
            ended_at=self.ended_at,
            first_row=self.first_row,
            frames=self.written,
            outcome=self.outcome,
            reason=self.reason,
            ledger=self.ledger,
        )

    @property
    def verdict(self) -> str:
        """One sentence for the person who has to decide whether to measure again."""
        if self.faults:
            more = f" and {len(self.faults) - 5} more" if len(self.faults) > 5 else ""
            return (
                f"of the files that it shows, some can't be read: {'; '.join(self.faults[:5])}{more}. HDF5 shows fill "
                "values for their frames, and says nothing. Bring them back to where they were beside this file."
            )
        if self.outcome is None:
            return (
                f"not closed: {self.readable} frames are readable. The service is still writing it, or died; "
                f"then the rest is lost, and `streamdet recover {self.path.name}` makes a whole file of it."
            )
        said = f"{self.outcome}: {self.reason}" if self.reason else str(self.outcome)
        bad = [f"{one.series} is {one.outcome}" for one in self.earlier if one.outcome is not Outcome.COMPLETE]
        return f"{said}; of the series before, {', '.join(bad)}" if bad else said


def inspect(path: Path, dataset: str | None = None) -> FileReport:
    """Read what a file says of one of its datasets, of the last one for None. Raises `NotOurFile`."""
    try:
        # HDF5 tries for minutes to read one by SWMR that is damaged.
        with open_left(path) if is_left(path) else open_to_read(path, whole=False) as file:
            return report_on(path, file, dataset)
    except FileNotFoundError as error:
        raise NotOurFile(f"There is no file {path}.") from error
    except OSError as error:
        if not redo_log(path).exists():
            raise _unreadable(path, error) from error
        hint = f"`streamdet recover {path.name}` finishes it."
        raise NotOurFile(f"A change of {path} was interrupted, or is being made now.", hint) from error
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        # Whatever another program calls data, or a crash has left.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> NotOurFile:
    hint = "It is no HDF5 file, or another program wrote it."
    if "truncated file" in str(error):
        hint = "It has lost its end: a copy that broke off, most likely. Take the original."
    return NotOurFile(f"{path} can't be read as a series of frames: {error}.", hint)


def report_on(path: Path, file: h5py.File, dataset: str | None) -> FileReport:
    """What an open file says of one of its datasets. Raises what h5py raises for one that is not ours."""
    there = places.read(file, dataset)
    data = file[there.frames]
    event = int(data.attrs.get(EVENT_ATTRIBUTE, 1))
    parts, faults = listed_parts(file), _faults(file)
    numbers, readable = _numbers_listed(parts) if faults else _numbers(file, there)
    last, earlier = _accounts(file, there)
    return FileReport(
        path=path,
        layout=there.layout,
        dataset=there.dataset,
        data=there.frames,
        datasets=places.dataset_names(file) or [there.dataset],
        columns=there.columns,
        detector=there.detector,
        readable=readable,
        shape=data.shape[2:] if event > 1 else data.shape[1:],
        dtype=str(data.dtype),
        filters=_filters(data),
        nbytes=path.stat().st_size,
        first_number=numbers[0] if readable else None,
        last_number=numbers[1] if readable else None,
        frames_per_event=event,
        earlier=earlier,
        growable=places.growable(file, there),
        journal=journal_of(path).exists(),
        redo=redo_log(path).exists(),
        part=Part.read(file),
        parts=parts,
        faults=faults,
        **last,
    )


def _accounts(file: h5py.File, there: Places) -> tuple[dict[str, Any], list[Account]]:
    """What is said of the last series, and the accounts of those before it."""
    outcome = _text(file, there.inside("outcome"))
    last = {
        "series": _text(file, there.identifier) or "",
        "started_at": _time(file, there.inside("series_start")) or _time(file, there.start_time),
        "ended_at": _time(file, there.end_time),
        "outcome": Outcome(outcome) if outcome else None,
        "reason": _text(file, there.inside("reason")) or "",
        "ledger": verdict.read_ledger(file, there) if outcome else None,
    }
    earlier = verdict.read_accounts(file, there)
    if earlier and earlier[-1].series == last["series"]:
        # Another series was about to follow it, and never did.
        *earlier, account = earlier
        last = account.model_dump(exclude={"first_row", "frames"})
    last["first_row"] = sum(one.frames for one in earlier)
    return last, earlier


def _faults(file: h5py.File) -> list[str]:
    """What is wrong with the files of a master, each of which is opened for that."""
    if faults := unreadable(file):
        return faults
    folder = Path(file.filename).resolve().parent
    for part in listed_parts(file):
        try:
            with open_to_read(folder / part.file) as own:
                there = places.read(own)
                series, (numbers, frames) = _text(own, there.identifier), _numbers(own, there)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            faults.append(f"{part.file}: {error}")
            continue
        if (series, frames) != (part.series, part.frames):
            faults.append(f"{part.file} has {frames} frames of {series}, and had {part.frames} of {part.series}")
        elif numbers != [part.first_number, part.last_number]:
            faults.append(f"{part.file} has other frames than it had, from {numbers[0]} to {numbers[-1]}")
    return faults


def _numbers_listed(parts: list[Listed]) -> tuple[list[int], int]:
    """The same of a master some of whose files can't be read, as it lists them."""
    ends = [min(part.first_number for part in parts), max(part.last_number for part in parts)]
    return ends, sum(part.frames for part in parts)


def _numbers(file: h5py.File, there: Places) -> tuple[list[int], int]:
    """The first and the last frame's number, none if there are no frames; and how many frames there are."""
    data = file[there.frames]
    event = int(data.attrs.get(EVENT_ATTRIBUTE, 1))
    column, times = file[there.columns["sequence_number"]], file[there.columns["receive_time"]]
    readable = min(data.shape[0], column.shape[0], times.shape[0])
    if event > 1 and readable:
        # The last event may have some of its frames only; the others came at no time.
        readable = (readable - 1) * event + int(np.count_nonzero(times[readable - 1]))
    ends = (0, readable - 1) if readable else ()
    return [int(np.ravel(column[divmod(one, event) if event > 1 else one])[0]) for one in ends], readable


def _filters(data: h5py.Dataset) -> list[str]:
    properties = data.id.get_create_plist()
    described = [properties.get_filter(index) for index in range(properties.get_nfilters())]
    return [f"{number}: {name.decode(errors='replace').partition(';')[0]}" for number, _, _, name in described]


def _text(file: h5py.File, name: str) -> str | None:
    dataset = file.get(name)
    return dataset.asstr()[()] if isinstance(dataset, h5py.Dataset) else None


def _time(file: h5py.File, name: str) -> datetime | None:
    text = _text(file, name)
    return datetime.fromisoformat(text) if text else None
