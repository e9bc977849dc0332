"""Two half modules of an EIGER 500k as one picture, with the cross between its chips."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF = (256, 512)
GAP = 2


def psi_eiger(image: NDArray[Any]) -> NDArray[Any]:
    """Put the halves of a module together.

    image: (2, 256, 512), the upper half first. Returns (514, 514) of the same dtype: the upper half flipped, the lower
    as it is, a cross of two pixels of zeros between the chips, and all of it flipped up-down. Raises `ValueError`.
    """
    if image.shape != (2, *HALF):
        raise ValueError(f"two halves of {HALF[0]} x {HALF[1]} pixels are needed, not {image.shape}")
    rows, columns = HALF[0], HALF[1] // 2
    whole = np.zeros((2 * rows + GAP, 2 * columns + GAP), image.dtype)
    for half, top in ((image[0][::-1], 0), (image[1], rows + GAP)):
        whole[top : top + rows, :columns] = half[:, :columns]
        whole[top : top + rows, columns + GAP :] = half[:, columns:]
    return whole[::-1]
