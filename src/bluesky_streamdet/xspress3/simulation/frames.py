"""Histograms and scalers of one run, made when they are read and never stored, but for the latest.

With a bank of precomputed frames, the same ones come again and again, and a read only copies.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.constants import NUM_SCALERS, Scaler
from bluesky_streamdet.xspress3.simulation.channel import Channel
from bluesky_streamdet.xspress3.simulation.detector import Detector, Exposure, Shot
from bluesky_streamdet.xspress3.simulation.format import Folding, Format
from bluesky_streamdet.xspress3.simulation.sample import Composition

Counts = NDArray[np.uint32]

KEPT_BYTES = 32 << 20
"""Of histograms that are remembered, as their scalers are read after them."""

BANK_RUN = 0
"""The run that precomputed frames belong to; real runs count from 1."""


class Record(NamedTuple):
    """One frame. spectra: (channel, auxiliary, energy). scalers: (channel, 9), in the order of `Scaler`."""

    spectra: Counts
    scalers: Counts


class Frames:
    """Frames of run `run`.

    precomputed: how many there are in the bank, 0 for none. seen: what the beam falls on in a frame of the bank.
    """

    def __init__(
        self,
        detector: Detector,
        run: int,
        channels: Sequence[Channel],
        formats: Sequence[Format],
        precomputed: int,
        seen: Callable[[int], Composition],
    ) -> None:
        self._detector = detector
        self._run = run
        self._seen = seen
        self._channels = channels
        self._folding = Folding(formats)
        self._precomputed = precomputed
        self._bank: Record | None = None
        self._kept: OrderedDict[int, Record] = OrderedDict()
        size = len(channels) * self._folding.aux * self._folding.bins * 4
        self._most = max(KEPT_BYTES // size, 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, auxiliary bins, bins) of a frame."""
        return len(self._channels), self._folding.aux, self._folding.bins

    def record(self, frame: int, exposure: Callable[[], Exposure], complete: bool) -> Record:
        """A frame; `exposure` says how it was taken, so far if it isn't complete."""
        if self._precomputed:
            return Record(*(part[frame % self._precomputed] for part in self.bank(exposure)))
        found = self._kept.get(frame)
        if found is None:
            found = self.made(self._run, frame, exposure())
            if complete:
                self._kept[frame] = found
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found

    def bank(self, exposure: Callable[[], Exposure]) -> Record:
        """All precomputed frames, each taken for as long as this exposure: the same arrays with an axis more."""
        if self._bank is None:
            taken = exposure()
            frames = range(self._precomputed)
            made = [self.made(BANK_RUN, frame, taken._replace(composition=self._seen(frame))) for frame in frames]
            self._bank = Record(*(np.ascontiguousarray(np.stack(parts)) for parts in zip(*made, strict=True)))
        return self._bank

    def copy_spectra(self, first: int, count: int, address: int, exposure: Callable[[], Exposure]) -> None:
        """Copy precomputed frames to memory."""
        spectra = self.bank(exposure).spectra
        done = 0
        while done < count:
            begin = (first + done) % self._precomputed
            together = min(count - done, self._precomputed - begin)
            size = spectra[0].nbytes
            source = spectra.ctypes.data + begin * size
            ctypes.memmove(address + done * size, source, together * size)
            done += together

    def made(self, run: int, frame: int, exposure: Exposure) -> Record:
        shot = self._detector.expose(run, frame, exposure)
        spectra = self._folding.fold(shot.raw, self._detector.random(run, frame, 1))
        return Record(spectra, self._scalers(shot))

    def _scalers(self, shot: Shot) -> Counts:
        scalers = np.zeros((len(self._channels), NUM_SCALERS), np.uint32)
        scalers[:, Scaler.LIVE_TICKS] = shot.ticks
        scalers[:, Scaler.TOTAL_TICKS] = shot.ticks
        scalers[:, Scaler.RESET_TICKS] = shot.counted.reset_ticks
        scalers[:, Scaler.NUM_RESETS] = shot.counted.resets
        scalers[:, Scaler.ALL_EVENT] = shot.counted.events
        scalers[:, Scaler.PILEUP] = shot.pileup
        for row, raw, channel in zip(scalers, shot.raw, self._channels, strict=True):
            row[Scaler.ALL_GOOD] = raw[channel.threshold :].sum()
            for window, (low, high) in enumerate(channel.windows):
                row[Scaler.IN_WINDOW0 + window] = raw[low : high + 1].sum()
        return scalers
