from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bluesky_streamdet.core.events import RAW, Frame, FrameFormat
from bluesky_streamdet.streaming.statistics import SeriesStatistics
from bluesky_streamdet.streaming.status import Statistics

FORM = FrameFormat((10, 50), "<u2", RAW, (10, 50))
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def frames(*at: float, first: int = 0) -> list[Frame]:
    """Frames of 1000 bytes that came so many seconds after the start."""
    return [
        Frame(first + number, None, None, FORM, (bytes(1000),), START + round(seconds * SECOND))
        for number, seconds in enumerate(at)
    ]


def test_nothing_came() -> None:
    assert SeriesStatistics().report() == Statistics()


def test_rates_are_means_from_the_first_frame_to_the_last() -> None:
    clock = Clock()
    statistics = SeriesStatistics(clock)
    for batch in (frames(0, 1, first=375), frames(2, 3, 4, first=377)):
        assert statistics.came(batch) == 1000 * len(batch)
        statistics.wrote(batch)
    clock.now += 5 * SECOND
    statistics.readable(5)

    report = statistics.report()
    assert (report.first_number, report.last_number) == (375, 379)
    assert (report.first_frame_at, report.last_frame_at) == (
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        datetime(2023, 11, 14, 22, 13, 24, tzinfo=UTC),
    )
    assert (report.bytes_received, report.bytes_written) == (5000, 5000)
    # Five frames in four intervals of a second; readable a second after the last one had come.
    assert report.received_per_second == pytest.approx(1.0)
    assert report.received_megabytes_per_second == pytest.approx(0.001)
    assert report.written_per_second == pytest.approx(1.0)


def test_what_is_not_readable_is_not_written() -> None:
    statistics = SeriesStatistics(Clock())
    batch = frames(0, 1, 2)
    statistics.came(batch)
    statistics.wrote(batch)
    assert statistics.report().bytes_written == 0

    statistics.readable(3)
    other = frames(3, 4, first=3)
    statistics.came(other)
    statistics.wrote(other[:1])
    statistics.readable(4)
    assert statistics.report().bytes_written == 4000
    assert statistics.report().bytes_received == 5000


@pytest.mark.parametrize("at", [(0.0,), (0.0, 0.0), (5.0, 3.0)])
def test_no_time_between_frames_and_clocks_that_are_set_back(at: tuple[float, ...]) -> None:
    statistics = SeriesStatistics(Clock())
    statistics.came(frames(*at))

    assert statistics.report().received_per_second == 0.0
    assert statistics.report().bytes_received == 1000 * len(at)


def test_frames_that_waited_for_others_do_not_turn_time_back() -> None:
    statistics = SeriesStatistics(Clock())
    statistics.came(frames(0.0, 9.0))
    statistics.came(frames(1.0, 2.0, first=2))

    assert statistics.report().received_per_second == pytest.approx(3 / 9, abs=1e-3)
