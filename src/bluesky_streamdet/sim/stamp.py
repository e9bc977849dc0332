"""The number of a frame in its pixels, so that no two frames are alike and each can be told: for eyes, and exactly.

The first sixteen pixels of the stamp hold the number in hexadecimal, the lowest digit first, whatever the pixel type.
Where there is room, the number stands beside it in figures that one can read in a viewer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 16
"""Pixels of the exact number."""
GLYPHS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
}
BITMAPS = {figure: np.array([list(map(int, row)) for row in rows.split()], bool) for figure, rows in GLYPHS.items()}
HEIGHT, WIDTH = 7, 6
FIGURES = 6
"""Figures that are shown at least; more when the number has more."""
LARGEST_ZOOM = 4
"""Pixels a side of a figure's pixel; what a stamp covers is compressed anew for each frame."""
BRIGHT = 900
"""Counts of a figure's pixels."""


class Stamp:
    """Writes numbers into pictures of `shape` (rows, columns): into a band of whole rows, and nowhere else.

    Raises `ValueError` for a picture that has no room for the exact number in one row.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        rows, columns = shape
        if columns < DIGITS:
            raise ValueError(f"a picture needs at least {DIGITS} columns to carry its number, not {columns}")
        self._zoom = min(rows // 355 or 1, columns // 100, LARGEST_ZOOM)
        # A frame of one zoomed pixel around the figures, and a row for the exact number above.
        height = (HEIGHT + 2) * self._zoom + 1
        self._figures = self._zoom >= 1 and rows >= 3 * height
        top = rows // 80 if self._figures else 0
        self.band = slice(top, top + height) if self._figures else slice(0, 1)
        self._left = max(2, columns // 80) if self._figures else 0

    def write(self, band: NDArray[Any], number: int) -> None:
        """Write `number` into `band`, the rows `Stamp.band` of a picture."""
        largest = np.iinfo(band.dtype).max
        for place in range(DIGITS):
            band[0, place] = number >> (4 * place) & 15
        if not self._figures:
            return
        bitmap = self._bitmap(number)
        room = band[1:, self._left :][:, : bitmap.shape[1]]
        room[:] = np.where(bitmap[:, : room.shape[1]], min(BRIGHT, largest - 1), 0)

    def read(self, picture: NDArray[Any]) -> int:
        """The number in a stamped picture."""
        return sum(int(value) << (4 * place) for place, value in enumerate(picture[self.band][0, :DIGITS]))

    def _bitmap(self, number: int) -> NDArray[np.bool_]:
        text = f"{number:0{FIGURES}d}"
        bitmap = np.zeros((HEIGHT + 2, WIDTH * len(text) + 1), bool)
        for place, figure in enumerate(text):
            bitmap[1:-1, place * WIDTH + 1 : (place + 1) * WIDTH] = BITMAPS[figure]
        return np.kron(bitmap, np.ones((self._zoom, self._zoom), bool))
