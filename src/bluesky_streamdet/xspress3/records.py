"""What comes with each frame besides its spectra: the SDK's scalers, and what follows from them.

One record a frame, of which each part is named as its dataset in the file. The counts are raw. Both models of the dead
time are there, with what they are made of, so that either can be calculated anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.events import Scalar
from bluesky_streamdet.transforms.deadtime import (
    event_time,
    event_width_correction,
    output_count_rate,
    paralysable_correction,
)
from bluesky_streamdet.xspress3.constants import NUM_WINDOWS, Scaler

TICKS = "clock cycles"
COUNTED = {
    "clock_ticks": (Scaler.LIVE_TICKS, TICKS),
    "total_ticks": (Scaler.TOTAL_TICKS, TICKS),
    "reset_ticks": (Scaler.RESET_TICKS, TICKS),
    "num_resets": (Scaler.NUM_RESETS, ""),
    "all_events": (Scaler.ALL_EVENT, ""),
    "all_good": (Scaler.ALL_GOOD, ""),
    "pileup": (Scaler.PILEUP, ""),
}
"""Scalers by the name of their dataset, with their units."""


@dataclass(frozen=True)
class DeadTime:
    """What the models need, one number for each channel.

    event_width: clock cycles. all_event, in_window: seconds of the SDK's model, of offsets, gradients and energy.
    use_good: whether a channel's rate is taken from its good events.
    """

    event_width: NDArray[np.int32]
    all_event: NDArray[np.float64]
    in_window: NDArray[np.float64]
    use_good: NDArray[np.bool_]

    @classmethod
    def of(cls, event_widths: Sequence[int], parameters: Sequence[Any], energy: float | None) -> DeadTime:
        """From what the SDK says of each channel. energy: keV, None when nobody has set one."""

        def times(which: str) -> NDArray[np.float64]:
            offsets = [getattr(one, f"{which}_offset") for one in parameters]
            return event_time(offsets, [getattr(one, f"{which}_gradient") for one in parameters], energy)

        use_good = np.asarray([one.use_good for one in parameters], np.bool_)
        return cls(np.asarray(event_widths, np.int32), times("all_event"), times("in_window"), use_good)


class RecordMaker:
    """Makes the records of one system of `channels` channels, with a clock of `clock_period` seconds."""

    def __init__(self, channels: int, clock_period: float, dead_time: DeadTime) -> None:
        each = (channels,)
        self.scalars = (
            *(Scalar(name, "<u4", each, unit) for name, (_, unit) in COUNTED.items()),
            Scalar("window_counts", "<u4", (NUM_WINDOWS, channels)),
            Scalar("event_width", "<i4", each, TICKS),
            Scalar("dead_time_correction", "<f8", each),
            Scalar("dead_time_correction_sdk", "<f8", each),
            Scalar("output_count_rate", "<f8", each, "Hz"),
        )
        self.dtype = np.dtype([(one.name, one.dtype, one.shape) for one in self.scalars])
        self._period = clock_period
        self._dead_time = dead_time

    def __call__(self, scalers: NDArray[np.uint32]) -> NDArray[np.void]:
        """The records of frames with these scalers, of shape (frames, channels, 9)."""
        records = np.empty(len(scalers), self.dtype)
        for name, (index, _) in COUNTED.items():
            records[name] = scalers[..., index]
        windows = slice(Scaler.IN_WINDOW0, Scaler.IN_WINDOW0 + NUM_WINDOWS)
        records["window_counts"] = scalers[..., windows].swapaxes(1, 2)
        dead = self._dead_time
        events, reset, clock = records["all_events"], records["reset_ticks"], records["clock_ticks"]
        records["event_width"] = dead.event_width
        records["dead_time_correction"] = event_width_correction(events, reset, clock, dead.event_width)
        seen = np.where(dead.use_good, records["all_good"], events) if dead.use_good.any() else events
        records["dead_time_correction_sdk"] = paralysable_correction(
            seen, reset, clock, self._period, dead.all_event, dead.in_window
        )
        records["output_count_rate"] = output_count_rate(records["all_good"], records["total_ticks"], self._period)
        return records
