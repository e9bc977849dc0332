"""Frames of spectra with scalars for tests, every number of which is distinct."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, Scalar
from tests.unit.streaming.frames import NOON

CHANNELS, BINS = 4, 16
CYCLES = "clock cycles"


def scalars(channels: int = CHANNELS) -> tuple[Scalar, ...]:
    """What comes with each frame of an Xspress3."""
    each = (channels,)
    counts = ("num_resets", "all_events", "all_good", "pileup")
    return (
        *(Scalar(name, "<u4", each, CYCLES) for name in ("clock_ticks", "total_ticks", "reset_ticks")),
        *(Scalar(name, "<u4", each) for name in counts),
        Scalar("window_counts", "<u4", (2, channels)),
        Scalar("event_width", "<i4", each, CYCLES),
        Scalar("dead_time_correction", "<f8", each),
        Scalar("dead_time_correction_sdk", "<f8", each),
        Scalar("output_count_rate", "<f8", each, "Hz"),
    )


def form(shape: tuple[int, ...] = (CHANNELS, BINS)) -> FrameFormat:
    return FrameFormat(shape, "<u4", RAW, shape, scalars(shape[0]))


def counts(number: int, shape: tuple[int, ...] = (CHANNELS, BINS)) -> NDArray[np.uint32]:
    """The histograms of a frame: no (frame, channel, bin) has the number of another."""
    size = int(np.prod(shape))
    return np.arange(number * size, (number + 1) * size, dtype="<u4").reshape(shape)


def record(number: int, shape: tuple[int, ...] = (CHANNELS, BINS)) -> NDArray[Any]:
    """The scalars of a frame, an array of one record: no (frame, scalar, channel) has the number of another."""
    values = np.zeros(1, form(shape).record)
    for index, one in enumerate(scalars(shape[0])):
        size = values[one.name].size
        block = 100_000 * (index + 1) + number * size + np.arange(size)
        values[one.name] = block.reshape(values[one.name].shape)
    return values


def spectra(
    number: int, shape: tuple[int, ...] = (CHANNELS, BINS), position: int | None = None, series: str | None = None
) -> Frame:
    """One frame."""
    payload, values = counts(number, shape).tobytes(), record(number, shape).tobytes()
    return Frame(number, position, series, form(shape), (payload,), NOON + number, scalars=values)
