"""Which pixels hold counts."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.transforms.masks import counts, invalid, mask, masked


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


def test_rectangles_and_a_file_are_masked() -> None:
    image = np.arange(20, dtype="<i4").reshape(4, 5)
    masked_out = mask(image, rectangles=[((0, 2), (3, 9)), ((3, 4), (0, 1))], file=np.eye(4, 5))
    assert masked_out.tolist() == [
        [-1, 1, 2, -1, -1],
        [5, -1, 7, -1, -1],
        [10, 11, -1, 13, 14],
        [-1, 16, 17, -1, 19],
    ]
    assert image[0, 0] == 0
    # Each of several pictures.
    assert mask(np.stack([image, image]), file=np.eye(4, 5))[:, 1, 1].tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("<u2", -1, 65535),
        ("<u4", -2, 2**32 - 2),
        ("<i4", -1, -1),
        ("<f4", -1, -1.0),
        ("<u2", 7, 7),
        ("<f4", 0.5, 0.5),
    ],
)
def test_the_value_of_masked_pixels(kind: str, value: float, wanted: float) -> None:
    assert mask(np.zeros((2, 2), kind), rectangles=[((0, 1), (0, 1))], value=value).tolist() == [[wanted, 0], [0, 0]]


@pytest.mark.parametrize(("kind", "value"), [("<u2", 65536), ("<u2", -65537), ("u1", 0.5), ("<i4", 2**31)])
def test_values_that_a_type_cannot_hold(kind: str, value: float) -> None:
    with pytest.raises(ValueError, match="can't be"):
        mask(np.zeros((2, 2), kind), value=value)


def test_a_mask_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"the mask of shape \(3, 2\) does not fit pictures of \(2, 2\)"):
        mask(np.zeros((2, 2)), file=np.zeros((3, 2)))


def test_pixels_marked_as_invalid_are_masked() -> None:
    for kind in ("<u2", "u1", "<i4", "<f4"):
        assert masked(np.array([invalid(np.dtype(kind)), 3], kind)).tolist() == [True, False]
