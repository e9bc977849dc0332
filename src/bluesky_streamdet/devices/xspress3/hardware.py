"""What both faces of an Xspress3 do besides taking frames: settings to the hardware, its state and numbers from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.devices.xspress3.driver import HardwareClient, of_hardware, stop
from bluesky_streamdet.devices.xspress3.readout import Correction, Numbers, Readout
from bluesky_streamdet.devices.xspress3.regions import Axis, Calibration, Region
from bluesky_streamdet.devices.xspress3.scalars import WINDOWS, expected
from bluesky_streamdet.streaming.status import DatasetReport, LatestFrame


@dataclass(frozen=True, slots=True)
class Settings:
    """How a device is set up at the start of a run.

    windows: of the hardware, each empty (left as it is), (low, high) for all channels, or that for one channel after
    the other. exclude: channels that sums leave out.
    """

    regions: tuple[Region, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    correction: Correction = "event_width"
    windows: Sequence[Sequence[int]] = ((), ())
    exclude: Sequence[int] = ()


class Hardware:
    """The hardware of a device with `channels` channels. Its methods block, and may be called from any thread.

    connect: makes a client of the service that owns it. The rule it keeps: what a run's documents say of the hardware
    is what the hardware itself said at the start of that run.
    """

    def __init__(self, connect: Callable[[], HardwareClient], channels: int) -> None:
        if channels < 1:
            raise ConfigError(f"An Xspress3 with {channels} channels is none.")
        self.channels = channels
        self.settings = Settings()
        self.state: dict[str, Any] = {}
        self.connect = connect
        self._readout = Readout({})
        self._lock = threading.Lock()

    def ready(self, client: Client) -> DatasetReport:
        """Put the settings into the hardware, and learn what its frames will be like.

        Raises `ConfigError`, and `HardwareFailed` while the hardware has to be reset.
        """
        steered, settings = of_hardware(client), self.settings
        state = steered.detector()
        if state["state"] == "fault":
            raise HardwareFailed(
                f"The Xspress3 has a fault: {state['error']}",
                'When its cause is mended: instruct("reset") opens it anew.',
            )
        self._check_channels(state)
        wanted = [self._limits(window, limits) for window, limits in enumerate(settings.windows)]
        for window, channel, low, high in (one for limits in wanted for one in limits):
            state = steered.instruct("set_window", window=window, low=low, high=high, channel=channel)
        axis = Axis(int(state["bins"]), int(state.get("first_bin", 0)), state.get("regions") or ())
        readout = Readout.of(settings.regions, axis, settings.calibration, settings.correction, settings.exclude)
        with self._lock:
            self.state, self._readout = state, readout
        return expected(state)

    def numbers(self, frame: LatestFrame | None) -> Numbers:
        """What an event says of its last frame; without one, all of it is nan."""
        if frame is None:
            return self._nothing()
        return self._readout.numbers(frame.pixels, frame.scalars)

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the hardware do something, with a client of its own. Raises what the hardware refuses."""
        client = self.connect()
        try:
            return client.instruct(command, **arguments)
        finally:
            client.close()

    def stop(self) -> None:
        """Stop the hardware, whoever has armed it."""
        client = self.connect()
        try:
            stop(client)
        finally:
            client.close()

    def ask(self) -> dict[str, Any]:
        """The state of the hardware now."""
        client = self.connect()
        try:
            return client.detector()
        finally:
            client.close()

    def _check_channels(self, state: Mapping[str, Any]) -> None:
        if int(state["channels"]) != self.channels:
            raise ConfigError(
                f"The detector has {state['channels']} channels; the device was made for {self.channels}.",
                f"Make it with channels={state['channels']}.",
            )
        if beyond := [one for one in self.settings.exclude if not 0 <= one < self.channels]:
            raise ConfigError(f"There are no channels {beyond} to exclude; they are 0 to {self.channels - 1}.")

    def _limits(self, window: int, limits: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """Window, channel (-1: all), low and high of what there is to set."""
        values = [int(one) for one in limits]
        if not values:
            return []
        if len(values) == 2:
            return [(window, -1, *values)]  # type: ignore[list-item]
        if len(values) == 2 * self.channels:
            return [(window, one, values[2 * one], values[2 * one + 1]) for one in range(self.channels)]
        raise ConfigError(
            f"Window {window} is given as {len(values)} numbers.",
            f"Give low and high, or that for each of the {self.channels} channels.",
        )

    def _nothing(self) -> Numbers:
        none = np.full(self.channels, np.nan)
        bins = int(self.state.get("bins", 0))
        names = self._readout.masks
        return Numbers(
            float("nan"),
            dict.fromkeys(names, float("nan")),
            none,
            dict.fromkeys(names, none),
            none,
            np.full(bins, np.nan),
            np.full((self.channels, bins), np.nan),
        )


def described(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a descriptor says of the hardware, by names of configuration values: text, numbers, arrays of numbers.

    windows: low and high of each channel of each window, (windows, channels, 2). lookup: the hardware's own regions,
    (regions, 3). dead_time_parameters: for each channel all-event offset and gradient, in-window offset and gradient.
    dead_time_energy: in keV, 0 when none is set.
    """
    parameters = ("all_event_offset", "all_event_gradient", "in_window_offset", "in_window_gradient")
    channels = int(state.get("channels", 0))
    dead_time = [[float(one[key]) for key in parameters] for one in state.get("dead_time", [])]
    energy = state.get("dead_time_energy")
    return {
        "generation": str(state.get("generation", "")),
        "revision": str(state.get("revision", "")),
        "clock_period": float(state.get("clock_period", 0.0)),
        "bins": int(state.get("bins", 0)),
        "first_bin": int(state.get("first_bin", 0)),
        "windows": np.array(state.get("windows") or np.zeros((WINDOWS, channels, 2)), np.int64),
        "thresholds": np.array(state.get("thresholds", []), np.int64),
        "event_widths": np.array(state.get("event_widths", []), np.int64),
        "lookup": np.array(state.get("regions") or [], np.int64).reshape(-1, 3),
        "dead_time_parameters": np.array(dead_time, np.float64).reshape(-1, len(parameters)),
        "dead_time_energy": 0.0 if energy is None else float(energy),
    }


def region_table(regions: Sequence[Region], calibration: Calibration) -> dict[str, Any]:
    """What a descriptor says of regions: names, and from where to where they go in eV and in bins, inclusive."""
    energies = [one.energies(calibration) for one in regions]
    bins = [one.bins(calibration) for one in regions]
    return {
        "region_names": [one.name for one in regions],
        "region_low": np.array([low for low, _ in energies], np.float64),
        "region_high": np.array([high for _, high in energies], np.float64),
        "region_first_bin": np.array([low for low, _ in bins], np.int64),
        "region_last_bin": np.array([high for _, high in bins], np.int64),
    }
