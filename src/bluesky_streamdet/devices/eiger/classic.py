"""A DECTRIS detector as a classic ophyd device, for step scans and fly scans.

from bluesky_streamdet.devices.eiger.classic import EigerDetector
eiger = EigerDetector(name="eiger", simplon="http://eiger", url="http://daq:8010")
RE(bluesky.plans.count([eiger], 5))
"""

from __future__ import annotations

from typing import Any

from ophyd import Component, DynamicDeviceComponent, Kind, Signal

from bluesky_streamdet.devices.classic import Planned, StreamDetector
from bluesky_streamdet.devices.eiger.making import SETTINGS, parts_of, settings_of
from bluesky_streamdet.devices.eiger.readings import READINGS
from bluesky_streamdet.devices.eiger.settings import Settings
from bluesky_streamdet.devices.setup import DEFAULT_MARGIN


class QuantitySignal(Signal):
    """A signal that says its unit."""

    def __init__(self, *, unit: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unit = unit

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = super().describe()
        if self.unit:
            described[self.name]["units"] = self.unit
        return described


def _setting(name: str, value: Any) -> Component[QuantitySignal]:
    return Component(QuantitySignal, value=value, unit=SETTINGS[name], kind=Kind.config)


class EigerDetector(StreamDetector):
    """A DECTRIS detector, and the service at `url` that writes what it streams.

    simplon: of the detector's control unit, as "http://eiger". stream: version of the stream that the service receives,
    1 (`eiger`) or 2 (`eiger-stream2`). initialize: whether a detector that was switched off and on is initialized at
    the start of a run; it takes minutes. numbered: False for a simulator whose answer to arm is not the number of the
    series in its stream. The other keywords are settings as `devices.eiger.settings.Settings` has them, which are
    signals afterwards, and those of `StreamDetector`.

    `hardware` is what the detector said of itself at the start of the last run.
    """

    frame_time = _setting("frame_time", 0.0)
    photon_energy = _setting("photon_energy", 0.0)
    thresholds = _setting("thresholds", [])
    roi_mode = _setting("roi_mode", "")
    compression = _setting("compression", "")
    header_detail = _setting("header_detail", "")
    software_mode = _setting("software_mode", "")
    external_mode = _setting("external_mode", "")
    user_data = _setting("user_data", "")
    hardware = DynamicDeviceComponent(
        {
            name: (QuantitySignal, None, {"value": one.default, "unit": one.unit, "kind": Kind.config})
            for name, one in READINGS.items()
        },
        kind=Kind.config,
    )

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        simplon: str,
        stream: int = 1,
        margin: float = DEFAULT_MARGIN,
        initialize: bool = False,
        numbered: bool = True,
        **kwargs: Any,
    ) -> None:
        chosen = {key: kwargs.pop(key) for key in SETTINGS if key in kwargs}
        parts = parts_of(simplon, stream=stream, margin=margin, initialize=initialize, numbered=numbered, **chosen)
        self._driver, self._stream = parts.driver, stream
        super().__init__(prefix, name=name, **parts.keywords, **kwargs)
        for key in SETTINGS:
            value = getattr(parts.settings, key)
            getattr(self, key).put(list(value) if isinstance(value, tuple) else value)

    # The detector by itself.

    def initialize(self) -> None:
        """Initialize the detector, as after it was switched on; returns when it has been, after minutes."""
        self._driver.initialize()

    def state(self) -> str:
        """The detector's state now: "na" before it is initialized, "idle", "ready", "acquire", "error"."""
        return self._driver.simplon.state()

    def abort(self) -> None:
        """Abort whatever series the service and the detector have, whoever armed them, so that this can be staged."""
        try:
            super().abort()
        finally:
            self._driver.abort()

    # Stageable

    def stage(self) -> list[object]:
        """Set up the detector, and arm the service. Raises what `EigerDriver.ready` does besides what arming does."""
        self._driver.settings, self._driver.exposure = self._settings(), self._exposure
        staged = super().stage()
        for name, value in self._driver.readings.items():
            getattr(self.hardware, name).put(value)
        return staged

    def _set_driver(self, planned: Planned) -> None:
        self._driver.settings = self._settings(level=planned.level)

    def _settings(self, *, level: bool = False) -> Settings:
        values = {name: getattr(self, name).get() for name in SETTINGS}
        return settings_of({"stream": self._stream, **values}, level=level)
