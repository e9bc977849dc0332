"""What belongs to which series, and what to none, by example."""

from __future__ import annotations

import pytest

from bluesky_streamdet.core.events import SeriesEnd, SeriesStart
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Limits, Outcome
from tests.unit.core.station import COMPLETE, Station, bare, message, named
from tests.unit.core.streams import frame

# Headers.


def test_frames_whose_header_was_lost_are_kept_and_what_came_before_them_is_missing() -> None:
    station = Station()
    station.numbered("13:2 14:3")
    assert (station.sink.series, station.receiver.state) == ([], State.RUNNING)
    station.wait(1.0)
    assert station.sink.numbers == [[2, 3]]
    station.numbered("15:4 16:e")
    station.wait(2.0)
    assert station.outcomes == [(Outcome.INCOMPLETE, "the header was lost; 2 frames are missing (numbers 0-1)")]


def test_a_lost_header_and_nothing_else() -> None:
    station = Station()
    station.receive(*named("7", 0, 1), SeriesEnd("7"))
    station.wait(0.2)
    assert (station.sink.numbers, station.outcomes) == ([[0, 1]], [(Outcome.COMPLETE, "the header was lost")])


def test_a_header_may_be_overtaken_by_its_frames() -> None:
    station = Station()
    station.arm()
    station.numbered("11:0 12:1")
    station.now += 0.5
    station.numbered("10:h 13:2 14:e")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1, 2]], [COMPLETE])
    assert station.sink.starts == [SeriesStart(None, 10)]
    assert station.sink.series[0].id == "armed"


def test_a_header_that_announces_as_many_frames_as_have_overtaken_it() -> None:
    station = Station()
    station.numbered("12:1 11:0")
    station.receive(SeriesStart(None, 10, frames=2))
    assert (station.sink.numbers, station.outcomes) == ([[0, 1]], [COMPLETE])


def test_another_header_is_none_for_the_frames_before_it() -> None:
    station = Station()
    station.numbered("11:0 12:1 20:h 21:0 22:e")
    assert (station.sink.numbers, station.sink.starts) == ([[0, 1], [0]], [None, SeriesStart(None, 20)])


def test_the_same_header_twice_begins_one_series() -> None:
    station = Station()
    station.numbered("10:h 10:h 11:0 12:e")
    assert (station.sink.numbers, station.outcomes) == ([[0]], [COMPLETE])


def test_the_same_header_after_a_stop_begins_another_series() -> None:
    """Senders that do not number their messages send the same header for each series."""
    station = Station()
    station.receive(SeriesStart())
    station.stop()
    station.receive(SeriesStart(), *bare(0, 1), SeriesEnd())
    station.wait(1)
    assert station.sink.numbers == [[], [0, 1]]
    assert station.outcomes[1] == COMPLETE


def test_another_header_in_the_same_place_begins_another_series() -> None:
    """The detector was set up once more, or its sender was started again."""
    station = Station()
    station.receive(SeriesStart(None, 10, metadata={"count_time": 1.0}))
    station.receive(SeriesStart(None, 10, metadata={"count_time": 2.0}))
    station.numbered("11:0 12:e")
    assert station.sink.numbers == [[], [0]]
    assert station.sink.starts[-1] == SeriesStart(None, 10, metadata={"count_time": 2.0})


def test_a_header_ends_the_series_before_it() -> None:
    """Detectors that are aborted send no end."""
    station = Station()
    station.numbered("10:h 11:0 12:1 13:h 14:0 15:e")
    assert (station.sink.numbers, station.outcomes[1]) == ([[0, 1], [0]], COMPLETE)
    assert station.outcomes[0] == (Outcome.COMPLETE, "the next series began before the end of this one")


def test_a_sender_that_starts_again_ends_the_series_before_it() -> None:
    station = Station()
    station.numbered("100:h 101:0 103:2 0:h 1:0 2:1 3:e")
    assert station.sink.numbers == [[0, 2], [0, 1]]


def test_a_header_may_come_before_the_last_frames_of_the_series_before_it() -> None:
    """The order in which a receiver with two sockets once lost a series."""
    station = Station()
    station.numbered("0:h 1:0 4:h 2:1 3:e 5:0 6:e")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1], [0]], [COMPLETE, COMPLETE])


def test_frames_of_the_next_series_may_come_before_the_end_of_this_one() -> None:
    station = Station()
    station.numbered("0:h 1:0 5:0 2:1 3:e 4:h 6:e")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1], [0]], [COMPLETE, COMPLETE])


def test_a_frame_of_the_next_series_does_not_make_up_for_one_that_is_missing() -> None:
    station = Station()
    station.arm(expected=2)
    station.numbered("0:h 1:0 5:0")
    assert station.receiver.state is State.RUNNING
    station.numbered("2:1 3:e 4:h 6:e")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1], [0]], [COMPLETE, COMPLETE])


def test_the_next_series_waits_no_longer_than_for_a_gap() -> None:
    station = Station()
    station.numbered("0:h 1:0 9:h 10:0 19:h 20:0 21:e")
    station.wait(1.0)
    station.wait(0.0)
    station.wait(0.0)
    assert station.sink.numbers == [[0], [0], [0]]
    missing = [(series.ledger.missing, series.ledger.missing_ranges) for series in station.sink.series]
    assert missing == [(7, [(1, 7)]), (8, [(1, 8)]), (0, [])]


def test_the_next_series_waits_in_no_more_memory_than_a_gap_may_hold() -> None:
    station = Station(Limits(gap_bytes=5000))
    station.numbered("0:h 1:0 9:h 10:0")
    for position in range(11, 30):
        station.numbered(f"{position}:{position - 10}")
    assert station.sink.numbers[0] == [0]
    assert station.sink.numbers[1] == list(range(20))


def test_abort_of_a_series_lets_the_next_begin() -> None:
    station = Station()
    station.numbered("0:h 1:0 9:h 10:0")
    station.sink.take(station.receiver.abort())
    assert station.sink.numbers == [[0], [0]]
    assert station.receiver.state is State.RUNNING


def test_the_late_end_of_an_earlier_series_is_none_of_this_one() -> None:
    station = Station()
    station.arm(expected=2)
    station.numbered("0:h 1:0 2:1 4:h 3:e 5:0")
    assert station.receiver.state is State.RUNNING
    station.numbered("6:1 7:e")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1], [0, 1]], [COMPLETE, COMPLETE])


# Series that frames name.


def test_frames_of_another_series_are_counted_and_not_written() -> None:
    station = Station()
    station.receive(SeriesStart("6", -1), *named("6", 0), SeriesEnd("6"))
    station.wait(1)
    station.receive(SeriesStart("7", -1), *named("7", 0), *named("6", 1), *named("5", 3), *named("7", 1))
    assert station.sink.numbers == [[0], [0, 1]]
    assert station.sink.series[1].ledger.foreign == {"of another series": 2}


def test_frames_of_a_later_series_whose_header_was_lost_begin_it() -> None:
    station = Station()
    station.receive(SeriesStart("7", -1), *named("7", 0), *named("8", 0), *named("7", 1), *named("8", 1))
    station.wait(0.2)
    station.wait(1.0)
    assert station.sink.numbers == [[0, 1], [0, 1]]
    assert station.outcomes == [(Outcome.COMPLETE, "the next series began before the end of this one")]
    assert station.sink.series[1].key == "8"


def test_names_that_are_no_numbers_have_no_order() -> None:
    station = Station()
    station.receive(SeriesStart("b", -1), *named("c", 0), *named("9" * 5000, 0), *named("b", 0))
    assert station.sink.numbers == [[0]]
    assert station.sink.series[0].ledger.foreign == {"of another series": 2}


def test_a_detector_that_was_restarted_names_its_series_anew() -> None:
    """As the frames lie in the receiver's queue: the header of a name that it knows, and its frames at once."""
    station = Station()
    station.receive(SeriesStart("1", 0), frame(0, 1, "1"), SeriesEnd("1", 2), SeriesStart("2", 3), frame(0, 4, "2"))
    station.receive(SeriesStart("1", 0, frames=2), frame(0, 1, "1"), frame(1, 2, "1"), SeriesEnd("1", 3))
    station.wait(1.0)
    assert station.sink.numbers == [[0], [0], [0, 1]]
    assert station.outcomes[2] == COMPLETE


# What nobody wants.


@pytest.mark.parametrize("kind", ["numbered", "named", "bare"])
def test_what_still_comes_after_a_stop_begins_no_series(kind: str) -> None:
    station = Station()
    before, after = {
        "numbered": ([message("10", "h"), frame(0, 11), frame(1, 12)], [frame(2, 13), frame(0, 14)]),
        "named": ([SeriesStart("1", -1), *named("1", 0, 1)], named("1", 2, 3)),
        "bare": ([SeriesStart(), *bare(0, 1)], bare(2, 3)),
    }[kind]
    station.receive(*before)
    station.stop()
    station.wait(1)
    station.receive(*after)
    assert station.sink.numbers == [[0, 1]]
    assert station.receiver.between.foreign == {"left over from a series that closed": 2}


def test_a_new_series_whose_header_was_lost_is_no_leftover() -> None:
    station = Station()
    station.numbered("10:h 11:0 12:1")
    station.stop()
    station.wait(1)
    station.numbered("15:0 16:1 17:e")
    station.wait(2)
    assert station.sink.numbers == [[0, 1], [0, 1]]
    assert station.outcomes[1] == (Outcome.COMPLETE, "the header was lost")


@pytest.mark.parametrize("kind", ["numbered", "named", "bare"])
def test_a_series_that_nobody_armed_may_be_ignored(kind: str) -> None:
    """Also what is left of it when the next one has been armed."""
    station = Station(unarmed=False)
    ignored, rest, wanted = {
        "numbered": (
            [message("10", "h"), frame(0, 11)],
            [frame(1, 12), SeriesEnd(None, 13)],
            [message("14", "h"), frame(0, 15), SeriesEnd(None, 16)],
        ),
        "named": (
            [SeriesStart("1", -1), *named("1", 0)],
            [*named("1", 1), SeriesEnd("1")],
            [SeriesStart("2", -1), *named("2", 0), SeriesEnd("2")],
        ),
        "bare": (
            [SeriesStart(), *bare(0)],
            [*bare(1), SeriesEnd()],
            [SeriesStart(), *bare(0), SeriesEnd()],
        ),
    }[kind]
    station.receive(*ignored)
    station.arm()
    station.receive(*rest)
    assert station.receiver.state is State.ARMED
    station.receive(*wanted)
    station.wait(1)
    assert (station.sink.numbers, station.outcomes) == ([[0]], [COMPLETE])
    assert station.receiver.between.foreign.total() == 2


def test_what_is_malformed_behind_the_next_header_is_of_the_next_series() -> None:
    """Also while the series before waits for frames that never come."""
    station = Station()
    station.numbered("10:h 11:0 13:2")
    station.numbered("15:h 16:0")
    station.receiver.malformed("noise", station.now)
    station.numbered("18:2 19:e")
    station.wait(2.0)

    ledgers = [one.ledger for one in station.sink.series]
    assert [one.malformed for one in ledgers] == [{}, {"noise": 1}]
    assert [one.received for one in ledgers] == [2, 3]


def test_malformed_messages_count_where_they_come() -> None:
    station = Station()
    station.receiver.malformed("noise", 0.0)
    station.numbered("10:h 11:0")
    station.receiver.malformed("noise", 0.0)
    station.numbered("13:e")
    station.wait(2)
    assert station.receiver.between.malformed == {"noise": 1}
    ledger = station.sink.series[0].ledger
    assert (ledger.malformed, ledger.received, ledger.missing) == ({"noise": 1}, 2, 1)
    assert station.outcomes[0][0] is Outcome.INCOMPLETE


def test_a_sender_that_starts_again_without_a_header() -> None:
    """Positions that came before, with other numbers: all is written, and counted as late."""
    station = Station()
    station.numbered("100:h 101:0 102:1 0:0 1:1 101:7 103:2 104:e")
    series = station.sink.series[0]
    assert (station.sink.numbers, series.ledger.late) == ([[0, 1, 0, 1, 7, 2]], 3)
    assert series.ledger.duplicate == 0
