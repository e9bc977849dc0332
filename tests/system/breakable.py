"""Detectors with their services as a beamline runs them, in real processes that something may happen to."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import psutil
from ophyd_async.core import init_devices

from bluesky_streamdet.devices.asynchronous import StreamDetector as Asynchronous
from bluesky_streamdet.devices.classic import StreamDetector as Classic
from bluesky_streamdet.devices.drivers import SimulatedDriver
from bluesky_streamdet.devices.stage import SimulatedRotation, SimulatedStage
from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as AsynchronousXspress3
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector as ClassicXspress3
from bluesky_streamdet.service.client import ServiceClient
from tests.system.keeper import Keeper

SHAPE, DTYPE, CHANNELS = (64, 96), "uint16", 2
MARGIN = 3.0
"""Seconds that frames may be late, and that the driver waits for an answer."""


class Station:
    """One detector, called `name`, and its service. `mend` puts right whatever happened to them."""

    name = "eiger"
    SERVICE_READY = r"page +(\S+)/#key"

    def __init__(self, folder: Path) -> None:
        self.frames = folder / "frames"
        self.folder = folder
        # A data plane that hangs is given up soon.
        self.keeper = Keeper(os.environ | {"LOG_LEVEL": "WARNING", "STREAMDET_WATCH__ANSWER": "1.5"})
        self.url, self._service = "", 0
        self._faulty = False
        try:
            self.start_detector()
            self.start_service()
        except BaseException:
            self.keeper.close()
            raise

    # What it consists of.

    def start_detector(self, *faults: str) -> None:
        """The detector, at the ports that it has had."""
        ports = getattr(self, "_ports", ("0", "0"))
        arguments = ["simulate", "eiger", "--port", ports[0], "--control-port", ports[1]]
        arguments += ["--shape", f"{SHAPE[0]}x{SHAPE[1]}", "--dtype", DTYPE, *faults]
        _, said = self.keeper.start("detector", *arguments, ready="(control port)")
        self.stream, self.control = (re.findall(rf"{what} (tcp:\S+\d)", said)[0] for what in ("sends on", "port:"))
        self._ports = tuple(one.rsplit(":", 1)[1] for one in (self.stream, self.control))

    def service_command(self) -> list[str]:
        return ["serve", "eiger", "--from", self.stream, "--directory", str(self.frames)]

    def start_service(self) -> None:
        """The service, at the port that it has had."""
        port = self.url.rsplit(":", 1)[1] if self.url else "0"
        command = [*self.service_command(), "--port", port]
        self._service, said = self.keeper.start("service", *command, ready=self.SERVICE_READY)
        self.url = re.findall(self.SERVICE_READY, said)[0]

    def device(self, face: str, **keywords: Any) -> Any:
        kind = {"classic": Classic, "async": Asynchronous}[face]
        driver = SimulatedDriver(self.control, timeout=MARGIN)
        return _made(kind, face, self.name, url=self.url, driver=driver, shape=SHAPE, dtype="<u2", **keywords)

    # What happens to it.

    def kill_detector(self) -> None:
        self._faulty = True
        self.keeper.kill("detector", signal.SIGKILL)

    def stop_detector(self) -> None:
        self._faulty = True
        self.keeper.kill("detector", signal.SIGSTOP)

    def lose_frames(self, which: str) -> None:
        """Frames of each series get lost on the way, by their numbers."""
        self._start_detector_anew("--drop", which)
        self._faulty = True

    def restart_service(self) -> None:
        """As somebody does who installs a new version."""
        self.keeper.kill("service", signal.SIGINT)
        self.keeper.wait("service")
        self.start_service()

    def kill_service(self) -> None:
        """`kill -9` of the service; its data plane drains and ends by itself."""
        self.keeper.kill("service", signal.SIGKILL)

    def kill_both(self) -> None:
        planes = psutil.Process(self._service).children()
        self.kill_service()
        for one in planes:
            one.kill()

    def kill_data_plane(self) -> None:
        for one in psutil.Process(self._service).children():
            one.kill()

    def stop_data_plane(self) -> None:
        for one in psutil.Process(self._service).children():
            one.suspend()

    def mend(self) -> None:
        """Start what has ended, let go on what was stopped."""
        if self._faulty:
            self._start_detector_anew()
            self._faulty = False
        if not self.keeper.running("service"):
            self.start_service()

    def _start_detector_anew(self, *faults: str) -> None:
        self.keeper.kill("detector", signal.SIGKILL)
        self.keeper.wait("detector")
        self.start_detector(*faults)

    def client(self) -> ServiceClient:
        return ServiceClient(self.url)

    def close(self) -> None:
        self.keeper.close()


class Xspress3Station(Station):
    """An Xspress3, whose simulated library is in the data plane of its service."""

    name = "xspress3"

    def start_detector(self, *faults: str) -> None:
        pass

    def service_command(self) -> list[str]:
        command = ["xspress3", "stream", "--simulate", "X3", "--channels", str(CHANNELS)]
        ports = ["--data-port", "0", "--public-port", "0", "--monitor-port", "0"]
        return [*command, *ports, "--directory", str(self.frames)]

    def device(self, face: str, **keywords: Any) -> Any:
        kind = {"classic": ClassicXspress3, "async": AsynchronousXspress3}[face]
        return _made(kind, face, self.name, url=self.url, channels=CHANNELS, **keywords)

    def stage(self, lose: int = 0) -> SimulatedStage:
        """That triggers it; the cable loses so many triggers of each row."""
        return SimulatedStage(
            name="stage",
            give_triggers=lambda count, period: self._pulse(count - lose, period),
            stop_triggers=self._stop_pulses,
        )

    def rotation(self) -> SimulatedRotation:
        """That triggers it."""
        return SimulatedRotation(name="rotation", give_triggers=self._pulse, stop_triggers=self._stop_pulses)

    def _pulse(self, count: int, period: float) -> None:
        with self.client() as client:
            client.instruct("pulse", count=count, period=period)

    def _stop_pulses(self) -> None:
        with self.client() as client:
            client.instruct("level", high=False)


def _made(kind: Any, face: str, name: str, **keywords: Any) -> Any:
    keywords = {"exposure": 0.01, "margin": MARGIN, **keywords}
    if face == "classic":
        return kind(name=name, **keywords)
    with init_devices():
        made = kind(name=name, **keywords)
    return made  # noqa: RET504, it is connected as a variable that was not there before
