"""What one channel is told: windows, threshold, trigger, dead-time parameters; and the factors that follow."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.transforms.deadtime import event_time, input_count_rate, paralysable_correction
from bluesky_streamdet.xspress3.abi import TRIGGER_B_FIELDS
from bluesky_streamdet.xspress3.constants import BINS_PER_MCA, NUM_WINDOWS, DeadTimeFlags, Scaler
from bluesky_streamdet.xspress3.simulation.refusal import out_of_range

Floats = NDArray[np.float64]

VARIABLE_WIDTH_EXCESS = 3
"""Clock cycles that event_time is more than the width of an event, when widths vary."""


@dataclass
class DeadTimeParameters:
    """Of the SDK's own correction. Times of an event are offset (s) + gradient (s/keV) times energy (keV); the parts
    that depend on the rate (s/Hz, s/Hz/keV) are kept, but not used.
    """

    flags: int = 0
    all_offset: float = 0.0
    all_gradient: float = 0.0
    all_rate_offset: float = 0.0
    all_rate_gradient: float = 0.0
    window_offset: float = 0.0
    window_gradient: float = 0.0
    window_rate_offset: float = 0.0
    window_rate_gradient: float = 0.0

    @property
    def depends_on_energy(self) -> bool:
        return self.all_gradient != 0 or self.window_gradient != 0


@dataclass
class Channel:
    """windows: first and last raw bin of each. trigger: the ints of `abi.TriggerB` by their names."""

    threshold: int
    trigger: dict[str, int]
    dead_time: DeadTimeParameters
    windows: list[tuple[int, int]] = field(default_factory=lambda: [(0, BINS_PER_MCA - 1)] * NUM_WINDOWS)

    @property
    def event_width(self) -> int:
        """Clock cycles for which an event blinds the channel, but for one."""
        width = self.trigger["event_time"]
        return max(width - VARIABLE_WIDTH_EXCESS, 0) if self.trigger["enb_variable_width"] else width

    def set_window(self, window: int, low: int, high: int) -> None:
        """Raises `Refusal`."""
        check_window(window)
        if not 0 <= low <= high < BINS_PER_MCA:
            raise out_of_range(f"window {window}", f"{low} to {high}", f"0 <= low <= high < {BINS_PER_MCA}")
        self.windows[window] = low, high

    def set_threshold(self, threshold: int) -> None:
        """Raises `Refusal`."""
        if not 0 <= threshold < BINS_PER_MCA:
            raise out_of_range("threshold", threshold, f"0 to {BINS_PER_MCA - 1}")
        self.threshold = threshold


def check_window(window: int) -> None:
    """Raises `Refusal`."""
    if not 0 <= window < NUM_WINDOWS:
        raise out_of_range("window", window, f"0 to {NUM_WINDOWS - 1}")


def new_channel(threshold: int, event_width: int, all_event: float, in_window: float) -> Channel:
    """A channel as its calibration leaves it; times of the dead-time parameters in seconds."""
    trigger: dict[str, int] = dict.fromkeys(TRIGGER_B_FIELDS, 0)
    trigger |= {"enable": 1, "arm_thres": threshold, "end_thres": threshold, "sep1": 3, "event_time": event_width}
    parameters = DeadTimeParameters(all_offset=all_event, window_offset=in_window)
    return Channel(threshold, trigger, parameters)


def factors(
    scalers: NDArray[np.uint32], parameters: DeadTimeParameters, energy: float | None, period: float
) -> tuple[Floats, Floats]:
    """Dead-time factor and estimated true number of events, of one channel, by the SDK's model.

    scalers: of shape (frames, 9). energy: keV. period: seconds of a clock cycle. A channel that is to be omitted has
    factors and numbers of 0.
    """
    if parameters.flags & DeadTimeFlags.OMIT_CHANNEL:
        return np.zeros(len(scalers)), np.zeros(len(scalers))
    counted = Scaler.ALL_GOOD if parameters.flags & DeadTimeFlags.USE_GOOD_EVENT else Scaler.ALL_EVENT
    events, resets, ticks = scalers[:, counted], scalers[:, Scaler.RESET_TICKS], scalers[:, Scaler.LIVE_TICKS]
    all_time = event_time(parameters.all_offset, parameters.all_gradient, energy)
    window_time = event_time(parameters.window_offset, parameters.window_gradient, energy)
    factor = paralysable_correction(events, resets, ticks, period, all_time, window_time)
    return factor, input_count_rate(events, resets, ticks, period, all_time) * ticks * period
