"""Streams in which no message announces a series: what begins one, and what ends it."""

from __future__ import annotations

import pytest

from bluesky_streamdet.core.events import SeriesEnd
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Limits, Outcome
from tests.unit.core.station import COMPLETE, Station, bare
from tests.unit.core.streams import Frame, frame

NEXT = (Outcome.COMPLETE, "the next series began before the end of this one")
QUIET = (Outcome.COMPLETE, "no data for 30 s")


def station(limits: Limits | None = None) -> Station:
    return Station(limits, announced=False)


def scan(name: str, *numbers: int) -> list[Frame]:
    return [frame(number, None, name) for number in numbers]


def test_the_first_frame_begins_a_series_whatever_its_number() -> None:
    one = station()
    one.receive(*bare(375, 376))
    assert one.sink.starts == []
    one.wait(0.2)
    assert (one.sink.starts, one.sink.numbers) == ([None], [[375, 376]])
    one.receive(*bare(377))
    assert one.sink.numbers == [[375, 376, 377]]
    one.wait(30)
    assert one.outcomes == [QUIET]
    assert one.sink.series[0].ledger.missing == 0


def test_a_lost_frame_shows_as_a_gap() -> None:
    one = station()
    one.receive(*bare(375, 376, 378))
    one.wait(0.2)
    one.wait(1.0)
    one.wait(29.0)
    assert one.sink.numbers == [[375, 376, 378]]
    assert one.outcomes == [(Outcome.INCOMPLETE, "no data for 30 s; 1 frames are missing (numbers 377)")]


def test_the_first_frames_may_overtake_one_another_by_several_sockets() -> None:
    one = station()
    one.receive(*bare(7, 11))
    one.receive(*bare(5, 9))
    one.receive(*bare(8, 12))
    one.wait(0.1)
    one.receive(*bare(6, 10))
    one.wait(0.1)
    assert one.sink.numbers == [[5, 6, 7, 8, 9, 10, 11, 12]]
    assert one.sink.series[0].ledger.late == 0


def test_they_are_held_back_in_no_more_memory_than_a_gap_may_take() -> None:
    one = station(Limits(gap_bytes=5000))
    one.receive(*bare(*range(20)))
    assert one.sink.numbers == [list(range(20))]


@pytest.mark.parametrize("count", [1, 3])
def test_who_expects_so_many_need_not_wait(count: int) -> None:
    one = station()
    one.arm(expected=count)
    one.receive(*bare(*range(90, 90 + count)))
    assert (one.sink.numbers, one.outcomes) == ([list(range(90, 90 + count))], [COMPLETE])
    assert one.receiver.state is State.IDLE


def test_so_many_with_a_gap_are_not_all_that_may_come() -> None:
    """With several sockets the third may be on its way."""
    one = station()
    one.arm(expected=2)
    one.receive(*bare(5, 7))
    assert one.receiver.state is State.RUNNING
    one.receive(*bare(6))
    assert (one.sink.numbers, one.outcomes) == ([[5, 6, 7]], [COMPLETE])


def test_a_stop_takes_what_is_held() -> None:
    one = station()
    one.arm(open_ended=True)
    one.receive(*bare(5, 6))
    one.stop(expected=2)
    assert (one.sink.numbers, one.outcomes) == ([[5, 6]], [(Outcome.COMPLETE, "stopped by request")])


def test_a_camera_that_nobody_stops_counts_on_from_one_order_to_the_next() -> None:
    one = station()
    for first in (0, 2, 10):
        one.arm(expected=2)
        one.receive(*bare(first, first + 1))
    assert (one.sink.numbers, one.outcomes) == ([[0, 1], [2, 3], [10, 11]], [COMPLETE] * 3)
    assert [series.id for series in one.sink.series] == ["armed"] * 3


def test_what_it_sends_between_orders_begins_no_series() -> None:
    one = station()
    one.arm(expected=2)
    one.receive(*bare(0, 1, 2, 3))
    one.wait(29)
    one.receive(*bare(4))
    assert one.sink.numbers == [[0, 1]]
    assert one.receiver.between.foreign == {"left over from a series that closed": 3}


def test_but_after_a_silence_it_does() -> None:
    one = station()
    one.arm(expected=2)
    one.receive(*bare(0, 1, 2))
    one.wait(30)
    one.receive(*bare(7, 8))
    one.wait(0.3)
    assert one.sink.numbers == [[0, 1], [7, 8]]


def test_silence_ends_a_series_and_the_camera_may_count_on() -> None:
    one = station()
    one.receive(*bare(0, 1))
    one.wait(30)
    one.receive(*bare(2, 3))
    one.wait(30)
    assert (one.sink.numbers, one.outcomes) == ([[0, 1], [2, 3]], [QUIET, QUIET])


@pytest.mark.parametrize(
    ("first", "second", "pause"),
    [
        ([0, 1, 2], [0, 1, 2, 3], 0.0),
        ([0, 1, 2], [0, 1, 2, 3], 0.2),
        ([4, 5, 6], [5, 6, 7], 0.2),
        ([0], [0, 1], 0.0),
        # What comes at once may be of several sockets, and a lower number late.
        ([375, 376], [0, 1], 1.0),
    ],
)
@pytest.mark.parametrize("armed", [False, True])
def test_numbers_that_begin_anew_begin_a_series(first: list[int], second: list[int], pause: float, armed: bool) -> None:
    one = station()
    if armed:
        one.arm(open_ended=True)
    one.receive(*bare(*first))
    one.wait(pause)
    one.receive(*(frame(number, payload=f"new {number}") for number in second))
    one.wait(0.25)
    assert (one.sink.numbers, one.outcomes) == ([first, second], [NEXT])


def test_an_order_whose_camera_began_anew_has_not_got_its_frames() -> None:
    one = station()
    one.arm(expected=5)
    one.receive(*bare(0, 1))
    one.wait(0.2)
    one.receive(frame(0, payload="new"))
    ((outcome, reason),) = one.outcomes
    assert outcome is Outcome.INCOMPLETE
    assert "3 of 5 frames are missing" in reason


def test_a_first_frame_that_is_late_is_no_new_beginning() -> None:
    one = station()
    one.receive(*bare(376, 377))
    one.wait(0.9)
    one.receive(*bare(375, 378))
    assert one.sink.numbers == [[376, 377, 375, 378]]
    assert one.sink.series[0].ledger.late == 1


def test_a_late_frame_is_no_new_beginning() -> None:
    one = station()
    one.receive(*bare(0, 1, 3))
    one.wait(1.0)
    one.receive(*bare(2, 4))
    assert one.sink.numbers == [[0, 1, 3, 2, 4]]
    assert one.sink.series[0].ledger.late == 1


def test_a_frame_that_comes_twice_is_no_new_beginning() -> None:
    one = station()
    one.receive(*bare(0, 0, 1))
    one.wait(0.2)
    one.receive(*bare(1, 2))
    assert one.sink.numbers == [[0, 1, 2]]
    assert one.sink.series[0].ledger.duplicate == 2


def test_an_end_is_understood() -> None:
    one = station()
    one.receive(*bare(0, 1), SeriesEnd())
    one.wait(0.2)
    one.receive(*bare(2))
    one.wait(0.2)
    assert (one.sink.numbers, one.outcomes) == ([[0, 1], [2]], [COMPLETE])


def test_another_scan_is_another_series() -> None:
    one = station()
    one.receive(*scan("b", 0, 1))
    one.wait(0.2)
    one.receive(*scan("a", 2, 3), *scan("b", 2), *scan("a", 4))
    one.wait(0.2)
    one.wait(0.2)
    assert (one.sink.numbers, one.outcomes) == ([[0, 1, 2], [2, 3, 4]], [NEXT])
    one.receive(*scan("b", 3), *scan("a", 5))
    assert one.sink.series[1].ledger.foreign == {"of another series": 1}
    assert one.sink.numbers[1] == [2, 3, 4, 5]


def test_a_scan_may_fill_several_orders() -> None:
    one = station()
    for first in (0, 3):
        one.arm(expected=2)
        one.receive(*scan("a", first, first + 1, first + 2))
    assert one.sink.numbers == [[0, 1], [3, 4]]
    assert one.receiver.between.foreign == {"left over from a series that closed": 2}


def test_a_recording_of_a_scan_may_be_sent_again() -> None:
    one = station()
    one.receive(*scan("a", 0, 1))
    one.wait(0.2)
    one.receive(*(frame(number, None, "a", f"new {number}") for number in (0, 1, 2)))
    one.wait(0.2)
    assert one.sink.numbers == [[0, 1], [0, 1, 2]]


def test_where_nobody_may_begin_a_series_but_by_request_frames_are_counted() -> None:
    one = Station(unarmed=False, announced=False)
    one.receive(*bare(0, 1))
    assert one.receiver.between.foreign.total() == 2
    one.arm(expected=1)
    one.receive(*bare(2))
    assert one.sink.numbers == [[2]]
