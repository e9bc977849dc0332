"""Which pixels hold counts."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.transforms.masks import counts, masked


@pytest.mark.parametrize(
    ("pixels", "wanted"),
    [
        (np.array([0, 7, 65535], "<u2"), [False, False, True]),
        (np.array([0, 7, 2**32 - 1], "<u4"), [False, False, True]),
        (np.array([0, 7, -1], "<i4"), [False, False, True]),
        (np.array([0.0, 7.0, np.nan]), [False, False, True]),
    ],
)
def test_the_marks_of_each_type(pixels: np.ndarray, wanted: list[bool]) -> None:
    assert masked(pixels).tolist() == wanted
    assert counts(pixels) == 7


def test_sums_beyond_the_type() -> None:
    assert counts(np.full((100, 100), 65534, "<u2")) == 655340000


def test_nothing_but_masked_pixels() -> None:
    assert counts(np.full((2, 2), 255, "u1")) == 0
