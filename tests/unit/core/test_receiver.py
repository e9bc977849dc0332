"""When a series ends, and how, by example."""

from __future__ import annotations

import pytest

from bluesky_streamdet.core.events import SeriesEnd, SeriesStart
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from tests.unit.core.station import COMPLETE, Station, bare, message, named
from tests.unit.core.streams import frame

# The end of a series.


def test_a_series_that_is_complete_ends_at_once() -> None:
    station = Station()
    station.numbered("10:h 11:0 12:1 13:e")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1]], [COMPLETE])
    assert station.receiver.state is State.IDLE


def test_the_end_may_overtake_the_last_frames() -> None:
    station = Station()
    station.numbered("10:h 11:0 14:e")
    assert station.receiver.state is State.FINISHING
    station.numbered("13:2 12:1")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1, 2]], [COMPLETE])


def test_what_is_owed_is_awaited_no_longer_than_allowed() -> None:
    station = Station()
    station.numbered("10:h 11:0 14:e")
    station.wait(1.99)
    assert station.receiver.state is State.FINISHING
    station.wait(0.01)
    assert station.outcomes == [(Outcome.INCOMPLETE, "2 frames are missing (numbers 1-2)")]


def test_frames_that_come_after_that_are_told_from_a_new_series() -> None:
    station = Station()
    station.numbered("10:h 11:0 14:e")
    station.wait(2.0)
    station.numbered("12:1 13:2 15:h 16:0 17:e")
    assert station.sink.numbers == [[0], [0]]
    assert station.receiver.between.foreign == {"left over from a series that closed": 2}


def test_the_count_ends_a_series_without_an_endmessage() -> None:
    station = Station()
    station.arm(expected=2)
    station.numbered("10:h 11:0 12:1 13:e")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1]], [COMPLETE])


def test_a_series_that_was_announced_longer_than_it_is() -> None:
    """A detector that was aborted sends an end, which says how many came."""
    station = Station()
    station.receive(SeriesStart(None, 10, frames=100))
    station.numbered("11:0 12:1 13:e")
    assert station.outcomes == [(Outcome.INCOMPLETE, "98 of 100 frames are missing")]


def test_who_arms_may_leave_the_length_open() -> None:
    station = Station()
    station.arm(open_ended=True)
    station.receive(SeriesStart("1", -1, frames=1), *named("1", 0, 1, 2))
    assert station.receiver.state is State.RUNNING
    station.stop(expected=3)
    assert (station.sink.numbers, station.outcomes) == ([[0, 1, 2]], [(Outcome.COMPLETE, "stopped by request")])


def test_a_stop_waits_for_the_frames_that_it_names() -> None:
    station = Station()
    station.arm(open_ended=True)
    station.receive(SeriesStart("1", -1), *named("1", 0, 1))
    station.stop(expected=3)
    station.wait(0.5)
    station.receive(*named("1", 2))
    assert (station.sink.numbers, station.outcomes) == ([[0, 1, 2]], [(Outcome.COMPLETE, "stopped by request")])


def test_a_stop_that_names_none_waits_for_silence() -> None:
    station = Station()
    station.receive(SeriesStart("1", -1, frames=100_000), *named("1", 0))
    station.stop()
    station.wait(0.19)
    station.receive(*named("1", 1))
    station.wait(0.19)
    assert station.receiver.state is State.FINISHING
    station.wait(0.01)
    assert station.sink.numbers == [[0, 1]]
    assert station.outcomes == [(Outcome.INCOMPLETE, "stopped by request; 99998 of 100000 frames are missing")]


def test_an_end_after_a_stop_says_what_is_owed() -> None:
    station = Station()
    station.numbered("10:h 11:0")
    station.stop()
    station.numbered("14:e")
    station.wait(0.5)
    station.numbered("12:1 13:2")
    assert (station.sink.numbers, station.outcomes) == ([[0, 1, 2]], [(Outcome.COMPLETE, "stopped by request")])


def test_a_detector_that_does_not_stop_is_left_after_the_limit() -> None:
    station = Station()
    station.numbered("10:h 11:0")
    station.stop()
    for number in range(1, 30):
        station.now += 0.1
        station.receive(frame(number, 11 + number))
        station.wait(0)
    assert len(station.sink.numbers) == 1
    assert len(station.sink.frames[0]) + station.receiver.between.foreign.total() == 30
    assert 20 <= len(station.sink.frames[0]) <= 22


def test_abort_discards_what_is_held_and_counts_it() -> None:
    station = Station()
    station.numbered("10:h 11:0 13:2")
    station.sink.take(station.receiver.abort("enough"))
    series = station.sink.series[0]
    assert (station.sink.numbers, series.ledger.discarded) == ([[0]], {"aborted": 1})
    assert series.outcome() == (Outcome.ABORTED, "enough; 1 frames are missing (numbers 1)")
    assert (series.ledger.imbalance(), series.ledger.pending) == ([], 0)


@pytest.mark.parametrize("deed", ["stop", "abort", "quiet"])
def test_a_series_of_which_nothing_came(deed: str) -> None:
    station = Station()
    station.arm(expected=5, quiet=3)
    match deed:
        case "stop":
            station.stop(expected=0)
            wanted = (Outcome.COMPLETE, "stopped before the first frame")
        case "abort":
            station.sink.take(station.receiver.abort())
            wanted = (Outcome.ABORTED, "aborted by request; 5 of 5 frames are missing")
        case _:
            station.wait(3)
            wanted = (Outcome.INCOMPLETE, "no data for 3 s; 5 of 5 frames are missing")
    assert (station.outcomes, station.receiver.current) == ([wanted], None)


# Silence.


def test_a_silent_series_ends() -> None:
    station = Station()
    station.numbered("10:h 11:0")
    station.wait(29.9)
    assert station.receiver.current == "unarmed-0"
    station.wait(0.1)
    assert station.outcomes == [(Outcome.COMPLETE, "no data for 30 s and no end message")]


@pytest.mark.parametrize("kind", ["numbered", "named", "bare"])
def test_a_detector_that_goes_on_after_the_silence_is_written(kind: str) -> None:
    """A step scan with long moves: nothing of it may be thrown away, and nothing is missing."""
    station = Station()
    before, after = {
        "numbered": ([message("10", "h"), frame(0, 11), frame(1, 12)], [frame(2, 13), frame(3, 14)]),
        "named": ([SeriesStart("1", -1), *named("1", 0, 1)], named("1", 2, 3)),
        "bare": ([SeriesStart(), *bare(0, 1)], bare(2, 3)),
    }[kind]
    station.receive(*before)
    station.wait(31)
    station.receive(*after)
    station.stop()
    station.wait(5)
    assert station.sink.numbers == [[0, 1], [2, 3]]
    assert station.sink.series[1].ledger.missing == 0


def test_frames_after_the_silence_are_not_for_a_series_that_is_armed() -> None:
    station = Station()
    station.receive(SeriesStart("1", -1), *named("1", 0))
    station.wait(31)
    station.arm()
    station.receive(*named("1", 1), SeriesStart("2", -1), *named("2", 0), SeriesEnd("2"))
    station.wait(1)
    assert station.sink.numbers == [[0], [0]]
    assert station.sink.series[1].id == "armed"
    assert station.receiver.between.foreign == {"left over from a series that closed": 1}
