from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.transforms.flatfield import flat_field

IMAGE = np.array([[30, 10], [65535, 50]], "<u2")
FLAT = np.array([[60, 40], [50, 20]], np.float32)
DARK = np.array([[20, 20], [10, 20]], np.float32)


def test_what_came_through_of_what_came() -> None:
    through = flat_field(IMAGE, flat=FLAT)
    assert through.dtype == np.float32
    np.testing.assert_array_equal(through, np.array([[0.5, 0.25], [np.nan, 2.5]], np.float32))


def test_a_dark_picture_is_taken_off_both() -> None:
    through = flat_field(IMAGE, flat=FLAT, dark=DARK)
    # Fewer counts than in the dark are negative; where flat and dark are equal nobody can say.
    np.testing.assert_array_equal(through, np.array([[0.25, -0.5], [np.nan, np.nan]], np.float32))
    assert IMAGE[0, 0] == 30


@pytest.mark.parametrize("which", ["flat", "dark"])
def test_other_shapes_are_refused(which: str) -> None:
    with pytest.raises(ValueError, match=rf"the {which} of shape \(3, 2\) does not fit pictures of \(2, 2\)"):
        flat_field(IMAGE, **{"flat": FLAT, which: np.ones((3, 2), np.float32)})
