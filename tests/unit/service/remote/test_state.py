from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.remote.settings import WriterSettings
from bluesky_streamdet.service.remote.state import (
    Patience,
    WriterStatus,
    account,
    log_line,
    lost_frames,
    progress_message,
    series_in,
    status_of,
)
from bluesky_streamdet.service.remote.statistics import statistics_of
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport, Statistics, Status


def series(outcome: Outcome | None = None, **ledger: Any) -> SeriesReport:
    return SeriesReport(
        id="one",
        detector="pco",
        file="/data/one.h5",
        outcome=outcome,
        armed_at=datetime(2026, 1, 1, tzinfo=UTC),
        started_at=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC),
        ended_at=datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC) if outcome is not None else None,
        ledger=LedgerReport(**ledger),
    )


def service(state: Any = State.RUNNING) -> Status:
    return Status(detector="pco", state=state)


@pytest.mark.parametrize(
    ("state", "report", "asked", "word"),
    [
        (State.ARMED, series(), None, "receiving"),
        (State.RUNNING, series(), None, "receiving"),
        (State.FINISHING, series(), None, "writing"),
        (State.FINISHING, series(), WriterStatus.STOPPING, "stopping"),
        (State.RUNNING, series(), WriterStatus.KILLING, "killing"),
        ("error", series(), None, "error"),
        (State.IDLE, series(Outcome.COMPLETE), WriterStatus.STOPPING, "finished"),
        (State.RUNNING, series(Outcome.INCOMPLETE, missing=3), None, "finished"),
        (State.IDLE, series(Outcome.ABORTED), WriterStatus.KILLING, "finished"),
        (State.IDLE, series(Outcome.INTERRUPTED), None, "error"),
        (State.IDLE, series(Outcome.INCOMPLETE, failed={"write_failed": 1}), None, "error"),
    ],
)
def test_the_word_for_a_series(state: Any, report: SeriesReport, asked: WriterStatus | None, word: str) -> None:
    assert status_of(service(state), report, asked) == word


def test_a_series_is_found_where_it_is() -> None:
    status = Status(detector="pco", series=series(), last_series=series().model_copy(update={"id": "zero"}))

    assert [getattr(series_in(status, id), "id", None) for id in ("one", "zero", "two")] == ["one", "zero", None]


def test_progress_in_words() -> None:
    word = WriterStatus.RECEIVING
    of_twenty = series(expected=20, received=13, unique=12, duplicate=1, written=10)

    assert progress_message(word, of_twenty) == "Writer: receiving, #received:   12 (60.0%), #written:   10 (50.0%)"
    assert progress_message(word, series(unique=5)) == "Writer: receiving, #received:    5, #written:    0"
    assert progress_message(word, series(expected=0)) == "Writer: receiving, #received:    0, #written:    0"
    assert progress_message(WriterStatus.CONFIGURED, None) == "Writer: configured"


def test_what_is_still_to_come_is_not_lost() -> None:
    counts: dict[str, Any] = {"missing": 90, "missing_ranges": [(3, 4), (7, 7)], "failed": {"x": 2}, "malformed": {}}

    assert lost_frames(series(**counts)) == 5
    assert lost_frames(series(Outcome.INCOMPLETE, **counts)) == 92


def test_a_series_in_a_line() -> None:
    report = series(Outcome.INCOMPLETE, expected=5, written=4).model_copy(update={"reason": "1 frame is missing"})

    assert log_line(report) == (
        "2026-01-01 00:00:03 series one incomplete: 1 frame is missing. 4 of 5 frames are readable in /data/one.h5."
    )
    assert log_line(SeriesReport(id="two", detector="pco")) == "- series two runs. 0 frames are readable."
    assert account(series()) == "0 frames are readable in /data/one.h5."


def test_figures() -> None:
    report = series(Outcome.COMPLETE, expected=5, received=5, unique=5, written=5).model_copy(
        update={"statistics": Statistics(first_number=375, written_per_second=2.5)}
    )
    asked = WriterSettings().changed(output_file="one.h5", user_id=503)
    figures = statistics_of(report, WriterStatus.FINISHED, asked)

    assert figures.success
    assert (figures.n_frames, figures.n_written_frames, figures.n_lost_frames, figures.first_frame_id) == (5, 5, 0, 375)
    assert (figures.duration_sec, figures.writing_rate, figures["user_id"]) == (2.0, 2.5, 503)
    assert dict(figures)["dataset_name"] == "data"
    assert statistics_of(series(), WriterStatus.RECEIVING).duration_sec is None


def test_a_wait_without_limits_has_none() -> None:
    patience = Patience(0.0)

    assert patience.left(1e9) is None
    assert not patience.timed_out(1e9)
    assert not patience.inactive(1e9)


def test_frames_are_what_keeps_a_wait_alive() -> None:
    patience = Patience(0.0, timeout=100.0, inactivity=10.0)
    patience.note(1, 9.0)
    assert patience.left(10.0) == 9.0
    patience.note(1, 18.0)
    assert not patience.inactive(18.9)
    assert patience.inactive(19.0)
    patience.note(2, 19.0)
    assert not patience.inactive(19.0)
    assert patience.left(95.0) == 0.0
    patience.note(3, 95.0)
    assert patience.left(95.0) == 5.0
    assert not patience.timed_out(99.9)
    assert patience.timed_out(100.0)
