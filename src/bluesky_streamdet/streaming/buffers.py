"""Memory that is used again, once who had it has let go of it.

What the operating system hands out is filled with zeros first, page by page; for a large message that takes longer than
to put something there.
"""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

SMALL = 256 << 10
"""Bytes below which the allocator does as well."""
STEP = 64 << 10
MOST = 16
"""Pieces that are kept."""
MOST_BYTES = 256 << 20


class Buffers:
    """Gives memory, and takes it back when nobody refers to it any more, in whatever thread that happens."""

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def allocate(self, nbytes: int) -> NDArray[np.uint8]:
        """So many bytes, or somewhat more, with anything in them."""
        if nbytes < SMALL:
            return np.empty(nbytes, np.uint8)
        piece = self._kept(nbytes)
        if piece is None:
            piece = np.empty(-(-nbytes // STEP) * STEP, np.uint8)
        lent = piece[:]
        weakref.finalize(lent, self._take_back, piece).atexit = False
        return lent

    def _kept(self, nbytes: int) -> NDArray[np.uint8] | None:
        try:
            piece = self._free.pop()
        except IndexError:
            return None
        # Of frames that have become larger, or much smaller, the old ones are let go of one by one.
        return piece if nbytes <= piece.nbytes <= 2 * nbytes else None

    def _take_back(self, piece: NDArray[np.uint8]) -> None:
        if len(self._free) < MOST and (len(self._free) + 1) * piece.nbytes <= MOST_BYTES:
            self._free.append(piece)
