"""What the keywords of a device become, for both faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bluesky_streamdet.devices.eiger.driver import EigerDriver
from bluesky_streamdet.devices.eiger.settings import Settings, as_text
from bluesky_streamdet.devices.eiger.simplon import Simplon
from bluesky_streamdet.devices.setup import DEFAULT_MARGIN

SETTINGS: Mapping[str, str] = {
    "frame_time": "s",
    "photon_energy": "eV",
    "thresholds": "eV",
    "roi_mode": "",
    "compression": "",
    "header_detail": "",
    "software_mode": "",
    "external_mode": "",
    "user_data": "",
}
"""Settings that are signals of a device, and their units."""


class Parts(NamedTuple):
    """settings: to begin with. keywords: of the `StreamDetector` that an `EigerDetector` is."""

    driver: EigerDriver
    settings: Settings
    keywords: dict[str, Any]


def parts_of(
    simplon: str,
    *,
    margin: float = DEFAULT_MARGIN,
    initialize: bool = False,
    numbered: bool = True,
    **settings: Any,
) -> Parts:
    """simplon: of the detector's control unit, as "http://eiger". The others are those of `EigerDriver` and `Settings`.

    Raises `ConfigError`, and `TypeError` for a setting that there is not.
    """
    begin = settings_of(settings)
    driver = EigerDriver(Simplon(simplon), begin, margin=margin, initialize=initialize, numbered=numbered)
    return Parts(driver, begin, {"driver": driver, "margin": margin, "extras": {"ready": driver.ready}})


def settings_of(values: Mapping[str, Any], *, level: bool = False) -> Settings:
    """Settings of the values of signals, or of keywords. level: external triggers are levels. Raises `ConfigError`."""
    given: dict[str, Any] = {**values, "user_data": as_text(values.get("user_data", ""))}
    given["thresholds"] = tuple(float(one) for one in values.get("thresholds", ()))
    given |= {name: float(given[name]) for name in ("frame_time", "photon_energy") if name in given}
    if level:
        given["external_mode"] = "exte"
    return Settings(**given)
