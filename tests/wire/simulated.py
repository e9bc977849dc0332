"""A simulator of any row of the catalog, and the pipeline that receives it as the row says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from bluesky_streamdet.service.config import validated
from bluesky_streamdet.sim.settings import Simulator, SimulatorSettings, simulator
from bluesky_streamdet.streaming.config import DataPlaneConfig
from bluesky_streamdet.streaming.pipeline import Pipeline
from tests.wire.streams import LOOPBACK, until

FRAMES = 7
SHAPE = (64, 48)


def config_of(name: str, endpoints: list[str], directory: Path, **options: Any) -> DataPlaneConfig:
    """As of a file that names the row and little else."""
    values = {
        "type": name,
        "source": {"endpoints": endpoints},
        "files": {"directory": str(directory), "flush_seconds": 0},
        "outputs": [{"address": LOOPBACK, "queue": FRAMES}],
        **options,
    }
    return validated({"detectors": {"one": values}}, "one", {}).data_plane()


@contextmanager
def received(
    name: str, directory: Path, channels: int | None = None, **options: Any
) -> Iterator[tuple[Simulator, Pipeline]]:
    """The simulator of a row, and the pipeline that receives it, connected to each other."""
    endpoint = "tcp://127.0.0.1:0"
    settings = SimulatorSettings(detector=name, endpoint=endpoint, shape=SHAPE, channels=channels, linger=0)
    with simulator(settings) as running:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        pipeline = Pipeline(config_of(name, running.address.split(", "), directory, **options), context)
        try:
            sources = pipeline.source
            until(lambda: all(one.connected for one in sources.report()), lambda: pipeline.turn(0.01), "the connection")
            yield running, pipeline
        finally:
            pipeline.close()
            context.term()


def sent(running: Simulator) -> NDArray[Any]:
    return np.stack([running.detector.pictures.frame(number) for number in range(FRAMES)])
