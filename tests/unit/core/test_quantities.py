"""Values that say their type and unit are what they say, or are refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.quantities import MOST_VALUES, TYPES, check, converted, quantity_of


@pytest.mark.parametrize(
    ("value", "dtype", "stored"),
    [
        (1.5, "float32", np.float32(1.5)),
        (0.1, "float32", np.float32(0.1)),
        (5, "float64", np.float64(5)),
        (5.0, "int8", np.int8(5)),
        ((1 << 64) - 1, "uint64", np.uint64((1 << 64) - 1)),
        (-(1 << 63), "int64", np.int64(-(1 << 63))),
        (float("inf"), "float32", np.float32("inf")),
        ("1.5", "float64", np.float64(1.5)),
        ("-7", "int16", np.int16(-7)),
        (True, "bool", np.True_),
        (0, "bool", np.False_),
        ("True", "bool", np.True_),
        ("LaB6", "text", "LaB6"),
        (5, "text", "5"),
        (["a", 1], "text", ["a", "1"]),
        ([1, 2, 3], "uint8", np.array([1, 2, 3], "u1")),
        ([[1, 2], [3, 4]], "float32", np.array([[1, 2], [3, 4]], "f4")),
        ([], "int32", np.array([], "i4")),
    ],
)
def test_a_value_becomes_what_it_says(value: Any, dtype: str, stored: Any) -> None:
    found = converted(value, dtype)
    assert np.array_equal(found, stored)
    assert getattr(found, "dtype", None) == getattr(stored, "dtype", None)


@pytest.mark.parametrize(
    ("value", "dtype", "complaint"),
    [
        (1.5, "int32", r"1.5 is no int32 \(from -2147483648 to 2147483647\)"),
        (300, "uint8", r"300 is no uint8 \(from 0 to 255\)"),
        (-1, "uint64", "-1 is no uint64"),
        (1 << 64, "uint64", "18446744073709551616 is no uint64"),
        (float(1 << 63), "int64", "9.223372036854776e.18 is no int64"),
        (float("nan"), "int8", "nan is no int8"),
        ("abc", "float64", "'abc' is no float64"),
        ("1.5", "int8", "'1.5' is no int8"),
        (1e300, "float32", "1e.300 is no float32"),
        (True, "int8", "True is no int8, but a bool"),
        (2, "bool", "2 is no bool"),
        ("yes", "bool", "'yes' is no bool"),
        (None, "int8", "None is no int8"),
        ({"a": 1}, "text", "{'a': 1} is no text"),
        ([[1], [2, 3]], "int8", "not all of the same length"),
        ([1, "a"], "int8", "is no int8"),
        ([1, 2.5], "int8", "2.5 is no int8"),
        (1, "double", "no type is called 'double'; there are bool, text, int8"),
        (1, ["int8"], "no type is called"),
        (np.zeros(MOST_VALUES + 1), "float32", f"{MOST_VALUES} are the most"),
    ],
)
def test_a_value_that_can_not_be_so_is_refused(value: Any, dtype: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        converted(value, dtype)


def test_every_type_holds_something() -> None:
    for dtype in TYPES:
        assert converted(1, dtype) is not None


@pytest.mark.parametrize(
    "said",
    [
        1,
        "a",
        None,
        [1],
        {},
        {"value": 1},
        {"units": "mm"},
        {"value": 1, "units": "mm", "more": 1},
        {"value": 1, "max": 2},
    ],
)
def test_what_is_no_quantity(said: Any) -> None:
    assert quantity_of(said) is None


def test_a_quantity_has_a_value_and_a_unit() -> None:
    assert quantity_of({"value": 1.5, "units": "mm"}) == (1.5, "mm")
    assert quantity_of({"value": 1.5, "units": "mm", "dtype": "float32"}) == (np.float32(1.5), "mm")
    assert quantity_of({"value": "a", "dtype": "text"}) == ("a", "")


@pytest.mark.parametrize("units", [5, "m\nm", "x" * 41, ["mm"]])
def test_units_are_a_short_text(units: Any) -> None:
    with pytest.raises(ValueError, match="units are a text"):
        quantity_of({"value": 1, "units": units})


def test_the_complaint_names_the_parameter_wherever_it_is() -> None:
    good = {"value": 1, "units": "mm", "dtype": "int8"}
    check({"a": good, "b": {"c": [1], "d": good}, "e": None})
    with pytest.raises(ValueError, match=r"^d: 300 is no uint8"):
        check({"a": good, "b": {"c": {"d": {"value": 300, "dtype": "uint8"}}}})


def test_what_is_not_looked_at_may_be_anything() -> None:
    check({"start_document": {"a": {"value": "x", "dtype": "float64"}}}, apart=frozenset({"start_document"}))


@pytest.mark.parametrize("dtype", [None, "text", "float64"])
def test_what_is_too_deep_to_be_sent_on_is_refused(dtype: str | None) -> None:
    def nested(levels: int) -> Any:
        value: Any = "1"
        for _ in range(levels):
            value = [value]
        return value if dtype is None else {"value": value, "dtype": dtype}

    for levels in (60, 900):
        with pytest.raises(ValueError, match="deep: it has more than 50 levels"):
            check({"deep": nested(levels)}, apart=frozenset(["deep"]))
    check({"flat": nested(40)}, apart=frozenset(["flat"]))
