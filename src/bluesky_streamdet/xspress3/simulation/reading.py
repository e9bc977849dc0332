"""What is read of a system: which frames its memory holds, their histograms and scalers, and both corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.constants import NUM_SCALERS, DeadTimeFlags, ErrorCode, Scaler
from bluesky_streamdet.xspress3.simulation.channel import factors
from bluesky_streamdet.xspress3.simulation.frames import Frames, Record
from bluesky_streamdet.xspress3.simulation.refusal import Refusal, out_of_range, whole_range
from bluesky_streamdet.xspress3.simulation.system import System

Counts = NDArray[np.uint32]
Floats = NDArray[np.float64]

EMPTY = -1
"""In place of the number of a frame that does not exist."""


class Block(NamedTuple):
    """Channels, auxiliary bins and bins of a histogram, of some frames."""

    frames: Sequence[int]
    channels: range
    aux: range
    bins: range

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self)


class Reader:
    """Reads one system, which has caught up with the clock. Raises `Refusal` before its first run."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._run = system.running_run()
        frames = system.frames
        assert frames is not None
        self._frames: Frames = frames

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, auxiliary bins, bins) of a frame."""
        return self._frames.shape

    def block(self, first: tuple[int, int, int, int], sizes: tuple[int, int, int, int]) -> Block:
        """Places and sizes on the axes energy, auxiliary, channel and frame. Raises `Refusal` outside of them."""
        channels, aux, bins = self.shape
        chosen = whole_range("channels", first[2], sizes[2], channels)
        return Block(
            self.held(chosen, first[3], sizes[3]),
            chosen,
            whole_range("auxiliary bins", first[1], sizes[1], aux),
            whole_range("bins", first[0], sizes[0], bins),
        )

    def whole(self, frames: range) -> Block:
        """Frames with all that is in them."""
        channels, aux, bins = self.shape
        return Block(frames, range(channels), range(aux), range(bins))

    def held(self, channels: range, first: int, count: int) -> Sequence[int]:
        """The frames that are found when these are asked for, which may be newer ones."""
        memory = self._run.memory
        if not 1 <= count <= memory.capacity:
            raise out_of_range("number of frames", count, f"1 to {memory.capacity}")
        cards = [card for card, of_card in enumerate(self._system.cards) if _overlap(of_card, channels)]
        complete = self._run.complete(self._system.now, cards)
        if first + count <= complete and memory.begun(channels.start) <= first + memory.capacity:
            return range(first, first + count)
        found = [memory.held(channels.start, frame) for frame in range(first, first + count)]
        if self._system.config.behaviour.strict_reads:
            for asked, frame in zip(range(first, first + count), found, strict=True):
                if not 0 <= frame < complete:
                    what = "does not exist" if frame < 0 else f"is gone or not complete, {frame} is in its place"
                    raise Refusal(ErrorCode.RANGE_CHECK, f"frame {asked} {what}: {complete} frames are complete")
        return found

    def copy_spectra(self, block: Block, address: int) -> bool:
        """The fast way, for precomputed frames that are read as a whole; False if it isn't one."""
        whole = block.shape[1:] == self.shape and isinstance(block.frames, range)
        if not (whole and self._system.config.precomputed):
            return False
        first = block.frames[0]
        self._frames.copy_spectra(first, len(block.frames), address, lambda: self._system.exposure(first))
        return True

    def spectra(self, block: Block, out: Counts) -> None:
        """Fill an array of the block's shape."""
        channels, aux, bins = (slice(axis.start, axis.stop) for axis in block[1:])
        for place, frame in enumerate(block.frames):
            out[place] = 0 if frame == EMPTY else self._record(frame).spectra[channels, aux, bins]

    def scalers(self, frames: Sequence[int]) -> Counts:
        """All scalers of all channels: (frames, channels, 9)."""
        if self._system.config.precomputed and isinstance(frames, range):
            return self._precomputed_scalers(frames)
        found = np.zeros((len(frames), self.shape[0], NUM_SCALERS), np.uint32)
        for place, frame in enumerate(frames):
            if frame != EMPTY:
                found[place] = self._record(frame).scalers
        return found

    def corrected_scalers(self, frames: Sequence[int], channels: range) -> tuple[Floats, Floats]:
        """Scalers (frames, channels, 9) and factors (frames, channels). Counts of windows are multiplied, what the
        correction counts is replaced by its estimate, and the rest is as counted.
        """
        scalers = self.scalers(frames)[:, channels.start : channels.stop]
        factor, events = dead_time_factors(self._system, scalers, channels)
        corrected = scalers.astype(np.float64)
        corrected[..., Scaler.IN_WINDOW0 : Scaler.IN_WINDOW1 + 1] *= factor[..., None]
        for place, channel in enumerate(channels):
            by_good = self._system.channels[channel].dead_time.flags & DeadTimeFlags.USE_GOOD_EVENT
            corrected[:, place, Scaler.ALL_GOOD if by_good else Scaler.ALL_EVENT] = events[:, place]
        return corrected, factor

    def _record(self, frame: int) -> Record:
        complete = frame < self._run.complete(self._system.now)
        return self._frames.record(frame, lambda: self._system.exposure(frame), complete)

    def _precomputed_scalers(self, frames: range) -> Counts:
        bank = self._frames.bank(lambda: self._system.exposure(frames[0])).scalers
        found = bank[np.arange(frames.start, frames.stop) % len(bank)]
        for card, channels in enumerate(self._system.cards):
            ticks = self._run.lengths(card, frames.start, len(frames), self._system.now)
            of_card = found[:, channels.start : channels.stop]
            of_card[..., Scaler.LIVE_TICKS] = of_card[..., Scaler.TOTAL_TICKS] = ticks[:, None]
        return found


def dead_time_factors(system: System, scalers: Counts, channels: range) -> tuple[Floats, Floats]:
    """Factors and true events (frames, channels), by the parameters of the channels. Raises `Refusal` when these
    depend on an energy that was not set.
    """
    factor, events = np.empty(scalers.shape[:2]), np.empty(scalers.shape[:2])
    for place, channel in enumerate(channels):
        parameters = system.channels[channel].dead_time
        if parameters.depends_on_energy and system.energy is None:
            raise Refusal(ErrorCode.ERROR, "dead-time corrections need xsp3_setDeadtimeCalculationEnergy first")
        period = system.config.clock_period
        factor[:, place], events[:, place] = factors(scalers[:, place], parameters, system.energy, period)
    return factor, events


def _overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)
