"""Turning and cutting pictures. The last two axes are rows and columns; axes before them stay as they are."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray


def rotate(image: NDArray[Any], *, quarter_turns: int) -> NDArray[Any]:
    """Turn the picture by so many quarter turns, counter-clockwise; -1 is one clockwise.

    Without `quarter_turns` in the configuration, each series says it in its header; DECTRIS' detectors by `rotate` in
    the header appendix. Shape (…, rows, columns), or (…, columns, rows) after an odd number; same dtype.
    """
    return np.rot90(image, quarter_turns, axes=(-2, -1))


def rotate_if_told(image: NDArray[Any], *, quarter_turns: Annotated[int, "header"] = 0) -> NDArray[Any]:
    """As `rotate`, but what a header says nothing of stays as it came, as does what came without a header."""
    return rotate(image, quarter_turns=quarter_turns)


def turns_nothing(quarter_turns: int = 0) -> bool:
    """Whether pictures are the same after so many."""
    return quarter_turns % 4 == 0


def crop(image: NDArray[Any], *, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
    """Keep the rows and columns from the first number to before the second, both counted from 0.

    Raises `ValueError` for what lies outside of the picture.
    """
    for name, (begin, end), size in (("rows", rows, image.shape[-2]), ("columns", columns, image.shape[-1])):
        if not 0 <= begin < end <= size:
            raise ValueError(f"{name} {begin} to {end} are not in a picture of {size} {name}")
    return image[..., rows[0] : rows[1], columns[0] : columns[1]]
