from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.transforms.geometry import crop, rotate

IMAGE = np.array([[1, 2, 3], [4, 5, 6]], "<i4")


@pytest.mark.parametrize(
    ("turns", "wanted"),
    [
        (0, [[1, 2, 3], [4, 5, 6]]),
        (1, [[3, 6], [2, 5], [1, 4]]),
        (2, [[6, 5, 4], [3, 2, 1]]),
        (-1, [[4, 1], [5, 2], [6, 3]]),
        (3, [[4, 1], [5, 2], [6, 3]]),
        (5, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_quarter_turns_are_counter_clockwise(turns: int, wanted: list[list[int]]) -> None:
    assert rotate(IMAGE, quarter_turns=turns).tolist() == wanted
    # Each of several pictures for itself.
    assert rotate(np.stack([IMAGE, IMAGE + 10]), quarter_turns=turns)[1].tolist() == (np.array(wanted) + 10).tolist()


def test_crop_keeps_rows_and_columns() -> None:
    image = np.arange(30).reshape(5, 6)
    assert crop(image, rows=(1, 3), columns=(2, 6)).tolist() == [[8, 9, 10, 11], [14, 15, 16, 17]]
    assert crop(np.stack([image, image]), rows=(0, 5), columns=(5, 6)).shape == (2, 5, 1)


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ((0, 6), (0, 6), "rows 0 to 6 are not in a picture of 5 rows"),
        ((0, 5), (-1, 6), "columns -1 to 6 are not in a picture of 6 columns"),
        ((3, 3), (0, 6), "rows 3 to 3"),
        ((4, 1), (0, 6), "rows 4 to 1"),
    ],
)
def test_crop_refuses_what_is_not_there(rows: tuple[int, int], columns: tuple[int, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        crop(np.zeros((5, 6)), rows=rows, columns=columns)
