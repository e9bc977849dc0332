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
from bluesky_streamdet.streaming.files import nexus, verdict
from bluesky_streamdet.streaming.files.journal import journal_of
from bluesky_streamdet.streaming.files.reader import open_to_read
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
    accounts. journal: whether parameters that came late still lie beside the file.
    """

    path: Path
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

    @property
    def complete(self) -> bool:
        return all(one is Outcome.COMPLETE for one in (self.outcome, *(one.outcome for one in self.earlier)))

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
        if self.outcome is None:
            return (
                f"not closed: {self.readable} frames are readable. The service is still writing it, or died; "
                "then the rest is lost, and restarting the service marks the series as interrupted."
            )
        said = f"{self.outcome}: {self.reason}" if self.reason else str(self.outcome)
        bad = [f"{one.series} is {one.outcome}" for one in self.earlier if one.outcome is not Outcome.COMPLETE]
        return f"{said}; of the series before, {', '.join(bad)}" if bad else said


def inspect(path: Path) -> FileReport:
    """Read what a file says of itself. Raises `NotOurFile`."""
    try:
        with open_to_read(path) as file:
            return _report(path, file)
    except FileNotFoundError as error:
        raise NotOurFile(f"There is no file {path}.") from error
    except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        # Whatever another program calls data, or a crash has left.
        raise NotOurFile(
            f"{path} can't be read as a series of frames: {error}.", "It is no HDF5 file, or another program wrote it."
        ) from error


def _report(path: Path, file: h5py.File) -> FileReport:
    instrument = file["/entry/instrument"]
    detector = next((name for name, group in instrument.items() if _is_detector(group)), None)
    if detector is None:
        raise ValueError("it has no NXdetector")
    # A group may have several names; its own is in it.
    detector = _text(file, f"{nexus.detector_group(detector)}/local_name") or detector
    group = instrument[detector]
    data = file[nexus.DATA]
    event = int(data.attrs.get(nexus.EVENT_ATTRIBUTE, 1))
    numbers, readable = _numbers(group, data, event)
    last, earlier = _accounts(file, detector)
    return FileReport(
        path=path,
        detector=detector,
        readable=readable,
        shape=data.shape[2:] if event > 1 else data.shape[1:],
        dtype=str(data.dtype),
        filters=_filters(data),
        nbytes=path.stat().st_size,
        first_number=numbers[0] if readable else None,
        last_number=numbers[1] if readable else None,
        frames_per_event=event,
        earlier=earlier,
        growable="series" in file[nexus.collection_group(detector)],
        journal=journal_of(path).exists(),
        **last,
    )


def _accounts(file: h5py.File, detector: str) -> tuple[dict[str, Any], list[Account]]:
    """What is said of the last series, and the accounts of those before it."""
    collection = nexus.collection_group(detector)
    outcome = _text(file, f"{collection}/outcome")
    last = {
        "series": _text(file, nexus.IDENTIFIER) or "",
        "started_at": _time(file, f"{collection}/series_start") or _time(file, "/entry/start_time"),
        "ended_at": _time(file, "/entry/end_time"),
        "outcome": Outcome(outcome) if outcome else None,
        "reason": _text(file, f"{collection}/reason") or "",
        "ledger": verdict.read_ledger(file, detector) if outcome else None,
    }
    earlier = verdict.read_accounts(file, detector)
    if earlier and earlier[-1].series == last["series"]:
        # Another series was about to follow it, and never did.
        *earlier, account = earlier
        last = account.model_dump(exclude={"first_row", "frames"})
    last["first_row"] = sum(one.frames for one in earlier)
    return last, earlier


def _numbers(group: h5py.Group, data: h5py.Dataset, event: int) -> tuple[list[int], int]:
    """The first and the last frame's number, none if there are no frames; and how many frames there are."""
    column, times = group["sequence_number"], group["receive_time"]
    readable = min(data.shape[0], column.shape[0], times.shape[0])
    if event > 1 and readable:
        # The last event may have some of its frames only; the others came at no time.
        readable = (readable - 1) * event + int(np.count_nonzero(times[readable - 1]))
    ends = (0, readable - 1) if readable else ()
    return [int(column[divmod(one, event) if event > 1 else one]) for one in ends], readable


def _filters(data: h5py.Dataset) -> list[str]:
    properties = data.id.get_create_plist()
    described = [properties.get_filter(index) for index in range(properties.get_nfilters())]
    return [f"{number}: {name.decode(errors='replace').partition(';')[0]}" for number, _, _, name in described]


def _is_detector(group: Any) -> bool:
    return isinstance(group, h5py.Group) and group.attrs.get("NX_class") == "NXdetector"


def _text(file: h5py.File, name: str) -> str | None:
    dataset = file.get(name)
    return dataset.asstr()[()] if isinstance(dataset, h5py.Dataset) else None


def _time(file: h5py.File, name: str) -> datetime | None:
    text = _text(file, name)
    return datetime.fromisoformat(text) if text else None
