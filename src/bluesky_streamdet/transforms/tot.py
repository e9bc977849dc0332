"""Time over threshold: what a pixel counted, as an energy, by a calibration of each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TOO_LONG, NEGATIVE = -2.0, -1.0
"""What stands for a value beyond the calibration, and for one below 0."""


def tot(image: NDArray[Any], *, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn times over threshold into energies.

    image: (rows, columns), of an integer type. tensor: (rows, columns, n), the energy of each pixel for the times 0 to
    n - 1; usually the array `tot_to_energy_tensor` of an npz file. Returns (rows, columns) float32; -2 for times of n
    and beyond, -1 for negative ones. Raises `ValueError` when the two don't fit.
    """
    if image.dtype.kind not in "iu":
        raise ValueError(f"times over threshold are integers, not {image.dtype}")
    if tensor.ndim != 3 or tensor.shape[:2] != image.shape:
        raise ValueError(f"the tensor of shape {tensor.shape} does not fit pictures of {image.shape}")
    times = image.reshape(-1)
    most = tensor.shape[2]
    # An index for each pixel, also where there is no energy.
    index = np.clip(times, 0, most - 1).astype(np.intp)
    index += np.arange(0, times.size * most, most)
    energies = tensor.reshape(-1)[index]
    energies[times >= most] = TOO_LONG
    energies[times < 0] = NEGATIVE
    return energies.reshape(image.shape)
