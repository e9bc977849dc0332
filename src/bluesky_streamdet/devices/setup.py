"""How a device was set up: the keywords that both faces take, and what they mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.drivers import DetectorDriver, ExternalDriver, SimulatedDriver
from bluesky_streamdet.devices.paths import PathProvider, StaticPaths
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.documents import COLUMNS, AssetDocs
from bluesky_streamdet.streaming.status import DatasetReport

DEFAULT_URL = "http://127.0.0.1:8010"
DEFAULT_MARGIN = 10.0
DEFAULT_COLUMNS = ("sequence_number",)


def connect(url: str) -> Client:
    """The client of a service over REST; its libraries are loaded with the first run, not with the device."""
    from bluesky_streamdet.service.client import ServiceClient

    return ServiceClient(url)


@dataclass(frozen=True, slots=True)
class Setup:
    """url: of the service. driver: makes the detector take frames; left out, somebody else does; a string is the
    control port of a simulated detector.

    path_provider: where files go; a string is a directory inside the data directory. path_map: prefixes of paths on the
    service's machine, and what they are called where data are read.

    asset_docs: "stream", or "resource" for databroker 1.x and Mongo. columns: numbers of each frame to announce beside
    it, of `documents.COLUMNS`. shape, dtype: of a frame; wanted only for a fly scan that is the first thing a detector
    does.

    margin: seconds that a frame may take beyond its exposure. totals: whether an event holds the counts of its last
    frame, which costs fetching it. connect: makes the client of a service from its URL.

    scalars: which of what the detector sends with each frame to announce beside it. dims: names of the axes of a
    frame under "", of a scalar under its name. channels: more than 0 for spectra, whose "resource" documents are those
    of Xspress3 handlers. ready: called at the start of each run with the client; returns what frames will be like, if
    that is known.
    """

    url: str = DEFAULT_URL
    driver: DetectorDriver = field(default_factory=ExternalDriver)
    path_provider: PathProvider = field(default_factory=lambda: StaticPaths(""))
    path_map: Mapping[str, str] = field(default_factory=dict)
    asset_docs: AssetDocs = "stream"
    columns: Sequence[str] = DEFAULT_COLUMNS
    shape: Sequence[int] | None = None
    dtype: str | None = None
    margin: float = DEFAULT_MARGIN
    totals: bool = True
    connect: Callable[[str], Client] = connect
    separator: str = "_"
    scalars: Sequence[str] = ()
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    channels: int = 0
    ready: Callable[[Client], DatasetReport | None] = lambda client: None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if self.asset_docs not in ("stream", "resource"):
            raise ConfigError(f"asset_docs is {self.asset_docs!r}; it may be 'stream' or 'resource'.")
        if unknown := set(self.columns) - set(COLUMNS):
            raise ConfigError(f"There are no columns {sorted(unknown)}; there are {sorted(COLUMNS)}.")


def driver_of(driver: DetectorDriver | str | None) -> DetectorDriver:
    """The driver that a device was given."""
    if driver is None:
        return ExternalDriver()
    return SimulatedDriver(driver) if isinstance(driver, str) else driver


def paths_of(paths: PathProvider | str | None) -> PathProvider:
    """The path provider that a device was given: one, a directory, or none (then the data directory itself)."""
    return StaticPaths(paths or "") if paths is None or isinstance(paths, str) else paths
