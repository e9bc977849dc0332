"""Which of a series' frames are in the file, by their numbers, where some are missing.

Rows have no gaps, so that whoever wants frames by their numbers, as for the points of a scan, asks here. Frames that
came and were not written count as missing, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.status import SeriesReport

VALID = "valid"
FIRST = "first_frame"
"""Attribute: the number of the frame that the first element is of; -1 while there are no elements."""
MOST_FRAMES = 10_000_000
"""Elements. Where numbers reach farther, which is a fault of whoever counts, `missing_ranges` has to do."""
CHUNK = 1 << 16


def create(ledger: h5py.Group) -> None:
    """Make the place, which stays empty where no frame is missing."""
    valid = ledger.create_dataset(
        VALID, (0,), bool, maxshape=(None,), chunks=(CHUNK,), compression="gzip", compression_opts=1
    )
    valid.attrs[FIRST] = np.int64(-1)


def fill(ledger: h5py.Group, vector: tuple[int, NDArray[np.bool_]] | None) -> None:
    """Write what `vector` says. Raises what h5py raises."""
    first, values = vector if vector is not None else (-1, np.zeros(0, bool))
    valid = ledger.get(VALID)  # which files of older versions don't have
    if valid is not None and (len(values) or len(valid)):
        valid.resize(values.shape)
        valid[...] = values
        valid.attrs.modify(FIRST, np.int64(first))


def is_wanted(report: SeriesReport) -> bool:
    """Whether frames are missing that nobody else has, and numbers tell which."""
    ledger = report.ledger
    lacking = report.outcome is not Outcome.COMPLETE or ledger.missing or ledger.missing_ranges
    return bool(lacking) and not ledger.shared and ledger.passes == 1


def vector(
    numbers: NDArray[np.integer], ranges: Sequence[tuple[int, int]], expected: int | None
) -> tuple[int, NDArray[np.bool_]] | None:
    """The number of the first frame, and of each from there on whether it is in the file; None where all are.

    numbers: of the frames in the file. ranges: of numbers, both included, that are known to be missing. expected: how
    many frames there should be.
    """
    if not len(numbers):
        return None
    first = min(int(numbers.min()), *(one for one, _ in ranges)) if ranges else int(numbers.min())
    last = max(int(numbers.max()), first + (expected or 1) - 1, *(one for _, one in ranges))
    length = last - first + 1
    if length > MOST_FRAMES:
        return None
    valid = np.zeros(length, bool)
    valid[numbers.astype(np.int64) - first] = True
    return None if valid.all() else (first, valid)
