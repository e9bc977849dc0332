"""Flat-field correction: what each pixel saw of what it sees without a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.transforms.masks import masked


def flat_field(
    image: NDArray[Any], *, flat: NDArray[np.float32], dark: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(image - dark) / (flat - dark), in float32.

    flat: picture without a sample. dark: picture without beam; 0 when left out. Both of the picture's shape. Pixels
    that hold no counts, and those that see nothing of the beam, become nan. Raises `ValueError` for other shapes.
    """
    for name, one in (("flat", flat), ("dark", dark)):
        if one is not None and one.shape != image.shape:
            raise ValueError(f"the {name} of shape {one.shape} does not fit pictures of {image.shape}")
    seen = image.astype(np.float32)
    seen[masked(image)] = np.nan
    light = flat
    if dark is not None:
        seen -= dark
        light = flat - dark
    return np.divide(seen, light, out=np.full(image.shape, np.nan, np.float32), where=light > 0)
