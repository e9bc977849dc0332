"""A scripted service that owns a scripted Xspress3: spectra with a line at a bin, counted by the frame's number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.scalars import expected
from tests.scripted import ScriptedClient, ScriptedService

CHANNELS = 3
BINS = 4096
IRON = 640
"""The bin of iron's line, at 10 eV a bin."""
FACTORS = [1.0, 1.25, 2.0]
"""Of the dead time, of each channel."""

STATE: dict[str, Any] = {
    "kind": "xspress3",
    "state": "idle",
    "generation": "X3",
    "revision": "1.2",
    "channels": CHANNELS,
    "bins": BINS,
    "first_bin": 0,
    "aux": 1,
    "clock_period": 1.25e-8,
    "event_widths": [6, 6, 6],
    "windows": [[[0, 4095]] * CHANNELS] * 2,
    "thresholds": [30] * CHANNELS,
    "regions": [],
    "dead_time": [
        {
            "all_event_offset": 1e-7,
            "all_event_gradient": 0.0,
            "in_window_offset": 1e-7,
            "in_window_gradient": 0.0,
            "use_good": False,
            "omit": False,
        }
    ]
    * CHANNELS,
    "dead_time_energy": None,
}


class ScriptedXspress3(ScriptedService):
    """In frame n, channel c has (c + 1) * (n + 1) counts in iron's bin, and 1 count in bin 100."""

    shape = (CHANNELS, BINS)
    dtype = "<u4"
    scalars = tuple(expected(STATE).scalars)

    def __init__(self, directory: Path, **keywords: Any) -> None:
        super().__init__(directory, **keywords)
        self.state = {**STATE}
        self.instructions: list[tuple[str, dict[str, Any]]] = []
        self.mode = ""

    def connect(self, url: str = "") -> Xspress3Client:
        self.check()
        return Xspress3Client(self)

    def picture(self, number: int) -> np.ndarray[Any, Any]:
        spectra = np.zeros(self.shape, self.dtype)
        spectra[:, IRON] = (np.arange(CHANNELS) + 1) * (number + 1)
        spectra[:, 100] = 1
        return spectra

    def scalar(self, name: str, number: int) -> np.ndarray[Any, Any]:
        kind = next(one for one in self.scalars if one.name == name)
        if name.startswith("dead_time_correction"):
            return np.array(FACTORS) if name == "dead_time_correction" else np.full(CHANNELS, 3.0)
        return np.full(kind.shape, number + 1, kind.dtype)

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.instructions.append((command, arguments))
        match command:
            case "arm":
                self.frames_of_trigger = arguments["frames"]
                self.mode = arguments["mode"]
            case "trigger":
                self.trigger()
            case "pulse":
                self.give(arguments["count"])
            case "set_window" if arguments["low"] > arguments["high"]:
                raise ConfigError("A window begins before it ends.")
        return self.state

    @property
    def commands(self) -> list[str]:
        return [command for command, _ in self.instructions]

    def arguments_of(self, command: str) -> list[dict[str, Any]]:
        return [arguments for one, arguments in self.instructions if one == command]


class Xspress3Client(ScriptedClient):
    _service: ScriptedXspress3

    def detector(self) -> dict[str, Any]:
        self._service.check()
        return self._service.state

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        self._service.check()
        return self._service.instruct(command, **arguments)


def detector(face: str, service: ScriptedXspress3, name: str = "xsp", **keywords: Any) -> Any:
    """A device of either face; a RunEngine must exist before."""
    keywords = {"channels": CHANNELS, "connect": service.connect, "margin": 5.0} | keywords
    if face == "classic":
        from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector as Classic

        return Classic(name=name, **keywords)
    from ophyd_async.core import init_devices

    from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as Asynchronous

    with init_devices():
        made = Asynchronous(name=name, **keywords)
    return made  # noqa: RET504, it is connected as a variable that was not there before
