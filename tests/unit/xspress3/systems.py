"""Simulated systems for tests: a clock that is set, every call noted, and results that can be put in others' place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from bluesky_streamdet.xspress3.abi import FUNCTIONS
from bluesky_streamdet.xspress3.config import SystemConfig
from bluesky_streamdet.xspress3.sdk import Xspress3
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.library import SimulatedLibrary


class Clock:
    """Seconds, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A `Library` that notes what is called with what, without the handle, and passes it on."""

    def __init__(self, library: SimulatedLibrary) -> None:
        self._library = library
        self.noted: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> Any:
            self.noted.append((name.removeprefix("xsp3_"), *arguments[1:]))
            return function(*arguments)

        return call

    def replace(self, name: str, function: Callable[..., Any]) -> None:
        """Let `function` be the SDK's, with the types that the SDK's has."""
        signature = FUNCTIONS[name]
        setattr(self, name, ctypes.CFUNCTYPE(signature.restype, *signature.argtypes)(function))

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """The calls of these functions, in order."""
        return [call for call in self.noted if call[0] in names]


class System:
    """A simulated system with its wrapper, its clock, its inputs and the calls so far.

    config: of the system. simulation: settings of the simulated hardware.
    """

    def __init__(self, config: SystemConfig | None = None, **simulation: Any) -> None:
        self.clock = Clock()
        self.simulation = SimulatedLibrary(SimulationConfig(**simulation), self.clock)
        self.library = Recorder(self.simulation)
        settings = (config or SystemConfig()).model_dump() | {"cards": simulation.get("cards", 1)}
        self.sdk = Xspress3(SystemConfig(**settings), self.library)
        self.library.noted.clear()

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
