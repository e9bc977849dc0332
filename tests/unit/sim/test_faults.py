"""Faults on the way from a detector: each frame's fate is known, and the tally tells it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.sim.faults import Chosen, Faults, Network, ranges_of

HEADER: Message = [b"header"]
END: Message = [b"end"]


def these(*numbers: int) -> Chosen:
    return Chosen(numbers=frozenset(numbers))


def frame(number: int) -> Message:
    return [b"%d" % number]


def journey(faults: Faults, frames: int, period: float = 1.0) -> tuple[list[str], Network]:
    """The messages of a series of `frames` frames, `period` seconds apart, as they leave the network."""
    network = Network(faults, "1", frames)
    sent = network.header(HEADER)
    for number in range(frames):
        sent += network.frame(number, frame(number), number * period, followed=number < frames - 1)
    sent += network.end(END)
    return [bytes(message[0]).decode() for message in sent], network


def test_without_faults_everything_passes() -> None:
    sent, network = journey(Faults(), 3)
    assert sent == ["header", "0", "1", "2", "end"]
    assert network.tally.in_words() == []
    assert network.tally.frames == 3


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (Faults(drop=these(1, 2)), "header 0 3 4 end"),
        (Faults(duplicate=these(1)), "header 0 1 1 2 3 4 end"),
        (Faults(reorder=these(1)), "header 0 2 1 3 4 end"),
        (Faults(reorder=these(1, 2)), "header 0 2 1 3 4 end"),
        (Faults(reorder=these(4)), "header 0 1 2 3 4 end"),
        (Faults(reorder=these(3), drop=these(4)), "header 0 1 2 3 end"),
        (Faults(delay=these(1), delay_seconds=1.5), "header 0 2 1 3 4 end"),
        (Faults(delay=these(3), delay_seconds=99), "header 0 1 2 4 3 end"),
        (Faults(lose_header=True, lose_end=True), "0 1 2 3 4"),
        (Faults(early_end=True), "header 0 1 2 3 end 4"),
        (Faults(early_end=True, delay=these(2), delay_seconds=99), "header 0 1 3 end 4 2"),
    ],
)
def test_each_fault(faults: Faults, expected: str) -> None:
    assert " ".join(journey(faults, 5)[0]) == expected


def test_a_delayed_frame_leaves_when_its_time_has_come_though_none_follows() -> None:
    network = Network(Faults(delay=these(0), delay_seconds=2.0), "1", 9)
    assert network.frame(0, frame(0), 10.0, followed=False) == []
    assert network.next_due == 12.0
    assert network.due(11.9) == []
    assert network.due(12.0) == [frame(0)]
    assert network.next_due is None


chances = st.floats(0, 1).map(lambda fraction: Chosen(fraction=fraction))


@given(
    faults=st.builds(
        Faults, drop=chances, duplicate=chances, reorder=chances, delay=chances, early_end=st.booleans(),
        delay_seconds=st.floats(0, 10), seed=st.integers(0, 9),
    ),
    frames=st.integers(1, 60),
)  # fmt: skip
def test_the_tally_says_exactly_what_has_left(faults: Faults, frames: int) -> None:
    sent, network = journey(faults, frames)
    tally = network.tally
    copies = Counter({str(number): 1 for number in range(frames)})
    copies.subtract(str(number) for number in tally.dropped)
    copies.update(str(number) for number in tally.duplicated)
    assert Counter(sent) == Counter(["header", "end"]) + copies
    assert tally.counts == {
        name: len(numbers)
        for name in ("dropped", "duplicated", "reordered", "delayed")
        if (numbers := getattr(tally, name))
    }


def test_the_same_seed_does_the_same_and_another_series_something_else() -> None:
    faults = Faults(drop=Chosen(fraction=0.3), seed=4)
    fates = [tuple(_dropped(faults, series)) for series in ("1", "1", "2")]
    assert fates[0] == fates[1] != fates[2]


def _dropped(faults: Faults, series: str) -> list[int]:
    network = Network(faults, series, 200)
    for number in range(200):
        network.frame(number, frame(number), 0.0)
    return network.tally.dropped


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("0.01", Chosen(fraction=0.01)),
        ("1%", Chosen(fraction=0.01)),
        ("0.0", Chosen()),
        ("3", these(3)),
        ("3, 7,40-42", these(3, 7, 40, 41, 42)),
    ],
)
def test_reading_a_choice_of_frames(text: str, chosen: Chosen) -> None:
    assert Chosen.parse(text) == chosen


@pytest.mark.parametrize("text", ["", "some", "1.5", "200%", "-3", "7-3", "0-99999999999", "3,,4", "nan%"])
def test_an_impossible_choice_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigError, match="no choice of frames"):
        Chosen.parse(text)


def test_ranges_are_written_as_people_do() -> None:
    assert ranges_of([7, 3, 40, 41, 42]) == "3, 7, 40-42"
    assert ranges_of(list(range(0, 100, 2)), most=2) == "0, 2, …"
