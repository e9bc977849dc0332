"""What the keywords of a device become, for both faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.drivers import DetectorDriver
from bluesky_streamdet.devices.setup import DEFAULT_URL
from bluesky_streamdet.devices.setup import connect as connect_to_service
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.devices.xspress3.driver import ServiceDriver, of_hardware
from bluesky_streamdet.devices.xspress3.hardware import Hardware
from bluesky_streamdet.devices.xspress3.scalars import DIMS, SCALARS
from bluesky_streamdet.documents import COLUMNS

TANGO = "tango://"


class Parts(NamedTuple):
    """keywords: of the `StreamDetector` that an `Xspress3Detector` is."""

    hardware: Hardware
    driver: DetectorDriver
    keywords: dict[str, Any]


def parts_of(
    url: str = DEFAULT_URL,
    driver: DetectorDriver | None = None,
    connect: Callable[[str], Client] | None = None,
    *,
    channels: int,
    columns: Sequence[str],
) -> Parts:
    """url: of the service, or "tango://…" of the Tango device in front of it, by which then goes what steers.

    Raises `ConfigError` for columns that there are not, and `MissingLibrary` for Tango without its library.
    """
    if unknown := set(columns) - set(SCALARS) - set(COLUMNS):
        raise ConfigError(f"There are no columns {sorted(unknown)}; there are {', '.join([*SCALARS, *COLUMNS])}.")
    if url.startswith(TANGO):
        from bluesky_streamdet.devices.xspress3.tango_driver import TangoDriver, service_of

        connect = connect or service_of
        driver = driver or TangoDriver(url)
    connect = connect or connect_to_service
    hardware = Hardware(partial(_connected, connect, url), channels)
    driver = driver or ServiceDriver(hardware.connect)
    extras: Mapping[str, Any] = {
        "scalars": tuple(one for one in columns if one in SCALARS),
        "dims": DIMS,
        "channels": channels,
        "ready": hardware.ready,
    }
    own = tuple(one for one in columns if one in COLUMNS)
    return Parts(hardware, driver, {"url": url, "driver": driver, "connect": connect, "columns": own, "extras": extras})


def _connected(connect: Callable[[str], Client], url: str) -> Any:
    return of_hardware(connect(url))
