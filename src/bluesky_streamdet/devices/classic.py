"""The detector as a classic ophyd device, for step scans and fly scans.

    from bluesky_streamdet.devices.classic import StreamDetector
    eiger = StreamDetector(name="eiger", url="http://127.0.0.1:8010")
    RE(bluesky.plans.count([eiger], 5))

A trigger is done when the service has written its frames, not when the detector has taken them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ophyd import Component, Device, Kind, Signal
from ophyd.status import DeviceStatus, Status

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.acquisition import Acquisition
from bluesky_streamdet.devices.drivers import DetectorDriver
from bluesky_streamdet.devices.paths import PathProvider
from bluesky_streamdet.devices.setup import DEFAULT_URL, Setup, driver_of, paths_of
from bluesky_streamdet.devices.watch import PendingFrames
from bluesky_streamdet.documents import AssetDocs, Document, Named, ResourceDocuments, data_keys, image_key


class FramesStatus(DeviceStatus):
    """Done when frames are written. Progress bars see how many are."""

    def __init__(self, device: Device, total: int) -> None:
        self._started = time.monotonic()
        self._total = total
        self._current = 0
        super().__init__(device, call_stop_on_failure=False)

    def watch(self, func: Callable[..., None]) -> None:
        self._watchers.append(func)
        self._tell(func)

    def progress(self, written: int) -> None:
        """Tell the watchers that so many frames are written."""
        self._current = written
        for watcher in self._watchers:
            self._tell(watcher)

    def _settled(self) -> None:
        self.progress(self._total if self._exception is None else self._current)

    def _tell(self, watcher: Callable[..., None]) -> None:
        watcher(
            name=self.device.name,
            current=self._current,
            initial=0,
            target=self._total,
            unit="frames",
            precision=0,
            fraction=1 - self._current / self._total if self._total else 0.0,
            time_elapsed=time.monotonic() - self._started,
        )


class StreamDetector(Device):
    """A detector whose frames the service at `url` writes.

    frames_per_event: how many frames make one event; each trigger takes so many. The other keywords are those of
    `devices.setup.Setup`. No connection is opened before the device is staged.

    An event holds `frames_written`, `frames_missing` and, of its last frame, `total`; the frames themselves are announced
    under the device's name, as `asset_docs` says.
    """

    exposure = Component(Signal, value=0.1, kind=Kind.config)
    frames_per_event = Component(Signal, value=1, kind=Kind.config)
    service_url = Component(Signal, value="", kind=Kind.config)
    detector = Component(Signal, value="", kind=Kind.config)
    frames_written = Component(Signal, value=0, kind=Kind.hinted)
    frames_missing = Component(Signal, value=0, kind=Kind.normal)
    total = Component(Signal, value=float("nan"), kind=Kind.hinted)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        url: str = DEFAULT_URL,
        driver: DetectorDriver | str | None = None,
        path_provider: PathProvider | str | None = None,
        path_map: Mapping[str, str] | None = None,
        asset_docs: AssetDocs = "stream",
        frames_per_event: int = 1,
        exposure: float = 0.1,
        totals: bool = True,
        setup: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._acquisition = Acquisition(
            Setup(
                url=url,
                driver=driver_of(driver),
                path_provider=paths_of(path_provider),
                path_map=path_map or {},
                asset_docs=asset_docs,
                totals=totals,
                **(setup or {}),
            )
        )
        self._flight: PendingFrames | None = None
        self._planned: tuple[int, bool] | None = None
        self._queue: list[Named] = []
        super().__init__(prefix, name=name, **kwargs)
        self.exposure.put(exposure)
        self.frames_per_event.put(frames_per_event)
        self.service_url.put(url)
        if not totals:
            self.total.kind = Kind.omitted
