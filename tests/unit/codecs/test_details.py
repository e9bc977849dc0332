"""Whatever a header says of its frame is kept with it, under names that a file can have, and in bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bluesky_streamdet.codecs.details import LARGEST_LIST, LONGEST_TEXT, MOST_DETAILS, MOST_NAMES, Details


@pytest.mark.parametrize(
    "value",
    [
        0,
        -(1 << 63),
        (1 << 63) - 1,
        1.5,
        math.inf,
        1e300,
        True,
        "",
        "text",
        "Größe",
        [1, 2],
        [],
        ["a", 1],
        {"a": {"b": 1}},
    ],
)
def test_values_stay_what_they_are(value: Any) -> None:
    kept = Details()({"before": 1, "thing": value})
    assert kept == {"before": 1, "thing": value}
    assert type(kept["thing"]) is type(value)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param(1 << 63, "9223372036854775808", id="beyond 64 bits"),
        pytest.param(-(1 << 63) - 1, "-9223372036854775809", id="below 64 bits"),
        pytest.param(10**400, "a number of 1329 bits", id="far beyond"),
        pytest.param("x" * (LONGEST_TEXT + 1), "x" * LONGEST_TEXT + "... of 4097 letters", id="a long text"),
        pytest.param([0] * LARGEST_LIST, "[" + "0," * 2047 + "0... of 32769 letters", id="a long list"),
    ],
)
def test_what_is_too_large_says_how_large_it_was(value: Any, kept: str) -> None:
    assert Details()({"thing": value}) == {"thing": kept}


def test_a_number_that_is_none_is_kept() -> None:
    assert math.isnan(Details()({"thing": math.nan})["thing"])


def test_nothing_is_kept_of_null() -> None:
    assert Details()({"thing": None, "other": "a"}) == {"other": "a"}


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("chi start", "chi_start"),
        ("det-temp", "det_temp"),
        ("a/b", "a_b"),
        ("..", "x___"),
        ("_x", "x__x"),
        ("9", "x_9"),
        ("", "unnamed"),
        ("Größe", "Gr__e"),
        ("n" * 100, "n" * 64),
    ],
)
def test_names_become_such_that_a_dataset_can_have(name: str, kept: str) -> None:
    details = Details()
    assert details({name: 1}) == {kept: 1}
    assert details({name: "text"}) == {kept: "text"}


def test_names_that_become_the_same_are_told_apart() -> None:
    assert Details()({"a b": 1, "a-b": 2, "a_b": "x"}) == {"a_b": 1, "a_b_": 2, "a_b__": "x"}


def test_what_is_called_like_a_time_and_is_none_gets_another_name() -> None:
    said = {"start_time": "2026-03-01T12:00:00Z", "stop_time": 5, "real_time": [1]}
    assert Details()(said) == {"start_time_": "2026-03-01T12:00:00Z", "stop_time": 5, "real_time_": [1]}


def test_so_many_are_kept_and_no_more() -> None:
    details = Details()
    for batch in range(20):
        assert len(details({f"n{batch}_{index}": "x" for index in range(100)})) == MOST_DETAILS
    assert len(details._names) <= MOST_NAMES
