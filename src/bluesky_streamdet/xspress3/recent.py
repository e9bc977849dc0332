"""The last frames of a series, kept to be read back by number: spectra for a moment, window counts for longer.

The SDK can't be asked again: in its circular buffer a slot that was acknowledged may hold another frame already.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError, RequestRefused

COUNTS = 1 << 15
"""Frames of which window counts and dead-time factors are kept."""
LARGEST = 32 << 20
"""Bytes of spectra that are kept, however many frames were asked for."""


class Batch(NamedTuple):
    """Frames that were read together. first: number of the first."""

    first: int
    spectra: NDArray[np.uint32]
    records: NDArray[np.void]


class Recent:
    """Of one series. most: frames whose spectra are kept, as whole batches."""

    def __init__(self, most: int) -> None:
        self.frames = 0
        self.total: NDArray[np.uint64] | None = None
        """Sum of all spectra, of the shape of one frame."""
        self._most = most
        self._batches: deque[Batch] = deque()
        self._bytes = 0
        self._counts: NDArray[np.void] | None = None

    def add(self, batch: Batch) -> None:
        """Remember frames that follow those before."""
        frames = len(batch.spectra)
        self._batches.append(batch)
        self._bytes += batch.spectra.nbytes
        while len(self._batches) > 1 and self._enough():
            self._bytes -= self._batches.popleft().spectra.nbytes
        self.frames = batch.first + frames
        self._add_up(batch.spectra)
        self._keep_counts(batch)

    def read(self, frame: int) -> tuple[int, NDArray[np.uint32], np.void]:
        """Number, spectra and record of a frame; -1 is the latest. Raises `RequestRefused` when it is not there."""
        if not self._batches:
            raise RequestRefused("No frame has been taken yet.", "Arm, and trigger if the mode needs it.")
        number = self.frames - 1 if frame == -1 else frame
        for batch in reversed(self._batches):
            index = number - batch.first
            if 0 <= index < len(batch.spectra):
                return number, batch.spectra[index], batch.records[index]
        raise RequestRefused(
            f"Frame {frame} can't be read back; frames {self._batches[0].first} to {self.frames - 1} can.",
            "Earlier ones are in the file.",
        )

    def counts(self, window: int, channel: int, first: int, last: int) -> tuple[list[int], list[float]]:
        """Counts of a window (0, 1) in frames first to last, and their dead-time factors; -1 and nan for unknown ones.

        Raises `ConfigError` for a range that makes no sense.
        """
        if not 0 <= first <= last or last - first >= COUNTS:
            raise ConfigError(
                f"Frames {first} to {last} are no range that can be read.", f"Ask for at most {COUNTS} frames, from 0."
            )
        numbers = np.arange(first, last + 1)
        known = (numbers >= max(0, self.frames - COUNTS)) & (numbers < self.frames)
        if self._counts is None:
            known[:] = False
        counts, factors = np.full(len(numbers), -1, np.int64), np.full(len(numbers), np.nan)
        if self._counts is not None and known.any():
            kept = self._counts[numbers[known] % COUNTS]
            counts[known] = kept["window_counts"][:, window, channel]
            factors[known] = kept["dead_time_correction"][:, channel]
        return counts.tolist(), factors.tolist()

    def _enough(self) -> bool:
        others = self.frames - self._batches[1].first + len(self._batches[-1].spectra)
        return others >= self._most or self._bytes > LARGEST

    def _add_up(self, spectra: NDArray[np.uint32]) -> None:
        # A few frames fit into 32 bits, which adds up several times as fast.
        several = spectra.sum(axis=0, dtype=np.uint32) if len(spectra) > 1 else spectra[0]
        if self.total is None:
            self.total = several.astype(np.uint64)
        else:
            self.total += several

    def _keep_counts(self, batch: Batch) -> None:
        names = ["window_counts", "dead_time_correction"]
        kept = self._counts
        if kept is None:
            fields: Any = [(name, batch.records.dtype[name]) for name in names]
            kept = self._counts = np.zeros(COUNTS, fields)
        slots = np.arange(batch.first, batch.first + len(batch.records)) % COUNTS
        for name in names:
            kept[name][slots] = batch.records[name]
