"""Frames in order, by example; the tables of the decision on duplicates and passes, line by line."""

from __future__ import annotations

import tracemalloc

import pytest

from bluesky_streamdet.core import positions
from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.positions import Gaps, Seen
from bluesky_streamdet.core.resequence import BOOKKEEPING, Resequencer
from tests.unit.core.streams import frame

MANY = 1 << 20
HELD = 8 + BOOKKEEPING
"""Bytes that one of our frames is held at."""


def numbered(text: str) -> list[Frame]:
    """Frames written as position:number, such as "11:0 12:1"."""
    return [frame(int(number), int(position)) for position, number in (one.split(":") for one in text.split())]


def bare(text: str) -> list[Frame]:
    """Frames written as their number and a letter for the payload, such as "0a 1b"."""
    return [frame(int(one[:-1]), None, None, one[-1]) for one in text.split()]


def numbers(frames: list[Frame] | tuple[Frame, ...]) -> list[int]:
    return [one.number for one in frames]


class Pushed:
    """What a resequencer released, and how it counted."""

    def __init__(self, frames: list[Frame], resequencer: Resequencer) -> None:
        self.at_once: list[int] = []
        for one in frames:
            self.at_once += numbers(resequencer.push(one, 0.0))
        self.in_the_end = self.at_once + numbers(resequencer.flush())
        self.counts = resequencer.duplicates, resequencer.late, resequencer.passes, resequencer.gaps.count


@pytest.mark.parametrize(
    ("arriving", "at_once", "in_the_end", "counts"),
    [
        # counts: duplicates, late, passes, positions in gaps
        ("11:0 12:1 13:2", [0, 1, 2], [0, 1, 2], (0, 0, 1, 0)),
        ("11:0 12:1 12:1 13:2", [0, 1, 2], [0, 1, 2], (1, 0, 1, 0)),
        ("11:0 12:1 13:2 14:0 15:1 16:2", [0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2], (0, 0, 2, 0)),
        ("11:0 13:2 12:1 14:3", [0, 1, 2, 3], [0, 1, 2, 3], (0, 0, 1, 0)),
        ("13:2 12:1 11:0", [0, 1, 2], [0, 1, 2], (0, 0, 1, 0)),
        ("11:0 13:2", [0], [0, 2], (0, 0, 1, 1)),
        ("11:0 13:2 13:2 13:2", [0], [0, 2], (2, 0, 1, 1)),
        # A sender that counts anew: the same positions, other numbers.
        ("11:0 12:1 13:2 11:3 12:4", [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], (0, 2, 1, 0)),
        ("11:0 12:1 13:2 11:3 11:3", [0, 1, 2, 3], [0, 1, 2, 3], (1, 1, 1, 0)),
        ("11:0 13:2 13:9 13:9 13:2", [0, 9], [0, 9, 2], (2, 1, 1, 1)),
        # Positions before the header's: of another sender, but not to be lost, nor to come twice.
        ("11:0 5:7 5:7 12:1", [0, 7, 1], [0, 7, 1], (1, 1, 1, 0)),
        # With an offset that came before, but at a position of another pass: nothing that has come.
        ("11:0 12:1 13:0 14:1 14:3", [0, 1, 0, 1, 3], [0, 1, 0, 1, 3], (0, 1, 2, 0)),
        # Each trigger counts from 0.
        ("11:0 12:0 13:0 12:0", [0, 0, 0], [0, 0, 0], (1, 0, 3, 0)),
    ],
)
def test_numbered_messages(
    arriving: str, at_once: list[int], in_the_end: list[int], counts: tuple[int, int, int, int]
) -> None:
    pushed = Pushed(numbered(arriving), Resequencer(11, MANY, 1.0))
    assert (pushed.at_once, pushed.in_the_end, pushed.counts) == (at_once, in_the_end, counts)


@pytest.mark.parametrize(
    ("arriving", "in_the_end", "counts"),
    [
        ("0a 1b 1b 2c", [0, 1, 2], (1, 0, 1, 0)),
        ("0a 1b 1x 2c", [0, 1, 1, 2], (0, 0, 2, 0)),
        ("0a 1b 2c 0d 1e 2f", [0, 1, 2, 0, 1, 2], (0, 0, 2, 0)),
        ("0a 2c 1b 3d", [0, 1, 2, 3], (0, 0, 1, 0)),
        ("0a 1b 2c 1b 3d", [0, 1, 2, 1, 3], (0, 0, 2, 1)),
        # What is held is compared too.
        ("0a 2c 2c 1b", [0, 1, 2], (1, 0, 1, 0)),
        ("0a 2c 2x 3y", [0, 2, 2, 3], (0, 0, 2, 1)),
        # What is held goes before the next pass.
        ("0a 1b 3d 0e 1f", [0, 1, 3, 0, 1], (0, 0, 2, 1)),
        ("5a 4b 6c", [5, 4, 6], (0, 1, 1, 0)),
        # A gap of the first pass is none of the second.
        ("0a 2c 1x 2y 1z", [0, 1, 2, 2, 1], (0, 1, 2, 0)),
        ("0a 1b 3d 1e 2f 4g 0h", [0, 1, 3, 1, 2, 0, 4], (0, 1, 2, 2)),
    ],
)
def test_frame_numbers_only(arriving: str, in_the_end: list[int], counts: tuple[int, int, int, int]) -> None:
    pushed = Pushed(bare(arriving), Resequencer(None, MANY, 1.0))
    assert (pushed.in_the_end, pushed.counts) == (in_the_end, counts)


def test_a_gap_is_given_up_after_its_time_and_a_late_frame_goes_on_at_once() -> None:
    frames = Resequencer(11, MANY, 1.0)
    first, third, second, again = numbered("11:0 13:2 12:1 12:1")
    assert numbers(frames.push(first, 0.0)) == [0]
    assert frames.push(third, 0.5) == ()
    assert frames.tick(1.49) == ()
    assert numbers(frames.tick(1.5)) == [2]
    assert frames.gaps.numbers(10) == [(1, 1)]
    assert numbers(frames.push(second, 2.0)) == [1]
    assert frames.push(again, 2.0) == ()
    assert (frames.late, frames.duplicates, frames.gaps.count, frames.gaps.numbers(10)) == (1, 1, 0, [])


def test_many_gaps_do_not_add_up_their_times() -> None:
    """Each frame is held for a second at most, however many gaps are before it."""
    frames = Resequencer(0, MANY, 1.0)
    for position in range(1, 40, 2):
        assert frames.push(frame(position, position), position / 100) == ()
    assert numbers(frames.tick(1.2)) == list(range(1, 21, 2))
    assert numbers(frames.tick(1.4)) == list(range(21, 40, 2))
    assert frames.held == frames.held_bytes == 0


def test_an_earlier_frame_that_comes_late_does_not_prolong_the_wait() -> None:
    frames = Resequencer(0, MANY, 1.0)
    frames.push(frame(5, 5), 0.0)
    frames.push(frame(3, 3), 0.9)
    assert frames.tick(0.99) == ()
    assert numbers(frames.tick(1.0)) == [3, 5]
    assert frames.gaps.numbers(10) == [(0, 2), (4, 4)]


def test_what_is_held_is_bounded_in_bytes() -> None:
    frames = Resequencer(0, 3 * HELD, 1.0)
    for position in (1, 3, 5):
        assert frames.push(frame(position, position), 0.0) == ()
    assert frames.held_bytes == 3 * HELD
    assert numbers(frames.push(frame(7, 7), 0.0)) == [1]
    assert (frames.held, frames.held_bytes) == (3, 3 * HELD)
    assert frames.gaps.numbers(10) == [(0, 0)]


def test_missing_frames_are_named_by_the_pass_that_they_are_missing_from() -> None:
    frames = Resequencer(11, MANY, 1.0)
    for one in numbered("11:0 13:2 14:0 15:1 17:3"):
        frames.push(one, 0.0)
    frames.flush()
    assert frames.gaps.numbers(10) == [(1, 1), (2, 2)]


def test_frames_wait_for_their_header() -> None:
    frames = Resequencer(None, MANY, 1.0, wait=True)
    for one in numbered("13:2 12:1"):
        assert frames.push(one, 0.0) == ()
    assert frames.first == 12
    assert [frames.follows(header) for header in (9, 10, 11)] == [False, True, False]
    assert frames.start_at(11) == ()
    assert numbers(frames.push(numbered("11:0")[0], 0.1)) == [0, 1, 2]


def test_the_first_number_tells_how_many_frames_were_lost_with_their_header() -> None:
    frames = Resequencer(None, MANY, 1.0, wait=True)
    frames.push(numbered("14:3")[0], 0.0)
    assert numbers(frames.tick(1.0)) == [3]
    assert frames.gaps.numbers(10) == [(0, 2)]
    assert numbers(frames.push(numbered("13:2")[0], 1.1)) == [2]
    assert frames.gaps.numbers(10) == [(0, 1)]


def test_frames_behind_the_end_are_taken_out() -> None:
    frames = Resequencer(11, MANY, 1.0)
    for one in numbered("11:0 13:2 17:1 16:0"):
        frames.push(one, 0.0)
    assert numbers(frames.take_from(14)) == [0, 1]
    assert (frames.held, frames.held_bytes) == (1, HELD)
    assert frames.owed(14) == 1
    assert numbers(frames.push(numbered("12:1")[0], 0.0)) == [1, 2]
    assert frames.owed(14) == 0


def test_owed_and_missing_up_to_the_end() -> None:
    frames = Resequencer(11, MANY, 1.0)
    for one in numbered("11:0 13:2"):
        frames.push(one, 0.0)
    assert (frames.owed(16), frames.owed(None)) == (3, None)
    frames.flush()
    frames.close(16)
    assert (frames.gaps.count, frames.gaps.numbers(10)) == (3, [(1, 1), (3, 4)])


def test_nobody_knows_what_is_owed_where_messages_have_no_number() -> None:
    frames = Resequencer(11, MANY, 1.0)
    for one in bare("0a 1b"):
        frames.push(one, 0.0)
    assert frames.owed(20) is None
    frames.close(20)
    assert frames.gaps.count == 0


def test_a_header_without_a_number_before_frames_with_one() -> None:
    frames = Resequencer(None, MANY, 1.0)
    assert numbers(frames.push(numbered("40:0")[0], 0.0)) == [0]
    assert numbers(frames.push(numbered("41:1")[0], 0.0)) == [1]


def test_gaps_are_listed_up_to_a_number_and_counted_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "REMEMBERED", 3)
    gaps = Gaps()
    for first in (10, 20, 30, 40):
        gaps.add(first, first + 4, 0)
    assert (gaps.count, gaps.numbers(2)) == (20, [(10, 14), (20, 24)])
    assert not gaps.fill(41)  # it is not known whether it came, so that it is not taken off
    assert gaps.fill(12)
    assert (gaps.count, len(gaps.ranges)) == (19, 3)
    assert gaps.fill(20)
    assert gaps.ranges[1] == (21, 24, 0)
    assert not gaps.fill(20)
    assert not gaps.fill(9)


def test_what_came_is_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "REMEMBERED", 4)
    seen = Seen()
    for first in (10, 20, 30, 40):
        seen.add_run(first, first + 4, -10)
    assert seen.has(12, 2) and not seen.has(12, 3) and not seen.has(15, 5) and not seen.has(9, -1)
    seen.add_run(50, 54, -10)
    assert not seen.has(12, 2) and seen.has(32, 22) and seen.has(50, 40)
    for number in range(5):
        seen.add(100, number)
    assert not seen.has(100, 0) and seen.has(100, 4)


def test_memory_does_not_grow_with_a_hopeless_stream() -> None:
    """Every second frame is missing, and each pass has one frame: the worst that one can remember."""
    frames = Resequencer(0, 100 * HELD, 1.0)
    push, payload = frames.push, frame(0)

    def run(first: int, last: int) -> int:
        for position in range(first, last, 2):
            push(Frame(0, position, None, payload.format, payload.parts, 0), 0.0)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = run(1, 40_000)
        assert run(40_001, 80_000) < before * 1.1
        assert before < 8 << 20
    finally:
        tracemalloc.stop()
    assert frames.gaps.count > 39_000
