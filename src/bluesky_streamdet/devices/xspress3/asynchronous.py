"""An Xspress3 as an ophyd-async device, for step scans, bursts and fly scans.

from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector
with init_devices():
    xspress3 = Xspress3Detector(url="http://daq:8010", channels=4, regions={"Fe": "Fe Ka"})
RE(bluesky.plans.count([xspress3], 5), LiveTable(["xspress3-total", "xspress3-regions-Fe"]))

The spectra go into the file and are announced there; an event holds the numbers that tables and plots show.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from ophyd_async.core import (
    Array1D,
    Device,
    DeviceVector,
    SignalR,
    SignalRW,
    soft_signal_r_and_setter,
    soft_signal_rw,
)

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.asynchronous import StreamDetector, StreamProvider, StreamTrigger
from bluesky_streamdet.devices.drivers import DetectorDriver
from bluesky_streamdet.devices.levels import LevelTrigger
from bluesky_streamdet.devices.setup import DEFAULT_URL
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.devices.xspress3.driver import HardwareDriver, TimingOptions
from bluesky_streamdet.devices.xspress3.hardware import Settings, described, region_table
from bluesky_streamdet.devices.xspress3.making import parts_of
from bluesky_streamdet.devices.xspress3.readout import Correction, Numbers
from bluesky_streamdet.devices.xspress3.regions import Calibration, Region, regions_of
from bluesky_streamdet.devices.xspress3.scalars import ANNOUNCED, SCALARS

Integers = Array1D[np.int64]
NAN = float("nan")
NONE = np.zeros(0, np.int64)


class Shown:
    """Read-only soft signals by name, and what sets them."""

    def __init__(self) -> None:
        self.signals: dict[str, SignalR[Any]] = {}
        self._setters: dict[str, Callable[[Any], None]] = {}

    def make(self, name: str, kind: type[Any], value: Any = None) -> SignalR[Any]:
        signal, self._setters[name] = soft_signal_r_and_setter(kind, value)
        self.signals[name] = signal
        return signal

    def show(self, name: str, value: Any) -> None:
        self._setters[name](value)


class RegionCounts(Device):
    """Counts of regions in the last frame of an event: of each a signal, by its name."""

    def __init__(self, regions: Sequence[Region], name: str = "") -> None:
        self._shown = Shown()
        for one in regions:
            setattr(self, one.name, self._shown.make(one.name, float, NAN))
        super().__init__(name)

    @property
    def values(self) -> list[SignalR[Any]]:
        return list(self._shown.signals.values())

    def show(self, name: str, counts: float) -> None:
        self._shown.show(name, counts)


class Channel(Device):
    """What one channel had in the last frame of an event.

    spectrum: counts by bin. total: their sum; regions: of each region. All are corrected for dead time as the detector
    is. dead_time: percent. scalers: as the hardware counted.
    """

    def __init__(self, regions: Sequence[Region], name: str = "") -> None:
        shown = self._shown = Shown()
        self.total = shown.make("total", float, NAN)
        self.dead_time = shown.make("dead_time", float, NAN)
        self.spectrum = shown.make("spectrum", Array1D[np.float64])
        self.scalers = Device()
        for key, kind in SCALARS.items():
            made = float if kind.dtype == "<f8" else int
            setattr(self.scalers, key, shown.make(key, Integers if kind.dims[:-1] else made))
        self.regions = RegionCounts(regions)
        super().__init__(name)

    @property
    def values(self) -> list[SignalR[Any]]:
        """What of it an event holds."""
        return [self.total, self.dead_time, *self.regions.values]

    def show(self, channel: int, numbers: Numbers) -> None:
        """Show the numbers of this channel."""
        show = self._shown.show
        show("total", float(numbers.totals[channel]))
        show("dead_time", float(numbers.dead_time[channel]))
        show("spectrum", numbers.spectra[channel])
        for name in SCALARS.keys() & numbers.scalars.keys():
            values = numbers.scalars[name][..., channel]
            show(name, values.astype(np.int64) if values.ndim else values.item())
        for name, counts in numbers.region_counts.items():
            self.regions.show(name, float(counts[channel]))


class Xspress3Detector(StreamDetector):
    """An Xspress3 whose hardware the service at `url` owns.

    url: may be "tango://…" of the Tango device in front of the service; then it is armed and triggered by Tango.
    channels: how many it has. regions: what to count, by name, as `regions.regions_of` takes it: lines such as "Fe Ka",
    pairs of energies in eV. correction: of dead time, "event_width", "sdk", or "none" for counts as they are.
    ev_per_bin, ev_offset: calibration. exclude: channels, from 0, that sums leave out. columns: what of
    `scalars.SCALARS` to announce beside the spectra. The other keywords are those of `StreamDetector`.

    An event holds, of its last frame, `total` and each region over all channels, and of each channel `total`,
    `dead_time` and each region; the spectra are announced under the device's name.

    `window0` and `window1` are the hardware's windows, in bins: (low, high), or that for one channel after the other,
    set at the start of the next run; empty leaves them alone.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        channels: int,
        driver: DetectorDriver | None = None,
        connect: Callable[[str], Client] | None = None,
        regions: Mapping[str, Any] | Sequence[Region] = (),
        correction: Correction = "event_width",
        ev_per_bin: float = 10.0,
        ev_offset: float = 0.0,
        exclude: Sequence[int] = (),
        columns: Sequence[str] = ANNOUNCED,
        name: str = "",
        **kwargs: Any,
    ) -> None:
        parts = parts_of(url, driver, connect, channels=channels, columns=columns)
        self._hardware, self._driver = parts.hardware, parts.driver
        self._regions = regions_of(regions)
        self._shown = Shown()
        self.correction = soft_signal_rw(str, correction)
        self.ev_per_bin = soft_signal_rw(float, ev_per_bin, units="eV")
        self.ev_offset = soft_signal_rw(float, ev_offset, units="eV")
        self.exclude = soft_signal_rw(Integers, np.array(exclude, np.int64))
        self.gap = soft_signal_rw(float, 25e-9, units="s")
        self.invert = soft_signal_rw(bool, False)
        self.debounce = soft_signal_rw(int, 80)
        self.triggers_per_frame = soft_signal_rw(int, 1)
        self.gate_input = soft_signal_rw(str, "ttl_veto")
        self.window0, self.window1 = soft_signal_rw(Integers, NONE), soft_signal_rw(Integers, NONE)
        self.sum_spectrum = self._shown.make("sum_spectrum", Array1D[np.float64])
        self.regions = RegionCounts(self._regions)
        self.channels = DeviceVector({one: Channel(self._regions) for one in range(channels)})
        self._table = Shown()
        self._add_table(Calibration(ev_per_bin, ev_offset))
        super().__init__(**parts.keywords, name=name, **kwargs)
        self.add_config_signals(*self._settings_signals, *self._table.signals.values())

    # Regions and settings.

    async def set_regions(self, regions: Mapping[str, Any] | Sequence[Region]) -> None:
        """Count these from the next run on. Raises `ConfigError`."""
        if self._acquisition.is_open:
            raise ConfigError(f"The regions of {self.name} can't change in the middle of a run.", "Unstage it first.")
        wanted = regions_of(regions)
        table = region_table(wanted, Calibration(*await _values_of(self.ev_per_bin, self.ev_offset)))
        self._regions = wanted
        owners = self, *self.channels.values()
        for one in owners:
            one.regions = RegionCounts(wanted)
        await asyncio.gather(*(one.regions.connect() for one in owners))
        self._show_table(table)

    async def set_window(self, window: int, low: int, high: int, channel: int = -1) -> None:
        """Set window 0 or 1 of the hardware now, to bins `low` to `high`, inclusive; of all channels, or one."""
        await self.instruct("set_window", window=window, low=low, high=high, channel=channel)

    async def save_settings(self, directory: str) -> None:
        """Have the hardware write its settings into a directory on the service's machine, which has to exist."""
        await self.instruct("save_settings", directory=directory)

    async def restore_settings(self, directory: str, *, force: bool = False) -> None:
        """Have the hardware read its settings from a directory; force: also those of other firmware."""
        await self.instruct("restore_settings", directory=directory, force=force)

    async def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the hardware do anything else that it can; see the reference of its commands."""
        return await asyncio.to_thread(functools.partial(self._hardware.instruct, command, **arguments))

    async def state(self) -> dict[str, Any]:
        """The state of the hardware now."""
        return await asyncio.to_thread(self._hardware.ask)

    async def abort(self) -> None:
        """Abort whatever series the service and the hardware have, whoever armed them, so that this can be staged."""
        await super().abort()
        await asyncio.to_thread(self._hardware.stop)

    @property
    def _settings_signals(self) -> Sequence[SignalRW[Any]]:
        timing = self.gap, self.invert, self.debounce, self.triggers_per_frame, self.gate_input
        return *timing, self.correction, self.ev_per_bin, self.ev_offset, self.exclude

    # What the logics do.

    def _make_trigger(self, deadtime: float) -> StreamTrigger:
        return LevelTrigger(self.exposure, deadtime)

    @property
    def hinted(self) -> list[str]:
        totals = self._acquisition.setup.totals
        return [*super().hinted, *([one.name for one in self.regions.values] if totals else [])]

    async def open_run(self, name: str) -> StreamProvider:
        """Put the settings into the hardware, and arm the service."""
        self._hardware.settings = await self._settings()
        provider = await super().open_run(name)
        table = region_table(self._regions, self._hardware.settings.calibration)
        self._show_table(table | described(self._hardware.state))
        return provider

    async def start_frames(self) -> None:
        if hasattr(self._driver, "timing"):
            gap, invert, debounce, triggers, gate_input = await _values_of(*self._settings_signals[:5])
            level = cast("LevelTrigger", self._trigger).level
            timing = TimingOptions(gap, invert, debounce, triggers, level, gate_input)
            cast("HardwareDriver", self._driver).timing = timing
        await super().start_frames()

    async def _settings(self) -> Settings:
        correction, ev_per_bin, ev_offset, exclude = await _values_of(*self._settings_signals[5:])
        windows = await _values_of(self.window0, self.window1)
        calibration = Calibration(ev_per_bin, ev_offset)
        return Settings(self._regions, calibration, correction, [one.tolist() for one in windows], exclude.tolist())

    @property
    def _values(self) -> Sequence[SignalR[Any]]:
        if not self._acquisition.setup.totals:
            return super()._values
        channels = (value for one in self.channels.values() for value in one.values)
        return *super()._values, *self.regions.values, *channels

    async def _show_latest(self) -> None:
        numbers = self._hardware.numbers(await asyncio.to_thread(self._acquisition.latest))
        self._set_total(numbers.total)
        self._shown.show("sum_spectrum", numbers.sum_spectrum)
        for name, counts in numbers.regions.items():
            self.regions.show(name, counts)
        for channel, shown in self.channels.items():
            shown.show(channel, numbers)

    def _add_table(self, calibration: Calibration) -> None:
        """Signals for what a descriptor says of the hardware and of the regions."""
        self.hardware = Device()
        for key, value in (region_table(self._regions, calibration) | described({})).items():
            kind: Any = type(value)
            if isinstance(value, np.ndarray):
                kind = Array1D[value.dtype.type] if value.ndim == 1 else np.ndarray
            elif isinstance(value, list):
                kind = Sequence[str]
            setattr(self.hardware, key, self._table.make(key, kind, value))

    def _show_table(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            self._table.show(key, value)


async def _values_of(*signals: SignalR[Any]) -> list[Any]:
    return await asyncio.gather(*(one.get_value() for one in signals))
