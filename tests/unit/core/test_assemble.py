"""Parts of modules become frames, whatever the lanes do to one another."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.assemble import HEADER_BYTES, MOST_WAITING, Assembler
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Event, Frame, FrameFormat, SeriesEnd, SeriesStart

FORM = FrameFormat((1, 2, 3), "<u2", RAW, (1, 2, 3))
LIMIT = 100 << 20


def part(lane: int, number: int, position: int | None, form: FrameFormat = FORM) -> Frame:
    return Frame(number, position, None, form, (bytes([lane, number % 256] * 6),), 1000 + lane)


def series(lane: int, frames: int, first: int = 0, **settings: Any) -> list[Event]:
    """What a module sends of one series, from position `first` on."""
    start = SeriesStart(None, first, "name", frames, {"x": lane * 100, "full_shape": [4, 6], **settings})
    return [
        start,
        *(part(lane, number, first + 1 + number) for number in range(frames)),
        SeriesEnd(None, first + 1 + frames),
    ]


def assembled(modules: int, order: Iterable[tuple[int, Event]], limit: int = LIMIT) -> list[Event | MalformedMessage]:
    assembler = Assembler(modules, limit)
    return [out for lane, event in order for out in assembler.add(lane, event)]


def by_turns(*lanes: list[Event]) -> list[tuple[int, Event]]:
    """The events of all lanes, one of each in turn."""
    longest = max(map(len, lanes))
    return [
        (lane, events[index]) for index in range(longest) for lane, events in enumerate(lanes) if index < len(events)
    ]


def numbers(events: Iterable[object]) -> list[int]:
    return [one.number for one in events if type(one) is Frame]


def complaints(events: Iterable[object]) -> list[str]:
    return [one.reason for one in events if isinstance(one, MalformedMessage)]


def test_a_frame_holds_the_parts_of_all_modules_in_their_order() -> None:
    events = assembled(3, by_turns(*(series(lane, 2) for lane in range(3))))

    start, first, second, end = events
    assert type(start) is SeriesStart
    assert (start.position, start.frames, start.filename) == (0, 2, "name")
    assert start.metadata == {"x": [0, 100, 200], "full_shape": [4, 6]}
    assert type(first) is Frame
    assert type(second) is Frame
    assert (first.format.shape, first.format.chunk, first.format.parts) == ((3, 2, 3), (1, 2, 3), 3)
    assert [bytes(one)[:2] for one in second.parts] == [bytes([lane, 1]) for lane in range(3)]
    assert (second.number, second.position, second.received) == (1, 2, 1002)
    assert end == SeriesEnd(None, 3)


def test_a_module_may_send_its_part_without_an_axis_for_modules() -> None:
    flat = FrameFormat((2, 3), "<u2", RAW, (2, 3))
    (frame,) = assembled(2, [(0, part(0, 0, 1, flat)), (1, part(1, 0, 1, flat))])

    assert type(frame) is Frame
    assert (frame.format.shape, frame.format.chunk) == ((2, 2, 3), (1, 2, 3))


@given(st.integers(2, 5), st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 2**32))
@settings(max_examples=200)
def test_however_far_lanes_are_ahead_of_one_another(modules: int, lengths: list[int], seed: int) -> None:
    lanes = []
    for lane in range(modules):
        events: list[Event] = []
        for length in lengths:
            events += series(lane, length, len(events))
        lanes.append(events)
    dice = random.Random(seed)
    left = [list(events) for events in lanes]
    order = []
    while any(left):
        lane = dice.choice([index for index, events in enumerate(left) if events])
        order.append((lane, left[lane].pop(0)))

    out = assembled(modules, order, limit=10**9)

    assert complaints(out) == []
    assert numbers(out) == [number for length in lengths for number in range(length)]
    # Every series is announced before its first frame, and once.
    positions = [one.position for one in out if type(one) is not SeriesEnd and not isinstance(one, MalformedMessage)]
    assert positions == sorted(one for one in positions if one is not None)
    assert sum(type(one) is SeriesStart for one in out) == len(lengths)
    assert sum(type(one) is SeriesEnd for one in out) == len(lengths)


def test_a_missing_part_is_named_when_all_lanes_have_gone_past_it() -> None:
    lanes = [series(lane, 3) for lane in range(3)]
    del lanes[1][2]

    out = assembled(3, by_turns(*lanes))

    assert numbers(out) == [0, 2]
    assert complaints(out) == ["module 2 is missing"]


def test_an_end_that_one_module_has_lost_is_made_up_for_by_its_next_header() -> None:
    lanes = [series(0, 2) + series(0, 1, 4), series(1, 2)[:-1] + series(1, 1, 4)]

    out = assembled(2, by_turns(*lanes))

    assert numbers(out) == [0, 1, 0]
    assert [type(one) for one in out[3:5]] == [SeriesEnd, SeriesStart]


def test_a_module_that_is_gone_costs_no_more_memory_than_allowed() -> None:
    out = assembled(2, [(0, part(0, number, number)) for number in range(100)], limit=20 * 12)

    assert len(complaints(out)) == 80
    assert set(complaints(out)) == {"module 2 is missing"}


def test_what_waits_when_nothing_comes_any_more_is_given_up() -> None:
    assembler = Assembler(2, LIMIT)
    alone = series(0, 2)
    out = [one for event in alone for one in assembler.add(0, event)]
    assert out == []
    assert assembler.waiting

    out = list(assembler.give_up())

    assert [type(out[0]), type(out[-1])] == [SeriesStart, SeriesEnd]
    assert complaints(out) == ["module 2 is missing"] * 2
    assert not assembler.waiting


def test_what_comes_of_a_module_after_it_was_given_up_is_late_and_announces_nothing() -> None:
    assembler = Assembler(2, LIMIT)
    for event in series(0, 2):
        list(assembler.add(0, event))
    list(assembler.give_up())

    late = [one for event in series(1, 2) for one in assembler.add(1, event)]
    assert [type(one) for one in late] == [MalformedMessage] * 2
    assert set(complaints(late)) == {"part of a module came too late"}
    again = [out for lane, event in by_turns(series(0, 3, 4), series(1, 3, 4)) for out in assembler.add(lane, event)]
    assert (numbers(again), complaints(again)) == ([0, 1, 2], [])


def test_modules_whose_numbers_of_series_differ_begin_alike_after_a_silence() -> None:
    """One of them saw a series of which the other knows nothing, and nobody numbers messages."""
    assembler = Assembler(2, LIMIT)
    for event in [part(0, 0, None), SeriesEnd()]:
        list(assembler.add(0, event))
    list(assembler.give_up())

    out = [one for number in range(3) for lane in range(2) for one in assembler.add(lane, part(lane, number, None))]
    assert (numbers(out), complaints(out)) == ([0, 1, 2], [])


@pytest.mark.parametrize("flood", [SeriesStart(None, 0, "x"), SeriesEnd(None, 0), part(0, 0, 0)])
def test_a_flood_from_one_module_is_held_back_by_no_more_than_is_allowed(flood: Event) -> None:
    assembler = Assembler(2, LIMIT)
    for position in range(3 * MOST_WAITING):
        flood.position = position
        list(assembler.add(0, flood))
        assert len(assembler._waiting) <= MOST_WAITING
    assert len(assembler._waiting) == len(assembler._order)
    if isinstance(flood, SeriesStart):
        assert len(assembler._waiting) <= LIMIT // HEADER_BYTES


def test_a_header_that_one_module_has_lost_is_made_up_for_by_the_others() -> None:
    lanes = [series(0, 2), series(1, 2)[1:]]

    out = assembled(2, [*((1, one) for one in lanes[1]), *((0, one) for one in lanes[0])])

    assert numbers(out) == [0, 1]
    assert type(out[0]) is SeriesStart
    assert out[0].metadata["x"] == [0]


def test_the_next_series_has_all_headers_again_after_one_was_lost() -> None:
    first, second = series(0, 1) + series(0, 1, 3), series(1, 1)[1:] + series(1, 1, 3)

    out = assembled(2, by_turns(first, second))

    starts = [one for one in out if type(one) is SeriesStart]
    assert numbers(out) == [0, 0]
    assert starts[-1].metadata["x"] == [0, 100]


@pytest.mark.parametrize("restarted", [0, 1])
def test_a_module_that_was_started_anew_is_in_step_at_its_next_header(restarted: int) -> None:
    lanes = [series(lane, 2) + series(lane, 3, 0 if lane == restarted else 4) for lane in range(2)]

    out = assembled(2, by_turns(*lanes))

    assert numbers(out) == [0, 1, 0, 1, 2]
    assert complaints(out) == []
    assert len([one for one in out if type(one) is SeriesStart]) == 2


@pytest.mark.parametrize("restarted", [0, 1])
def test_a_module_that_is_started_anew_in_the_middle_costs_that_series_only(restarted: int) -> None:
    lanes = [series(lane, 4) + series(lane, 2, 6) + series(lane, 2, 10) for lane in range(2)]
    lanes[restarted] = lanes[restarted][:3] + series(restarted, 2) + series(restarted, 2, 4)

    out = assembled(2, by_turns(*lanes))

    assert numbers(out)[:2] == [0, 1]
    assert numbers(out)[-4:] == [0, 1, 0, 1]


def test_modules_that_disagree_are_complained_of_once() -> None:
    other = FrameFormat((1, 4, 3), "<u2", RAW, (1, 4, 3))
    lanes = [series(0, 3), series(1, 3), series(2, 3)]
    lanes[1][2] = part(1, 1, 2, other)

    out = assembled(3, by_turns(*lanes))

    assert numbers(out) == [0, 2]
    assert complaints(out) == ["modules disagree"]


def test_a_part_that_comes_twice() -> None:
    out = assembled(2, [(0, part(0, 0, 1)), (0, part(0, 0, 1)), (1, part(1, 0, 1))])

    assert numbers(out) == [0]
    assert complaints(out) == ["part of a module came twice"]


def test_without_positions_the_numbers_tell_what_belongs_together() -> None:
    lanes = [[SeriesStart(), part(lane, 0, None), part(lane, 1, None), SeriesEnd()] * 2 for lane in range(2)]

    out = assembled(2, by_turns(*lanes))

    assert numbers(out) == [0, 1, 0, 1]
    assert sum(type(one) is SeriesEnd for one in out) == 2
