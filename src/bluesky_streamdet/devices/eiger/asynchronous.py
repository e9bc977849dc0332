"""A DECTRIS detector as an ophyd-async device, for step scans and fly scans.

from bluesky_streamdet.devices.eiger.asynchronous import EigerDetector
with init_devices():
    eiger = EigerDetector(simplon="http://eiger", url="http://daq:8010")
RE(bluesky.plans.count([eiger], 5))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from ophyd_async.core import Array1D, Device, SignalRW, soft_signal_r_and_setter, soft_signal_rw

from bluesky_streamdet.devices.asynchronous import StreamDetector, StreamProvider, StreamTrigger
from bluesky_streamdet.devices.eiger.making import SETTINGS, parts_of, settings_of
from bluesky_streamdet.devices.eiger.readings import READINGS
from bluesky_streamdet.devices.eiger.settings import Settings
from bluesky_streamdet.devices.levels import LevelTrigger
from bluesky_streamdet.devices.setup import DEFAULT_MARGIN, DEFAULT_URL


class Readings(Device):
    """What a detector said of itself at the start of the last run, by the names of `readings.READINGS`."""

    def __init__(self, name: str = "") -> None:
        self._setters: dict[str, Callable[[Any], None]] = {}
        for key, one in READINGS.items():
            signal, self._setters[key] = soft_signal_r_and_setter(
                type(one.default), one.default, units=one.unit or None
            )
            setattr(self, key, signal)
        super().__init__(name)

    def show(self, key: str, value: Any) -> None:
        self._setters[key](value)


class EigerDetector(StreamDetector):
    """A DECTRIS detector, and the service at `url` that writes what it streams.

    simplon: of the detector's control unit, as "http://eiger". stream: version of the stream that the service receives,
    1 (`eiger`) or 2 (`eiger-stream2`). initialize: whether a detector that was switched off and on is initialized at
    the start of a run; it takes minutes. numbered: False for a simulator whose answer to arm is not the number of the
    series in its stream. The other keywords are settings as `devices.eiger.settings.Settings` has them, which are
    signals afterwards, and those of `StreamDetector`.

    `hardware` is what the detector said of itself at the start of the last run.
    """

    frame_time: SignalRW[float]
    photon_energy: SignalRW[float]
    thresholds: SignalRW[Array1D[np.float64]]
    roi_mode: SignalRW[str]
    compression: SignalRW[str]
    header_detail: SignalRW[str]
    software_mode: SignalRW[str]
    external_mode: SignalRW[str]
    user_data: SignalRW[str]

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        simplon: str,
        stream: int = 1,
        margin: float = DEFAULT_MARGIN,
        initialize: bool = False,
        numbered: bool = True,
        name: str = "",
        **kwargs: Any,
    ) -> None:
        chosen = {key: kwargs.pop(key) for key in SETTINGS if key in kwargs}
        parts = parts_of(simplon, stream=stream, margin=margin, initialize=initialize, numbered=numbered, **chosen)
        self._driver, self._stream = parts.driver, stream
        for key in SETTINGS:
            setattr(self, key, _signal(getattr(parts.settings, key), SETTINGS[key]))
        self.hardware = Readings()
        super().__init__(url, name=name, **parts.keywords, **kwargs)
        self.add_config_signals(*self._settings_signals, *(getattr(self.hardware, key) for key in READINGS))

    # The detector by itself.

    async def initialize(self) -> None:
        """Initialize the detector, as after it was switched on; done when it has been, after minutes."""
        await asyncio.to_thread(self._driver.initialize)

    async def state(self) -> str:
        """The detector's state now: "na" before it is initialized, "idle", "ready", "acquire", "error"."""
        return await asyncio.to_thread(self._driver.simplon.state)

    async def abort(self) -> None:
        """Abort whatever series the service and the detector have, whoever armed them, so that this can be staged."""
        try:
            await super().abort()
        finally:
            await asyncio.to_thread(self._driver.abort)

    # What the logics do.

    def _make_trigger(self, deadtime: float) -> StreamTrigger:
        return LevelTrigger(self.exposure, deadtime)

    async def open_run(self, name: str) -> StreamProvider:
        """Set up the detector, and arm the service."""
        self._driver.settings, self._driver.exposure = await self._settings(), await self.exposure.get_value()
        provider = await super().open_run(name)
        for key, value in self._driver.readings.items():
            self.hardware.show(key, value)
        return provider

    async def start_frames(self) -> None:
        self._driver.settings = await self._settings()
        await super().start_frames()

    @property
    def _settings_signals(self) -> list[SignalRW[Any]]:
        return [getattr(self, key) for key in SETTINGS]

    async def _settings(self) -> Settings:
        values = await asyncio.gather(*(one.get_value() for one in self._settings_signals))
        level = cast("LevelTrigger", self._trigger).level
        return settings_of({"stream": self._stream, **dict(zip(SETTINGS, values, strict=True))}, level=level)


def _signal(value: Any, unit: str) -> SignalRW[Any]:
    if isinstance(value, tuple):
        return soft_signal_rw(Array1D[np.float64], np.array(value, np.float64), units=unit)
    return soft_signal_rw(type(value), value, units=unit or None)
