"""The SDK's functions that read histograms and scalers, and let go of what was read.

In memory, energy runs fastest, then the auxiliary axis, the channel, and the frame; of scalers, the scaler, then the
channel and the frame.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.constants import NUM_SCALERS
from bluesky_streamdet.xspress3.simulation.bench import Bench
from bluesky_streamdet.xspress3.simulation.reading import Block, Reader
from bluesky_streamdet.xspress3.simulation.refusal import out_of_range, whole_range
from bluesky_streamdet.xspress3.simulation.setup_calls import OK, null
from bluesky_streamdet.xspress3.simulation.system import System

Places = tuple[int, int, int, int]


class ReadingCalls:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def histogram_read3d(self, path: int, buffer: Any, x: int, y: int, t: int, dx: int, dy: int, dt: int) -> int:
        """Channels and auxiliary bins are one axis; a part of it that is no whole number of channels is allowed."""
        reader = self._reader(path)
        channels, aux, _ = reader.shape
        rows = whole_range("rows of channels and auxiliary bins", y, dy, channels * aux)
        first, last = rows[0] // aux, rows[-1] // aux
        block = reader.block((x, 0, first, t), (dx, aux, last - first + 1, dt))
        if rows[0] % aux == 0 and len(rows) == block.shape[1] * aux:
            return self._read(reader, block, buffer)
        whole = np.empty(block.shape, np.uint32)
        reader.spectra(block, whole)
        skipped = rows[0] - first * aux
        chosen = whole.reshape(dt, -1, dx)[:, skipped : skipped + dy]
        _array(buffer, ctypes.c_uint32, chosen.shape)[:] = chosen
        return OK

    def histogram_read4d(self, path: int, buffer: Any, *places: int) -> int:
        reader = self._reader(path)
        return self._read(reader, reader.block(*_halves(places)), buffer)

    def histogram_read_chan(
        self, path: int, buffer: Any, chan: int, eng: int, aux: int, tf: int, num_eng: int, num_aux: int, num_tf: int
    ) -> int:
        reader = self._reader(path)
        return self._read(reader, reader.block((eng, aux, chan, tf), (num_eng, num_aux, 1, num_tf)), buffer)

    def hist_dtc_read4d(self, path: int, histograms: Any, scalers: Any, *places: int) -> int:
        reader = self._reader(path)
        block = reader.block(*_halves(places))
        corrected, factor = reader.corrected_scalers(block.frames, block.channels)
        if histograms:
            spectra = np.empty(block.shape, np.uint32)
            reader.spectra(block, spectra)
            _array(histograms, ctypes.c_double, block.shape)[:] = spectra * factor[..., None, None]
        if scalers:
            _array(scalers, ctypes.c_double, corrected.shape)[:] = corrected
        return OK

    def scaler_read(
        self, path: int, buffer: Any, scaler: int, chan: int, t: int, n_scalers: int, n_chan: int, dt: int
    ) -> int:
        reader = self._reader(path)
        kinds = whole_range("scalers", scaler, n_scalers, NUM_SCALERS)
        channels = whole_range("channels", chan, n_chan, reader.shape[0])
        frames = reader.held(channels, t, dt)
        found = reader.scalers(frames)[:, channels.start : channels.stop, kinds.start : kinds.stop]
        _array(buffer, ctypes.c_uint32, found.shape)[:] = found
        return OK

    def scaler_dtc_read(
        self, path: int, buffer: Any, scaler: int, chan: int, t: int, n_scalers: int, n_chan: int, dt: int
    ) -> int:
        reader = self._reader(path)
        kinds = whole_range("scalers", scaler, n_scalers, NUM_SCALERS)
        channels = whole_range("channels", chan, n_chan, reader.shape[0])
        corrected, _ = reader.corrected_scalers(reader.held(channels, t, dt), channels)
        found = corrected[..., kinds.start : kinds.stop]
        _array(buffer, ctypes.c_double, found.shape)[:] = found
        return OK

    def histogram_circ_ack(self, path: int, chan: int, tf: int, num_chan: int, num_tf: int) -> int:
        system = self._bench.system(path)
        system.advance()
        memory = system.running_run().memory
        channels = whole_range("channels", chan, num_chan, len(system.channels))
        if system.is_mini:
            # It has one count for all channels of a card.
            cards = [card for card in system.cards if max(card.start, chan) < min(card.stop, channels.stop)]
            channels = range(cards[0].start, cards[-1].stop)
        memory.acknowledge(channels, tf, num_tf)
        return OK

    def histogram_get_tf_status_block(self, path: int, chan: int, tf: int, ntf: int, status: Any) -> int:
        system, frames = self._held(path, chan, tf, ntf)
        if not status:
            raise null("status")
        run = system.running_run()
        complete = run.complete(system.now)
        for place, frame in enumerate(frames):
            waits = 0 <= frame < complete and run.memory.is_used(chan, frame)
            status[place].state, status[place].time_frame, status[place].markers = int(waits), frame, 0
        return OK

    def histogram_get_tf_markers(self, path: int, chan: int, tf: int, ntf: int, markers: Any) -> int:
        _, frames = self._held(path, chan, tf, ntf)
        _array(markers, ctypes.c_int, (len(frames),))[:] = 0
        return OK

    def _held(self, path: int, channel: int, first: int, count: int) -> tuple[System, list[int]]:
        system = self._bench.system(path)
        system.channel(channel)
        system.advance()
        memory = system.running_run().memory
        if not 1 <= count <= memory.capacity:
            raise out_of_range("number of frames", count, f"1 to {memory.capacity}")
        return system, [memory.held(channel, frame) for frame in range(first, first + count)]

    def _reader(self, path: int) -> Reader:
        system = self._bench.system(path)
        system.advance()
        return Reader(system)

    def _read(self, reader: Reader, block: Block, buffer: Any) -> int:
        if not buffer:
            raise null("buffer")
        if not reader.copy_spectra(block, ctypes.cast(buffer, ctypes.c_void_p).value or 0):
            reader.spectra(block, _array(buffer, ctypes.c_uint32, block.shape))
        return OK


def _halves(places: tuple[int, ...]) -> tuple[Places, Places]:
    """Places and sizes on four axes."""
    first, second = places[:4], places[4:]
    return (first[0], first[1], first[2], first[3]), (second[0], second[1], second[2], second[3])


def _array(buffer: Any, kind: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """The caller's memory. Raises `Refusal` for NULL."""
    if not buffer:
        raise null("buffer")
    return np.ctypeslib.as_array(ctypes.cast(buffer, ctypes.POINTER(kind)), shape)
