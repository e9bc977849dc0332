from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.transforms.modules import place_modules

MODULES = np.arange(1, 13, dtype="<u2").reshape(2, 2, 3)
NONE = 65535


def test_modules_lie_where_they_belong_with_gaps_between() -> None:
    picture = place_modules(MODULES, x=[0, 4.4], y=[1, 0], rotation=[0, 180], full_shape=(3, 8))
    assert picture.dtype == MODULES.dtype
    assert picture.tolist() == [
        [NONE, NONE, NONE, NONE, 12, 11, 10, NONE],
        [1, 2, 3, NONE, 9, 8, 7, NONE],
        [4, 5, 6, NONE, NONE, NONE, NONE, NONE],
    ]


def test_a_quarter_turn_is_counter_clockwise() -> None:
    picture = place_modules(MODULES[:1].astype("<i4"), x=[1], y=[0], rotation=[90], full_shape=(3, 4))
    assert picture.tolist() == [[-1, 3, 6, -1], [-1, 2, 5, -1], [-1, 1, 4, -1]]
    again = place_modules(MODULES[:1].astype("<f4"), x=[0], y=[0], rotation=[-90], full_shape=(3, 2))
    assert again.tolist() == [[4, 1], [5, 2], [6, 3]]


def test_gaps_of_floating_point_pictures_are_no_numbers() -> None:
    picture = place_modules(MODULES[:1].astype("<f8"), x=[0], y=[0], rotation=[0], full_shape=(2, 4))
    assert np.isnan(picture[:, 3]).all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x": [0]}, "1, 2 and 2 positions do not fit modules of shape"),
        ({"x": [0, 6]}, "module 1 at x 6, y 0 is not in a picture of 3 x 8 pixels"),
        ({"y": [-1, 0]}, "module 0 at x 0, y -1 is not in a picture"),
        ({"y": [2, 0]}, "module 0 at x 0, y 2"),
        ({"rotation": [45, 0]}, "module 0 can't lie at x 0, y 0, rotated by 45 degrees"),
        ({"x": [float("nan"), 4]}, "module 0 can't lie"),
        ({"full_shape": (10**6, 10**6)}, "no picture has 1000000 x 1000000 pixels"),
        ({"full_shape": (-3, -8)}, "no picture has"),
    ],
)
def test_what_is_not_in_the_picture_is_refused(changed: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"x": [0, 4], "y": [0, 0], "rotation": [0, 0], "full_shape": (3, 8)}
    with pytest.raises(ValueError, match=said):
        place_modules(MODULES, **{**right, **changed})
