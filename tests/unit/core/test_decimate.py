"""Which frames leave, by the documented tables of the stream repeater and by what its rules promise."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.core.decimate import (
    COMPARISONS,
    Bursts,
    Decimation,
    EveryNth,
    EverySeconds,
    FramesOf,
    Strides,
    Where,
)

ALL = list(range(21))


def sent(rule: Decimation, numbers: Iterable[int] = ALL, period: float = 0.1) -> list[int]:
    """The frames that leave, of frames that come once in a `period` (s)."""
    return [number for number in numbers if rule.wants(number, 100.0 + number * period, {})]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (EveryNth(1), ALL),
        (EveryNth(2), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (EveryNth(3), [0, 3, 6, 9, 12, 15, 18]),
        (EveryNth(5), [0, 5, 10, 15, 20]),
        (EveryNth(10), [0, 10, 20]),
        (Strides(1), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (Strides(2), [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20]),
        (Strides(3), [0, 1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20]),
        (Strides(4), [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]),
        (Strides(5), [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20]),
        (FramesOf(3, 15), [0, 1, 2, 15, 16, 17]),
        (FramesOf(20, 15), ALL),
        (FramesOf(5, 10), [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20]),
        (FramesOf(10, 3), ALL),
        (FramesOf(10, 5), ALL),
        (FramesOf(10, 7), ALL),
        (FramesOf(5, 1), ALL),
        (FramesOf(2, 5), [0, 1, 5, 6, 10, 11, 15, 16, 20]),
    ],
)
def test_the_documented_tables(rule: Decimation, expected: list[int]) -> None:
    assert sent(rule) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.25, [0, 3, 6, 9, 12, 15, 18]),
        (0.45, [0, 5, 10, 15, 20]),
        (0.55, [0, 6, 12, 18]),
        (0.95, [0, 10, 20]),
        (1.05, [0, 11]),
        (0.0, ALL),
    ],
)
def test_the_documented_table_of_seconds(seconds: float, expected: list[int]) -> None:
    assert sent(EverySeconds(seconds)) == expected


def test_outputs_know_nothing_of_each_other() -> None:
    rules = [Strides(3), Strides(3), Strides(2), EveryNth(5), FramesOf(3, 10), EverySeconds(0.25)]
    alone = [sent(type(rule)(*_arguments(rule))) for rule in rules]
    together: list[list[int]] = [[] for _ in rules]
    for number in ALL:
        for rule, taken in zip(rules, together, strict=True):
            if rule.wants(number, 100.0 + number * 0.1, {}):
                taken.append(number)

    assert together == alone


def _arguments(rule: Any) -> list[Any]:
    return [getattr(rule, name) for name in rule.__dataclass_fields__ if not name.startswith("_")]


@given(st.sampled_from([EveryNth(7), FramesOf(3, 11), Strides(4)]), st.integers(0, 2**53), st.sets(st.integers(0, 100)))
def test_a_loss_or_another_first_number_shifts_nothing(rule: Decimation, first: int, lost: set[int]) -> None:
    whole = sent(rule, range(first, first + 101))
    gone = {first + one for one in lost}

    assert sent(rule, [one for one in range(first, first + 101) if one not in gone]) == [
        one for one in whole if one not in gone
    ]


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 1000))
def test_the_rates_by_number(frames: int, of: int, first: int) -> None:
    span = range(first, first + 10 * of)

    assert len(sent(FramesOf(frames, of), span)) == 10 * min(frames, of)
    assert len(sent(EveryNth(of), span)) == 10
    assert len(sent(Strides(of), range(first, first + 20 * of))) == 10 * of


@given(st.floats(0.01, 2.0), st.floats(0.001, 0.5))
def test_no_two_frames_are_nearer_than_asked(seconds: float, period: float) -> None:
    numbers = sent(EverySeconds(seconds), range(300), period)

    times = [100.0 + number * period for number in numbers]
    assert all(later - earlier >= seconds for earlier, later in itertools.pairwise(times))
    # Nor farther than the first frame that may follow.
    assert all(later - earlier < seconds + period + 1e-9 for earlier, later in itertools.pairwise(times))


def test_bursts_are_on_a_grid() -> None:
    assert sent(Bursts(2, 2.0)) == [0, 1, 5, 6, 10, 11, 15, 16, 20]


def test_bursts_begin_anew_after_a_pause() -> None:
    rule = Bursts(2, 2.0)
    assert sent(rule, [0, 1, 2]) == [0, 1]
    assert sent(rule, [57, 58, 59, 60, 61, 62]) == [57, 58, 62]


@given(st.integers(1, 5), st.sampled_from([1.0, 2.0, 5.0]), st.integers(20, 200))
def test_the_rate_of_bursts(frames: int, rate: float, per_second: int) -> None:
    """In ten seconds, where frames come faster than a burst needs."""
    if frames * rate > per_second / 2:
        return
    count = len(sent(Bursts(frames, rate), range(10 * per_second), 1 / per_second))

    assert abs(count - 10 * rate * frames) <= 2 * frames


@pytest.mark.parametrize(
    ("rule", "values", "wanted"),
    [
        (Where("laser_on", "==", True), {"laser_on": True}, True),
        (Where("laser_on", "==", True), {"laser_on": False}, False),
        (Where("laser_on", "==", True), {}, False),
        (Where("scan_index", ">=", 3), {"scan_index": 4}, True),
        (Where("scan_index", ">=", 3), {"scan_index": 2}, False),
        (Where("name", "<", 3), {"name": "text"}, False),
        (Where("name", "!=", "dark"), {"name": "sample"}, True),
    ],
)
def test_by_what_comes_with_a_frame(rule: Where, values: dict[str, Any], wanted: bool) -> None:
    assert rule.wants(0, 0.0, values) is wanted


@given(st.sampled_from(sorted(COMPARISONS)), st.integers(), st.integers())
def test_comparisons_mean_what_they_look_like(comparison: str, one: int, other: int) -> None:
    rule = Where("x", comparison, other)

    assert rule.wants(0, 0.0, {"x": one}) is eval(f"{one} {comparison} {other}")
