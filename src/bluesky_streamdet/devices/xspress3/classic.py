"""An Xspress3 as a classic ophyd device, for step scans, bursts and fly scans.

from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector
xspress3 = Xspress3Detector(name="xspress3", url="http://daq:8010", channels=4, regions={"Fe": "Fe Ka"})
RE(bluesky.plans.count([xspress3], 5), LiveTable(["xspress3_total", "xspress3_Fe"]))

The spectra go into the file and are announced there; an event holds the numbers that tables and plots show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from ophyd import Component, Device, Kind, Signal

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.classic import Planned, StreamDetector
from bluesky_streamdet.devices.drivers import DetectorDriver
from bluesky_streamdet.devices.setup import DEFAULT_URL
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.devices.xspress3.driver import HardwareDriver, TimingOptions
from bluesky_streamdet.devices.xspress3.hardware import Settings, described, region_table
from bluesky_streamdet.devices.xspress3.making import parts_of
from bluesky_streamdet.devices.xspress3.readout import Correction, Numbers
from bluesky_streamdet.devices.xspress3.regions import Calibration, Region, regions_of
from bluesky_streamdet.devices.xspress3.scalars import ANNOUNCED, SCALARS
from bluesky_streamdet.documents import AssetDocs

NAN = float("nan")


class Channel(Device):
    """What one channel had in the last frame of an event. Make omitted ones `Kind.normal` to have them in events.

    spectrum: counts by bin. total: their sum. Both are corrected for dead time as the detector is. dead_time: percent.
    scalers: as the hardware counted.
    """

    total = Component(Signal, value=NAN, kind=Kind.normal)
    dead_time = Component(Signal, value=NAN, kind=Kind.normal)
    spectrum = Component(Signal, value=np.zeros(0), kind=Kind.omitted)
    clock_ticks = Component(Signal, value=0, kind=Kind.omitted)
    total_ticks = Component(Signal, value=0, kind=Kind.omitted)
    reset_ticks = Component(Signal, value=0, kind=Kind.omitted)
    num_resets = Component(Signal, value=0, kind=Kind.omitted)
    all_events = Component(Signal, value=0, kind=Kind.omitted)
    all_good = Component(Signal, value=0, kind=Kind.omitted)
    pileup = Component(Signal, value=0, kind=Kind.omitted)
    window_counts = Component(Signal, value=np.zeros(2), kind=Kind.omitted)
    event_width = Component(Signal, value=0, kind=Kind.omitted)
    dead_time_correction = Component(Signal, value=NAN, kind=Kind.omitted)
    dead_time_correction_sdk = Component(Signal, value=NAN, kind=Kind.omitted)
    output_count_rate = Component(Signal, value=NAN, kind=Kind.omitted)

    def show(self, channel: int, numbers: Numbers) -> None:
        """Show the numbers of this channel."""
        self.total.put(float(numbers.totals[channel]))
        self.dead_time.put(float(numbers.dead_time[channel]))
        self.spectrum.put(numbers.spectra[channel])
        for name in SCALARS.keys() & numbers.scalars.keys():
            values = numbers.scalars[name][..., channel]
            getattr(self, name).put(values if values.ndim else values.item())


class Xspress3Detector(StreamDetector):
    """An Xspress3 whose hardware the service at `url` owns.

    url: may be "tango://…" of the Tango device in front of the service; then it is armed and triggered by Tango.
    channels: how many it has. regions: what to count, by name, as `regions.regions_of` takes it: lines such as "Fe Ka",
    pairs of energies in eV. correction: of dead time, "event_width", "sdk", or "none" for counts as they are.
    ev_per_bin, ev_offset: calibration. exclude: channels, from 0, that sums leave out. columns: what of
    `scalars.SCALARS` to announce beside the spectra. The other keywords are those of `StreamDetector`.

    An event holds, of its last frame, `total` and each region over all channels, and of each channel `total`,
    `dead_time` and each region; the spectra are announced under the device's name, or, with `asset_docs` "resource",
    those of each channel under `NAME_channel0_spectrum` and so on.

    `window0` and `window1` are the hardware's windows, in bins: (low, high), or that for one channel after the other,
    set at the start of the next run; empty leaves them alone.
    """

    correction = Component(Signal, value="event_width", kind=Kind.config)
    ev_per_bin = Component(Signal, value=10.0, kind=Kind.config)
    ev_offset = Component(Signal, value=0.0, kind=Kind.config)
    exclude = Component(Signal, value=[], kind=Kind.config)
    gap = Component(Signal, value=25e-9, kind=Kind.config)
    invert = Component(Signal, value=False, kind=Kind.config)
    debounce = Component(Signal, value=80, kind=Kind.config)
    triggers_per_frame = Component(Signal, value=1, kind=Kind.config)
    gate_input = Component(Signal, value="ttl_veto", kind=Kind.config)
    window0 = Component(Signal, value=np.zeros(0, int), kind=Kind.omitted)
    window1 = Component(Signal, value=np.zeros(0, int), kind=Kind.omitted)
    sum_spectrum = Component(Signal, value=np.zeros(0), kind=Kind.omitted)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        channels: int,
        url: str = DEFAULT_URL,
        driver: DetectorDriver | None = None,
        connect: Callable[[str], Client] | None = None,
        regions: Mapping[str, Any] | Sequence[Region] = (),
        correction: Correction = "event_width",
        ev_per_bin: float = 10.0,
        ev_offset: float = 0.0,
        exclude: Sequence[int] = (),
        columns: Sequence[str] = ANNOUNCED,
        asset_docs: AssetDocs = "stream",
        **kwargs: Any,
    ) -> None:
        parts = parts_of(url, driver, connect, channels=channels, columns=columns)
        self._hardware, self._driver = parts.hardware, parts.driver
        self._readings: dict[str, Signal] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self.channels: tuple[Channel, ...] = ()
        super().__init__(prefix, name=name, asset_docs=asset_docs, **parts.keywords, **kwargs)
        self._check_frames()
        self.channels = tuple(Channel("", name=f"{name}_channel{one}", parent=self) for one in range(channels))
        for signal, value in ((self.correction, correction), (self.exclude, list(exclude))):
            signal.put(value)
        self.ev_per_bin.put(ev_per_bin)
        self.ev_offset.put(ev_offset)
        self.set_regions(regions)
        self._show_hardware()

    # Regions and settings.

    @property
    def regions(self) -> dict[str, Region]:
        """By name; `set_regions` changes them."""
        return {one.name: one for one in self._regions}

    def set_regions(self, regions: Mapping[str, Any] | Sequence[Region]) -> None:
        """Count these from the next run on. Raises `ConfigError`."""
        if self._acquisition.is_open:
            raise ConfigError(f"The regions of {self.name} can't change in the middle of a run.", "Unstage it first.")
        wanted = regions_of(regions)
        table = region_table(wanted, self._calibration)
        self._regions = wanted
        owners = [self.name, *(one.name for one in self.channels)]
        names = [f"{owner}_{one.name}" for owner in owners for one in self._regions]
        self._readings = {name: Signal(name=name, value=NAN) for name in names}
        self._show_facts(table)

    def set_window(self, window: int, low: int, high: int, channel: int = -1) -> None:
        """Set window 0 or 1 of the hardware now, to bins `low` to `high`, inclusive; of all channels, or one."""
        self._hardware.instruct("set_window", window=window, low=low, high=high, channel=channel)

    def save_settings(self, directory: str) -> None:
        """Have the hardware write its settings into a directory on the service's machine, which has to exist."""
        self._hardware.instruct("save_settings", directory=directory)

    def restore_settings(self, directory: str, *, force: bool = False) -> None:
        """Have the hardware read its settings from a directory; force: also those of other firmware."""
        self._hardware.instruct("restore_settings", directory=directory, force=force)

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the hardware do anything else that it can; see the reference of its commands."""
        return self._hardware.instruct(command, **arguments)

    def state(self) -> dict[str, Any]:
        """The state of the hardware now."""
        return self._hardware.ask()

    def abort(self) -> None:
        """Abort whatever series the service and the hardware have, whoever armed them, so that this can be staged."""
        super().abort()
        self._hardware.stop()

    # Stageable

    def stage(self) -> list[object]:
        """Put the settings into the hardware, and arm the service. Raises `ConfigError` besides what arming does."""
        self._check_frames()
        windows = tuple(np.asarray(one.get()).ravel().tolist() for one in (self.window0, self.window1))
        correction, exclude = cast("Correction", self.correction.get()), np.asarray(self.exclude.get()).tolist()
        self._hardware.settings = Settings(self._regions, self._calibration, correction, windows, exclude)
        staged = super().stage()
        self._show_facts(region_table(self._regions, self._calibration))
        self._show_hardware()
        return staged

    def _check_frames(self) -> None:
        """Raises `ConfigError`, before the datum of an event would be that of another frame."""
        frames = self._frames
        if self._acquisition.setup.asset_docs == "resource" and frames > 1:
            raise ConfigError(
                f"Documents of the kind 'resource' can't tell of several frames an event; {self.name} takes {frames}.",
                "Take one, or make the device with asset_docs='stream' and keep the run in Tiled.",
            )

    def _set_driver(self, planned: Planned) -> None:
        if hasattr(self._driver, "timing"):
            cast("HardwareDriver", self._driver).timing = TimingOptions(
                cast("float", self.gap.get()),
                bool(self.invert.get()),
                cast("int", self.debounce.get()),
                cast("int", self.triggers_per_frame.get()),
                planned.level,
                cast("str", self.gate_input.get()),
            )

    def _show_latest(self) -> None:
        numbers = self._hardware.numbers(self._acquisition.latest())
        self.total.put(numbers.total)
        self.sum_spectrum.put(numbers.sum_spectrum)
        for channel, shown in enumerate(self.channels):
            shown.show(channel, numbers)
        for name, counts in numbers.regions.items():
            self._readings[f"{self.name}_{name}"].put(counts)
            for channel, shown in enumerate(self.channels):
                self._readings[f"{shown.name}_{name}"].put(float(numbers.region_counts[name][channel]))

    # Readable

    @property
    def hints(self) -> dict[str, Any]:  # type: ignore[override]  # a plain dict in ophyd, too
        if not self._acquisition.setup.totals:
            return super().hints
        fields = [*super().hints["fields"], *(f"{self.name}_{one.name}" for one in self._regions)]
        return {**super().hints, "fields": fields}

    def describe(self) -> dict[str, Any]:  # type: ignore[override]
        described = super().describe()
        if self._acquisition.setup.asset_docs == "resource":
            spectra = described.pop(self.name)
            one = {**spectra, "shape": spectra["shape"][-1:], "dims": spectra["dims"][-1:]}
            described.update({f"{shown.name}_spectrum": one for shown in self.channels})
        return _merged(described, (one.describe() for one in self._extra))

    def read(self) -> dict[str, Any]:  # type: ignore[override]
        reading = super().read()
        if self._acquisition.setup.asset_docs == "resource":
            datum = reading.pop(self.name)
            for channel, shown in enumerate(self.channels):
                reading[f"{shown.name}_spectrum"] = {**datum, "value": f"{datum['value']}/{channel}"}
        return _merged(reading, (one.read() for one in self._extra))

    def describe_configuration(self) -> dict[str, Any]:  # type: ignore[override]
        described = cast("dict[str, Any]", super().describe_configuration())
        return described | {name: _fact_key(name, one["value"]) for name, one in self._facts.items()}

    def read_configuration(self) -> dict[str, Any]:  # type: ignore[override]
        return cast("dict[str, Any]", super().read_configuration()) | self._facts

    @property
    def _extra(self) -> Iterator[Any]:
        """What an event holds besides what every `StreamDetector` has."""
        if self._acquisition.setup.totals:
            yield from self.channels
            yield from self._readings.values()

    @property
    def _calibration(self) -> Calibration:
        return Calibration(cast("float", self.ev_per_bin.get()), cast("float", self.ev_offset.get()))

    def _show_hardware(self) -> None:
        self._show_facts(described(self._hardware.state))

    def _show_facts(self, values: Mapping[str, Any]) -> None:
        """Have the configuration say this; arrays as lists, which every consumer of documents can store."""
        for name, value in values.items():
            plain = value.tolist() if isinstance(value, np.ndarray) else value
            self._facts[f"{self.name}_{name}"] = {"value": plain, "timestamp": time.time()}


def _fact_key(name: str, value: Any) -> dict[str, Any]:
    array = np.asarray(value)
    kind = "array" if array.ndim else {"f": "number", "U": "string"}.get(array.dtype.kind, "integer")
    return {"source": f"PY:{name}", "dtype": kind, "shape": list(array.shape), "dtype_numpy": array.dtype.str}


def _merged(into: dict[str, Any], parts: Iterator[Any]) -> dict[str, Any]:
    for one in parts:
        into.update(one)
    return into
