"""The SDK's functions about what a channel counts, and about its dead time."""

from __future__ import annotations

import math
from ctypes import POINTER, c_double, c_uint32, cast
from typing import Any

import numpy as np

from bluesky_streamdet.xspress3.abi import TRIGGER_B_FIELDS
from bluesky_streamdet.xspress3.constants import NUM_SCALERS
from bluesky_streamdet.xspress3.simulation.bench import Bench
from bluesky_streamdet.xspress3.simulation.channel import Channel, DeadTimeParameters, check_window
from bluesky_streamdet.xspress3.simulation.reading import dead_time_factors
from bluesky_streamdet.xspress3.simulation.refusal import out_of_range, whole_range
from bluesky_streamdet.xspress3.simulation.setup_calls import OK, null, put

MOST_CORRECTED = 1 << 24
"""Frames for which factors are asked at once."""


class ChannelCalls:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def set_window(self, path: int, channel: int, window: int, low: int, high: int) -> int:
        system = self._bench.system(path)
        for one in system.chosen_channels(channel):
            system.channels[one].set_window(window, low, high)
        system.change()
        return OK

    def get_window(self, path: int, channel: int, window: int, low: Any, high: Any) -> int:
        chosen = self._channel(path, channel)
        check_window(window)
        put(low, chosen.windows[window][0])
        put(high, chosen.windows[window][1])
        return OK

    def set_good_thres(self, path: int, channel: int, threshold: int) -> int:
        system = self._bench.system(path)
        for one in system.chosen_channels(channel):
            system.channels[one].set_threshold(threshold)
        system.change()
        return OK

    def get_good_thres(self, path: int, channel: int, threshold: Any) -> int:
        put(threshold, self._channel(path, channel).threshold)
        return OK

    def get_trigger_b(self, path: int, channel: int, trigger: Any) -> int:
        chosen = self._channel(path, channel)
        if not trigger:
            raise null("trig_b")
        for name in TRIGGER_B_FIELDS:
            setattr(trigger[0], name, chosen.trigger[name])
        return OK

    # Dead time

    def set_deadtime_correction_parameters(
        self,
        path: int,
        channel: int,
        flags: int,
        all_gradient: float,
        all_offset: float,
        window_offset: float,
        window_gradient: float,
    ) -> int:
        parameters = DeadTimeParameters(
            flags=flags,
            all_offset=all_offset,
            all_gradient=all_gradient,
            window_offset=window_offset,
            window_gradient=window_gradient,
        )
        return self._set_parameters(path, channel, parameters)

    def get_deadtime_correction_parameters(
        self,
        path: int,
        channel: int,
        flags: Any,
        all_gradient: Any,
        all_offset: Any,
        window_offset: Any,
        window_gradient: Any,
    ) -> int:
        parameters = self._channel(path, channel).dead_time
        put(flags, parameters.flags)
        put(all_gradient, parameters.all_gradient)
        put(all_offset, parameters.all_offset)
        put(window_offset, parameters.window_offset)
        put(window_gradient, parameters.window_gradient)
        return OK

    def set_deadtime_correction_parameters2(self, path: int, channel: int, flags: int, *times: float) -> int:
        return self._set_parameters(path, channel, DeadTimeParameters(flags, *times))

    def get_deadtime_correction_parameters2(self, path: int, channel: int, flags: Any, *times: Any) -> int:
        parameters = self._channel(path, channel).dead_time
        for pointer, value in zip((flags, *times), vars(parameters).values(), strict=True):
            put(pointer, value)
        return OK

    def get_deadtime_correction_flags(self, path: int, channel: int, flags: Any) -> int:
        put(flags, self._channel(path, channel).dead_time.flags)
        return OK

    def set_deadtime_calculation_energy(self, path: int, energy: float) -> int:
        system = self._bench.system(path)
        if not (math.isfinite(energy) and energy > 0):
            raise out_of_range("energy", energy, "a positive number of keV")
        system.energy = energy
        return OK

    def get_deadtime_calculation_energy(self, path: int) -> float:
        return self._bench.system(path).energy or 0.0

    def calculate_deadtime_correction_factors(
        self, path: int, scalers: Any, factors: Any, events: Any, frames: int, first: int, number: int
    ) -> int:
        system = self._bench.system(path)
        channels = whole_range("channels", first, number, len(system.channels))
        if not 1 <= frames <= MOST_CORRECTED:
            raise out_of_range("num_tf", frames, f"1 to {MOST_CORRECTED}")
        if not scalers or not factors:
            raise null("array of scalers or factors")
        shape = frames, len(channels)
        counted = np.ctypeslib.as_array(cast(scalers, POINTER(c_uint32)), (*shape, NUM_SCALERS))
        calculated = dead_time_factors(system, counted, channels)
        for pointer, values in zip((factors, events), calculated, strict=True):
            if pointer:
                np.ctypeslib.as_array(cast(pointer, POINTER(c_double)), shape)[:] = values
        return OK

    def _set_parameters(self, path: int, channel: int, parameters: DeadTimeParameters) -> int:
        system = self._bench.system(path)
        for one in system.chosen_channels(channel):
            system.channels[one].dead_time = DeadTimeParameters(*vars(parameters).values())
        return OK

    def _channel(self, path: int, channel: int) -> Channel:
        system = self._bench.system(path)
        return system.channels[system.channel(channel)]
