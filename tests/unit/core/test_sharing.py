"""Receivers that get a share of a stream each: none waits, and none takes what another has for lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import Busy
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import SHARE, Limits, Outcome
from tests.unit.core.station import Station, bare
from tests.unit.core.streams import Kind, Message, Sender, frame

repeatable = settings(max_examples=150, derandomize=True)
KINDS = pytest.mark.parametrize("kind", Kind)
FATES = st.lists(st.integers(-1, 3), max_size=30)
"""To whom each frame goes; -1: it is lost on the way."""


def shared() -> Station:
    return Station(shared=True)


def deal(stations: list[Station], messages: list[Message], fates: list[int], first: int = 0) -> list[Message]:
    """Give each message to one of the stations, as a PUSH socket does; those that arrive."""
    arrived = []
    for index, message in enumerate(messages):
        fate = fates[index] if index < len(fates) else (first + index) % len(stations)
        if fate >= 0:
            stations[fate % len(stations)].receive(message)
            arrived.append(message)
    return arrived


@KINDS
@repeatable
@given(data=st.data())
def test_all_together_have_what_arrived_and_each_is_in_order(kind: Kind, data: st.DataObject) -> None:
    stations = [shared() for _ in range(data.draw(st.integers(1, 4)))]
    sender = Sender(kind)
    for run in range(data.draw(st.integers(1, 3))):
        for one in stations:
            one.arm(expected=10)
        frames = data.draw(st.integers(0, 30))
        header, *body, end = sender.series(frames, announced=frames)
        first = data.draw(st.integers(0, 3))
        deal(stations, [header], [first])
        arrived = deal(stations, body, data.draw(FATES))
        deal(stations, [end], [data.draw(st.integers(0, 3))])
        for one in stations:
            one.stop()
            one.wait(0.3)
            assert one.receiver.state is State.IDLE
        series = [one.sink.series[run] for one in stations]
        numbers = [one.sink.numbers[run] for one in stations]
        assert sorted(sum(numbers, [])) == [one.number for one in arrived]  # type: ignore[union-attr]  # noqa: RUF017
        assert all(own == sorted(own) for own in numbers)
        for own, one in zip(numbers, series, strict=True):
            assert one.ledger.imbalance() == []
            assert (one.ledger.shared, one.ledger.expected, one.ledger.missing) == (True, None, 0)
            assert (one.ledger.unique, one.ledger.written, one.ledger.late) == (len(own), len(own), 0)
            outcome, reason = one.outcome()
            assert outcome is Outcome.COMPLETE
            assert reason.endswith(SHARE)
            assert "header" not in reason
    assert all(one.receiver.between.received == 0 for one in stations)


@KINDS
@repeatable
@given(dealt=st.lists(FATES, min_size=1, max_size=4))
def test_series_that_nobody_armed_are_all_taken(kind: Kind, dealt: list[list[int]]) -> None:
    """A header goes to one of the receivers; the others can tell the next series by its numbers, or not at all."""
    stations = [shared(), shared()]
    sender, arrived = Sender(kind), []
    for fates in dealt:
        messages = sender.series(len(fates))
        arrived += [one for one in deal(stations, messages, [0, *fates, 1]) if one in messages[1:-1]]
    for one in stations:
        for _ in dealt:
            one.wait(31)
    taken = [frame for one in stations for frames in one.sink.frames for frame in frames]
    dropped = sum(one.receiver.between.received + s.ledger.foreign.total() for one in stations for s in one.sink.series)
    if kind is not Kind.BARE:
        assert dropped == 0
    if kind is Kind.NAMED:
        assert all(len({frame.series for frame in frames}) <= 1 for one in stations for frames in one.sink.frames)
    assert len(taken) + dropped >= len(arrived)
    for one in stations:
        assert all(own == sorted(set(own)) for own in one.sink.numbers)


def test_a_hole_holds_up_nothing() -> None:
    one = shared()
    one.arm()
    one.receive(*bare(1, 5, 6, 100))
    assert one.sink.numbers == [[1, 5, 6, 100]]
    one.stop()
    one.wait(0.2)
    assert one.outcomes == [(Outcome.COMPLETE, f"stopped by request; {SHARE}")]


def test_what_comes_twice_is_a_duplicate_and_a_lower_number_is_of_the_next_series() -> None:
    one = shared()
    one.receive(*bare(1, 5), frame(5), frame(3))
    assert one.sink.numbers == [[1, 5], [3]]
    assert [series.ledger.duplicate for series in one.sink.series] == [1, 0]


def test_neither_a_count_nor_what_is_announced_ends_a_share() -> None:
    one = shared()
    one.arm(expected=2)
    one.receive(Sender(Kind.BARE).header(3), *bare(0, 1, 2, 3))
    assert one.receiver.state is State.RUNNING
    one.stop(expected=1000)
    one.wait(0.2)
    assert one.sink.series[0].ledger.missing == 0


def test_a_share_without_frames_ends_too() -> None:
    one = shared()
    one.arm(expected=5)
    with pytest.raises(Busy):
        one.arm()
    one.stop(expected=5)
    assert one.sink.series[0].ledger.shared
    assert one.outcomes == [(Outcome.COMPLETE, f"stopped before the first frame; {SHARE}")]


def test_an_end_ends_the_share_of_who_gets_it() -> None:
    one = Station(Limits(settle_seconds=0.1), shared=True)
    sender = Sender(Kind.NUMBERED)
    header, *frames, end = sender.series(6)
    one.receive(header, *frames[::2], end)
    assert one.receiver.state is State.FINISHING
    one.wait(0.1)
    assert one.sink.numbers == [[0, 2, 4]]
    assert one.outcomes == [(Outcome.COMPLETE, SHARE)]
