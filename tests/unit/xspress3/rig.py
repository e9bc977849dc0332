"""A streamer over the simulated SDK, with a clock of the test's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from bluesky_streamdet.core.events import Event, Frame, SeriesEnd
from bluesky_streamdet.transforms.pixels import decode
from bluesky_streamdet.xspress3.config import SystemConfig, Xspress3Plane
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.streamer import Streamer
from tests.unit.xspress3.systems import Clock


class Rig:
    """A streamer, and all events that it has given."""

    def __init__(self, simulate: dict[str, Any], **system: Any) -> None:
        self.clock = Clock()
        simulation = SimulationConfig.model_validate({"channels": 2, "rate": 1e5, "seed": 4} | simulate)
        config = Xspress3Plane(detector="xspress3", outputs=[], system=SystemConfig(simulate=simulation, **system))
        self.streamer = Streamer(config, self.clock)
        self.events: list[Event] = []

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.streamer.obey(command, arguments)

    @property
    def state(self) -> dict[str, Any]:
        return self.do("state")

    def after(self, seconds: float, steps: int = 1) -> list[Event]:
        """What comes within so many seconds, looked at so many times."""
        before = len(self.events)
        for _ in range(steps):
            self.clock.now += seconds / steps
            self.take()
        return self.events[before:]

    def take(self) -> None:
        while taken := list(self.streamer.take(0)):
            for one in taken:
                assert one.complaint is None
                self.events += one.events

    @property
    def frames(self) -> list[Frame]:
        return [event for event in self.events if isinstance(event, Frame)]

    @property
    def end(self) -> SeriesEnd:
        event = self.events[-1]
        assert isinstance(event, SeriesEnd)
        return event


def record(frame: Frame) -> np.void:
    assert frame.scalars is not None
    return np.frombuffer(frame.scalars, frame.format.record)[0]


def consistent(frames: list[Frame]) -> None:
    """What holds for every frame of every Xspress3."""
    for frame in frames:
        spectra, scalars = decode(frame), record(frame)
        np.testing.assert_array_equal(spectra.sum(axis=-1), scalars["all_good"])
        assert (scalars["all_events"] >= scalars["all_good"]).all()
        assert (scalars["reset_ticks"] <= scalars["clock_ticks"]).all()
        assert (scalars["dead_time_correction"] >= 1).all()
