"""The figures of one run of a writer, by the names that scripts know."""

from __future__ import annotations

from datetime import datetime

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.remote.settings import ByName, WriterSettings
from bluesky_streamdet.service.remote.state import WriterStatus, lost_frames
from bluesky_streamdet.streaming.status import SeriesReport


class RunStatistics(ByName):
    """Of one series, while it runs or after it.

    n_frames: asked for; 0 when nobody said. first_frame_id: the detector's number of the first frame. n_lost_frames:
    those that are missing, failed, malformed or discarded. Rates: frames/s, and 10⁶ bytes/s; start_time, duration_sec:
    from the first frame. success: it is complete. reason: why it is not.
    dataset: path of the frames in the file. dataset_name, user_id: as asked for by this client, otherwise unknown.
    """

    series: str
    status: WriterStatus
    success: bool
    reason: str = ""
    output_file: str | None = None
    dataset: str | None = None
    dataset_name: str | None = None
    user_id: int | None = None
    n_frames: int = 0
    n_received_frames: int = 0
    n_written_frames: int = 0
    n_lost_frames: int = 0
    first_frame_id: int | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    duration_sec: float | None = None
    receiving_rate: float = 0.0
    receiving_megabytes_per_second: float = 0.0
    writing_rate: float = 0.0
    writing_megabytes_per_second: float = 0.0


def statistics_of(report: SeriesReport, word: WriterStatus, asked: WriterSettings | None = None) -> RunStatistics:
    """asked: what the series was asked for, where this client did."""
    ledger, figures = report.ledger, report.statistics
    start = figures.first_frame_at or report.started_at
    end = report.ended_at
    return RunStatistics(
        series=report.id,
        status=word,
        success=report.outcome is Outcome.COMPLETE,
        reason=report.reason,
        output_file=report.file,
        dataset=report.data.dataset if report.data is not None else None,
        dataset_name=asked.dataset_name if asked is not None else None,
        user_id=asked.user_id if asked is not None else None,
        n_frames=ledger.expected or 0,
        n_received_frames=ledger.received,
        n_written_frames=ledger.written,
        n_lost_frames=lost_frames(report),
        first_frame_id=figures.first_number,
        start_time=start,
        end_time=end,
        duration_sec=(end - start).total_seconds() if start is not None and end is not None else None,
        receiving_rate=figures.received_per_second,
        receiving_megabytes_per_second=figures.received_megabytes_per_second,
        writing_rate=figures.written_per_second,
        writing_megabytes_per_second=figures.written_megabytes_per_second,
    )
