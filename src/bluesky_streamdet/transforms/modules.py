"""Several modules as one picture, with the gaps between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.transforms.masks import invalid

LARGEST_PICTURE = 1 << 30
"""Bytes beyond which a header's full shape is taken for an error."""


def place_modules(
    image: NDArray[Any],
    *,
    x: Sequence[float],
    y: Sequence[float],
    rotation: Sequence[float],
    full_shape: tuple[int, int],
) -> NDArray[Any]:
    """Put modules into one picture.

    image: (modules, rows, columns). x, y: column and row of each module's upper left pixel, after its rotation; the
    nearest pixel is taken. rotation: of each module, in degrees counter-clockwise, a multiple of 90. full_shape:
    (rows, columns) of the picture. What the configuration leaves out comes from the header of each series, as
    X-Spectrum Lambda sends it. Returns the same dtype; gaps hold the value of pixels without counts. Where modules
    overlap, the last one counts. Raises `ValueError` for modules that are not in the picture.
    """
    rows, columns = full_shape
    if rows < 1 or columns < 1 or rows * columns * image.itemsize > LARGEST_PICTURE:
        raise ValueError(f"no picture has {rows} x {columns} pixels")
    if image.ndim != 3 or not len(image) == len(x) == len(y) == len(rotation):
        raise ValueError(f"{len(x)}, {len(y)} and {len(rotation)} positions do not fit modules of shape {image.shape}")
    picture = np.full(full_shape, invalid(image.dtype), image.dtype)
    for number, (module, left, top, angle) in enumerate(zip(image, x, y, rotation, strict=True)):
        if not all(map(math.isfinite, (left, top, angle))) or angle % 90:
            raise ValueError(f"module {number} can't lie at x {left}, y {top}, rotated by {angle} degrees")
        turned = np.rot90(module, int(angle // 90) % 4)
        row, column = round(top), round(left)
        place = picture[row : row + turned.shape[0], column : column + turned.shape[1]]
        if min(row, column) < 0 or place.shape != turned.shape:
            raise ValueError(f"module {number} at x {left}, y {top} is not in a picture of {rows} x {columns} pixels")
        place[:] = turned
    return picture
