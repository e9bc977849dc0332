"""One series in several files of as many frames each, and a master that shows them as one.

Frames are in the files in the order in which they came, whatever their numbers are, so that a lost or late one at the
border of two files is nothing special. Each file is whole by itself: with settings, parameters and an account of its
own. It is closed before the next one is opened, and nothing touches it afterwards.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bluesky_streamdet.core.errors import StreamdetError, WriteFailed
from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.failing import REFUSALS
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.ownership import UNCHANGED, Ownership
from bluesky_streamdet.streaming.files.several.master import write_master
from bluesky_streamdet.streaming.files.several.mould import Mould
from bluesky_streamdet.streaming.files.several.naming import Name
from bluesky_streamdet.streaming.files.several.parts import Part
from bluesky_streamdet.streaming.files.several.sources import Share, Source, read_source
from bluesky_streamdet.streaming.status import DatasetReport, LedgerReport, SeriesReport

log = logging.getLogger(__name__)

MASTER_SHARE = 20
"""While a series runs, the master is written again after so many times as long as it took the last time at least."""


class Rolling(NamedTuple):
    """Where a series of several files goes. path: of the master. name: of the files beside it. frames: of each."""

    path: Path
    name: Name
    frames: int

    def part(self, index: int) -> Path:
        """The path of a file, which count from 1."""
        return self.path.with_name(Path(self.name.file(index)).name)


class RollingFile:
    """The files of one series, as `SeriesFile` is its only one.

    make: the file of a part, not opened yet. layout: what that of the files is called. replace: files that are there.
    rows, readable: frames of all of them. Raises `WriteFailed` from each method when the file system or HDF5 refuses,
    or when the next file is there already; the parts before stay good.
    """

    def __init__(
        self,
        rolling: Rolling,
        detector: str,
        series: str,
        make: Callable[[Path, Part], SeriesFile],
        *,
        layout: str = "nexus",
        replace: bool = False,
        ownership: Ownership = UNCHANGED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = rolling.path
        self.is_open = False
        self.layout = layout
        self._rolling = rolling
        self._detector = detector
        self._series = series
        self._make = make
        self._replace = replace
        self._ownership = ownership
        self._clock = clock
        self._closed: list[Path] = []
        self._known: dict[Path, Source] = {}
        self._before = 0
        self._part: SeriesFile | None = None
        self._opening: tuple[Frame, datetime, Mapping[str, Any]] | None = None
        self._parameters: dict[str, Any] = {}
        self._mould = Mould()
        self._late: dict[str, Any] = {}
        self._keep: int | None = None
        self._shown_at = self._showing = 0.0

    @property
    def rows(self) -> int:
        return self._before + (self._part.rows if self._part is not None else 0)

    @property
    def readable(self) -> int:
        return self._before + (self._part.readable if self._part is not None else 0)

    @property
    def data(self) -> DatasetReport | None:
        """Of the first part; the master has its frames at the same place."""
        return self._data

    _data: DatasetReport | None = None

    @property
    def parts(self) -> list[Path]:
        """The files that have been opened so far."""
        return self._closed if self._part is None else [*self._closed, self._part.path]

    @property
    def in_place(self) -> bool:
        """Whether the part that is open is still where it was."""
        return self._part is None or self._part.in_place

    def wanting(self, parameters: Mapping[str, Any]) -> str:
        """Which parameters the layout requires that are not among these, in words; empty for none."""
        return self._part.wanting(parameters) if self._part is not None else ""

    def open(
        self, first: Frame, started: datetime, metadata: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Create the first part. Raises `FileTaken` for one that is there, unless asked to replace it."""
        # All parts get the columns that the first frame calls for; its pixels need not be kept for that.
        self._opening = (msgspec.structs.replace(first, parts=()), started, metadata)
        self._parameters = dict(parameters or {})
        self._open_part()
        self.is_open = True
        if self._replace:
            # The old master would show files that are no longer those that it was made of.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _open_part(self) -> None:
        assert self._opening is not None
        index = len(self._closed) + 1
        part = self._make(self._rolling.part(index), Part(index, self._before, self.path.name))
        first, started, metadata = self._opening
        # Many series have one part only, which need not be like any other.
        mould = None if index == 1 else self._mould
        part.open(first, started, metadata, self._parameters, mould)
        self._late = {}
        self._part = part
        self._data = self._data or part.data

    def accepts(self, frame: Frame) -> bool:
        """Whether the frame is of the kind that the files were opened for."""
        assert self._opening is not None
        form = self._opening[0].format
        return frame.format is form or frame.format == form

    def write(self, frames: Sequence[Frame]) -> None:
        """Append frames of one format, in this order. When it fails, those before are in the parts that are full."""
        most = self._rolling.frames
        while frames:
            if self._part is None or self._part.rows >= most:
                self._roll_over()
            assert self._part is not None
            room = most - self._part.rows
            self._part.write(frames[:room])
            frames = frames[room:]

    def _roll_over(self) -> None:
        """Close the part that is full, and open the next one."""
        if self._part is not None:
            full = self._part
            full.close(self._own_report(full, Outcome.COMPLETE), self._late)
            self._part = None
            self._get_to_know(full.path)
            self._closed.append(full.path)
            self._before += full.rows
        try:
            self._open_part()
        except WriteFailed:
            raise
        except StreamdetError as error:
            raise WriteFailed(error.message, "The frames before are in the files before. " + error.hint) from error
        self._show()

    def _get_to_know(self, path: Path) -> None:
        """Read what the master needs to know of a part, so that this does not take long when there are thousands."""
        with suppress(*REFUSALS):  # the master will say what is the matter
            like = self._known.get(self._closed[-1]) if self._closed else None
            self._known[path] = read_source(Share(path, self._series), like)

    def _show(self) -> None:
        """Let the master show the parts that are closed."""
        began = self._clock()
        if began - self._shown_at < MASTER_SHARE * self._showing:
            return
        try:
            self._write_master(self._closed, None)
        except StreamdetError as error:
            log.warning("%s", error)
        self._shown_at = self._clock()
        self._showing = self._shown_at - began

    def _write_master(self, parts: Sequence[Path], report: SeriesReport | None) -> None:
        shares = [Share(one, self._series) for one in parts]
        write_master(
            self.path,
            shares,
            series=self._series,
            report=report,
            most=self._keep,
            replace=self._replace,
            ownership=self._ownership,
            known=self._known,
        )
        self._replace = True  # it is ours now

    def note(self, parameters: Mapping[str, Any]) -> None:
        """Keep parameters that came late beside the part that is open. Raises `OSError`."""
        if self._part is not None:
            self._part.note(parameters)
            self._late.update(parameters)
        self._parameters.update(parameters)
        self._mould = Mould()

    def flush(self) -> int:
        """Make all that was written readable by other processes; return how many frames that is."""
        if self._part is not None:
            self._part.flush()
        return self.readable

    def cut(self, rows: int) -> None:
        """Show so many frames. Parts that are closed keep what they have."""
        self._keep = rows
        if self._part is not None:
            self._part.cut(max(0, rows - self._before))

    def forget_unflushed(self) -> int:
        """After a failure: count on nothing but what was readable before. Returns how many frames that gives up."""
        return self._part.forget_unflushed() if self._part is not None else 0

    def close(self, report: SeriesReport, late: Mapping[str, Any]) -> None:
        """Write the accounts, of the last part and of all together, and close the files. late: was noted already."""
        if not self.is_open:
            return
        self.is_open = False
        try:
            if self._part is not None:
                self._part.close(self._own_report(self._part, report.outcome, report.reason), self._late)
        finally:
            parts = self.parts if self._part is not None and self._part.rows else self._closed
            if parts:
                self._write_master(parts, report)

    def _own_report(self, part: SeriesFile, outcome: Outcome | None, reason: str = "") -> SeriesReport:
        """What a part says of itself: what it has; the account of the series is in the master."""
        assert self._opening is not None
        own = f"file {len(self._closed) + 1} of a series, of which {self.path.name} has the whole account"
        rows = part.rows
        return SeriesReport(
            id=self._series,
            detector=self._detector,
            file=str(part.path),
            started_at=self._opening[1],
            ended_at=datetime.now(UTC),
            outcome=outcome,
            reason="; ".join(one for one in (reason, own) if one),
            ledger=LedgerReport(expected=rows, received=rows, unique=rows, written=rows),
        )
