"""What clients of the PCO's old writer are told of a series, in its words."""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import Any, NamedTuple

from bluesky_streamdet.core.ledger import LISTED_RANGES
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport

YES = "True"
"""How the old writer said so; its supervisor said true."""
UNKNOWN = "unknown"
NOBODY = -1
"""User id of files that belong to whom the service runs as, and number of a first frame that has not come."""


class Asked(NamedTuple):
    """What a client had said of a series, as it is told again."""

    output_file: str
    dataset_name: str
    user_id: int


class Account:
    """Tells of the series that runs, or of the last one, whoever had it armed.

    refused: whether the last one that a client wanted was not started, so that nobody takes the one before for it.
    """

    def __init__(self, board: StatusBoard) -> None:
        self.refused = False
        self._board = board
        self._id, self._asked = "", Asked("", "", NOBODY)

    def note(self, id: str, asked: Asked) -> None:
        """A client has started series `id`."""
        self._id, self._asked, self.refused = id, asked, False

    @property
    def runs(self) -> SeriesReport | None:
        """The series that is armed or runs."""
        return self._board.status.series

    @property
    def state(self) -> str:
        """Receiving until the last frame has come, then writing; finished or error behind its end."""
        status = self._board.status
        if status.series is not None:
            return "writing" if status.state is State.FINISHING else "receiving"
        if self.refused:
            return "error"
        if status.last_series is None:
            return UNKNOWN
        return "error" if why_failed(status.last_series) else "finished"

    def statistics(self) -> dict[str, Any]:
        """As the writer told them: numbers as such."""
        series = self.runs or self._board.status.last_series or SeriesReport(id="", detector="")
        first, rates = series.statistics.first_number, series.statistics
        return {
            "success": YES,
            "status": self.state,
            "n_frames": series.ledger.expected or 0,
            "n_received_frames": series.ledger.unique,
            "n_written_frames": series.ledger.written,
            "n_lost_frames": lost(series.ledger),
            "first_frame_id": NOBODY if first is None else first,
            "user_id": self._asked_of(series).user_id,
            "start_time": ctime(series.started_at or series.armed_at),
            "end_time": ctime(series.ended_at),
            "receiving_rate": rates.received_per_second,
            "writing_rate": rates.written_per_second,
        }

    def summary(self) -> dict[str, Any] | None:
        """Of the last series, as the supervisor told it: all values as texts. None while one runs, or none has."""
        series = self._board.status.last_series
        if series is None or self.runs is not None or self.refused:
            return None
        said, asked = self.statistics(), self._asked_of(series)
        began, ended = series.started_at or series.armed_at, series.ended_at
        seconds = (ended - began).total_seconds() if began is not None and ended is not None else 0.0
        names = ("n_frames", "n_written_frames", "n_lost_frames", "first_frame_id", "user_id", "writing_rate")
        return {
            **{name: str(said[name]) for name in names},
            "start_time": said["start_time"],
            "end_time": said["end_time"],
            "duration_sec": f"{math.ceil(max(seconds, 0.0) * 100) / 100:.2f}",
            "output_file": asked.output_file,
            "dataset_name": asked.dataset_name,
            "status": said["status"],
            "success": True,
        }

    def _asked_of(self, series: SeriesReport) -> Asked:
        if series.id == self._id:
            return self._asked
        # Somebody else had it armed, or the service was started since.
        name = "" if series.data is None else series.data.dataset.rpartition("/")[2]
        return Asked(series.file or "", name, NOBODY)


def why_failed(series: SeriesReport) -> str:
    """Why a series that has ended does not hold what came; empty when it does. What never came is no failure."""
    if series.outcome is Outcome.INTERRUPTED or series.ledger.failed:
        return series.reason or f"The series was {series.outcome}."
    return ""


def lost(ledger: LedgerReport) -> int:
    """Frames that the camera has numbered and that never came. Those that it may not have sent yet are none.

    Of a series with more gaps than are listed, all that are missing of what was expected.
    """
    if len(ledger.missing_ranges) >= LISTED_RANGES:
        return ledger.missing
    return sum(last - first + 1 for first, last in ledger.missing_ranges)


def ctime(when: datetime | float | None) -> str:
    """As C's function has it, in local time and with a line end; 1970 for what has not been."""
    seconds = when.timestamp() if isinstance(when, datetime) else when or 0.0
    return time.ctime(seconds) + "\n"
