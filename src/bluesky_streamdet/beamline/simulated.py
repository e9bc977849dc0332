"""A simulated detector and its service, started while the session goes on, and waited for by who wants them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.drivers import SimulatedDriver
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.local import LocalBeamline, frames_of
from bluesky_streamdet.sim.settings import SimulatorSettings


class SimulatedPart:
    """Starts with `begin`, in a thread of its own. What it meets is raised by who wants it, and each scan tries anew.

    values: settings of `sim.settings.SimulatorSettings`. frames: where they go. Raises `ConfigError`.
    """

    def __init__(self, name: str, values: Mapping[str, Any], frames: Path) -> None:
        self.name = name
        self.driver = LateDriver(self)
        try:
            self.settings = msgspec.convert({"endpoint": "tcp://127.0.0.1:0", **values}, SimulatorSettings)
        except msgspec.ValidationError as error:
            raise ConfigError(f"The simulation of {name} is not as it may be: {error}.") from error
        self._frames = frames
        self._running: LocalBeamline | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._start, name=f"start of {name}", daemon=True)

    def begin(self) -> None:
        """Start it, and do not wait. May be called once."""
        self._thread.start()

    @property
    def running(self) -> LocalBeamline:
        """The running parts. Waits until they are ready; raises what they met at their start."""
        self._thread.join()
        if self._running is None:
            assert self._error is not None
            raise self._error
        return self._running

    @property
    def url(self) -> str:
        """Of its service."""
        return self.running.service_url

    @property
    def device(self) -> dict[str, Any]:
        """The keywords of a `StreamDetector` of either face for it."""
        url = f"local:{self.name}"
        return {"url": url, "connect": self.connect, "driver": self.driver, **frames_of(self.settings)}

    def connect(self, url: str = "") -> Client:
        """A client of its service. Both are started anew where one could not be started, or has ended."""
        from bluesky_streamdet.service.client import ServiceClient

        self._revive()
        return ServiceClient(self.url)

    def close(self) -> None:
        """End it. May be called twice."""
        if self._thread.ident is not None:
            self._thread.join()
        if self._running is not None:
            self._running.close()

    def _revive(self) -> None:
        with self._lock:
            self._thread.join()
            if self._running is not None and not self._running.ended:
                return
            self.close()
            self._running = self._error = None
            self.driver.forget()
            self._start()

    def _start(self) -> None:
        folder = self._frames / self.name  # Of its own: services that share one must not have the same name.
        try:
            self._running = LocalBeamline(folder, self.settings, catalog=False, frames=folder)
        except BaseException as error:  # noqa: BLE001, it is raised where it is wanted
            self._error = error


class LateDriver:
    """The driver of a simulated detector that may not be there yet."""

    arms = True

    def __init__(self, part: SimulatedPart) -> None:
        self._part = part
        self._driver: SimulatedDriver | None = None

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        self._own().arm(frames, triggers, exposure, external)

    def trigger(self) -> None:
        self._own().trigger()

    def disarm(self) -> None:
        if self._driver is not None:
            self._driver.disarm()

    def forget(self) -> None:
        """The detector is another one from now on."""
        self._driver = None

    def _own(self) -> SimulatedDriver:
        if self._driver is None:
            self._driver = SimulatedDriver(self._part.running.simulator.control)
        return self._driver

    def __repr__(self) -> str:
        return f"LateDriver({self._part.name!r})"
