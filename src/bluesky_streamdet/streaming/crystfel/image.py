"""Frames as HDF5 files in memory, as indexamajig reads them from ZeroMQ with `--data-format=hdf5`.

    /entry/data/data    (ss, fs), little-endian, as the detector counts
    /entry/NAME         each header

Half the bytes of a message for pixels of 16 bits. Only contiguous, unfiltered data are sent: a client that can't read a
filter ends there and then.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.codecs.crystfel import Header, shape_of, slab

GROUP = "/entry"
DATASET = f"{GROUP}/data/data"
READABLE = {"u1", "u2", "u4", "i1", "i2", "i4", "f4"}
"""Pixel types that its reader converts; others become floats."""

_numbers = count()


def file_image(image: NDArray[Any], headers: Mapping[str, Header]) -> bytes:
    """A whole file: the picture, of any number of dimensions, as (ss, fs), and the headers beside it."""
    if image.dtype.str[1:] in READABLE:
        picture = image.reshape(shape_of(image.shape)).astype(image.dtype.newbyteorder("<"), copy=False)
    else:
        picture = slab(image, "f4")
    # The name is not one of a file, but two open files may not share it.
    with h5py.File(f"frame{next(_numbers)}", "w", driver="core", backing_store=False) as file:
        file.create_dataset(DATASET, data=np.ascontiguousarray(picture))
        group = file[GROUP]
        assert isinstance(group, h5py.Group)
        for name, value in headers.items():
            group.create_dataset(name if name != "data" else "_data", data=value)
        file.flush()
        return file.id.get_file_image()
