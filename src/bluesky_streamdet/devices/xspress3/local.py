"""An Xspress3 on this machine: a service of its own owns the SDK, real or simulated, and lives no longer than this
process.

    local = LocalXspress3({"system": {"simulate": {"channels": 4}}})
    xspress3 = Xspress3Detector(name="xspress3", **local.device)
    ...
    local.close()
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.driver import HardwareClient

if TYPE_CHECKING:
    from bluesky_streamdet.service.background import ServiceProcess


class LocalXspress3:
    """The service starts when it is first wanted, by the device or by `url`; then raises what it met at its start. One
    that has died starts again when it is wanted again.

    values: its settings, as in a file of `streamdet xspress3 stream`; left out, it takes a free port, and sends frames
    to nobody. folder: where files go, a temporary one when left out. channels: how many there are, where `values` do
    not say it. Thread-safe.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        *,
        channels: int | None = None,
        name: str = "xspress3",
    ) -> None:
        self.name = name
        self.values: dict[str, Any] = {"outputs": [], "monitor": None, "log_level": "WARNING", **(values or {})}
        self.values["rest"] = {"port": 0, **self.values.get("rest", {})}
        system = self.values.get("system", {})
        simulated = system.get("simulate") or {}
        self.channels = channels or simulated.get("channels") or max(0, system.get("channels", 0))
        if not self.channels and system.get("simulate") is None:
            raise ConfigError("Nobody has said how many channels the Xspress3 has.", "Give channels=….")
        self.channels = self.channels or _simulated_channels()
        self.ev_per_bin = float(system.get("ev_per_bin", 10.0))
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._service: ServiceProcess | None = None
        self._given = self._folder = folder

    @property
    def url(self) -> str:
        """Of the service, which is started if it does not run."""
        with self._lock:
            if self._service is None or self._service.ended:
                self._service = self._started()
            return self._service.url

    @property
    def device(self) -> dict[str, Any]:
        """The keywords of an `Xspress3Detector` of either face for this system."""
        return {
            "url": f"local:{self.name}",
            "connect": self.connect,
            "channels": self.channels,
            "ev_per_bin": self.ev_per_bin,
        }

    def connect(self, url: str = "") -> HardwareClient:
        """A client of the service."""
        from bluesky_streamdet.service.client import ServiceClient

        return ServiceClient(self.url)

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the hardware do something."""
        from bluesky_streamdet.service.client import ServiceClient

        with ServiceClient(self.url) as client:
            return client.instruct(command, **arguments)

    def pulse(self, count: int, period: float) -> None:
        """Give a simulated system `count` triggers by cable, one each `period` seconds."""
        self.instruct("pulse", count=count, period=period)

    def stop_pulses(self) -> None:
        """Give no more of them."""
        self.instruct("level", high=False)

    def close(self) -> None:
        """End the service. May be called twice."""
        with self._lock:
            self._service, self._folder = None, self._given
            self._stack.close()

    def __enter__(self) -> LocalXspress3:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> ServiceProcess:
        from bluesky_streamdet.service.background import ServiceProcess
        from bluesky_streamdet.xspress3.config import for_system

        if self._folder is None:
            self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="streamdet-")))
        self._folder.mkdir(parents=True, exist_ok=True)
        config = for_system({"files": {"directory": str(self._folder)}, **self.values}, self.name, environ={})
        return self._stack.enter_context(ServiceProcess(config))

    def __repr__(self) -> str:
        return f"LocalXspress3({self._service.url if self._service is not None else 'not started'})"


def _simulated_channels() -> int:
    from bluesky_streamdet.xspress3.simulation.config import SimulationConfig

    return SimulationConfig().channels
