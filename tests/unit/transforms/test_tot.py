from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.transforms.tot import tot


@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(0, 2**32),
    st.sampled_from(["<i4", "<u2", "<i8"]),
)
def test_each_pixel_by_its_own_calibration(rows: int, columns: int, most: int, seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    tensor = random.random((rows, columns, most)).astype(np.float32)
    image = random.integers(-3 if kind != "<u2" else 0, most + 3, (rows, columns)).astype(kind)
    energies = tot(image, tensor=tensor)

    assert energies.dtype == np.float32
    for (row, column), value in np.ndenumerate(image):
        wanted = -1 if value < 0 else -2 if value >= most else tensor[row, column, value]
        assert energies[row, column] == wanted


def test_pictures_that_were_turned_before() -> None:
    tensor = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    image = np.array([[0, 1, 2], [3, 4, -1]])
    assert tot(np.rot90(image, -1), tensor=tensor).tolist() == [[3, 4], [-2, 13], [-1, 22]]


@pytest.mark.parametrize(
    ("image", "tensor", "said"),
    [
        (np.zeros((2, 3), "<f4"), np.zeros((2, 3, 4)), "integers, not float32"),
        (np.zeros((3, 2), "<i4"), np.zeros((2, 3, 4)), r"the tensor of shape \(2, 3, 4\) does not fit"),
        (np.zeros((2, 3), "<i4"), np.zeros((2, 3)), "does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(image: np.ndarray, tensor: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tot(image, tensor=tensor)
