"""A data plane in this process, for `streamdet crystfel serve`: frames in, frames out to workers, no file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq

from bluesky_streamdet.streaming.config import DataPlaneConfig
from bluesky_streamdet.streaming.pipeline import Pipeline
from bluesky_streamdet.streaming.status import CrystfelReport

TURN = 0.1
"""Seconds that the loop waits for a frame or a worker."""
REST = 50
"""Milliseconds between two looks at workers that are still busy."""
LINGER = 500


@contextmanager
def opened(config: DataPlaneConfig) -> Iterator[Pipeline]:
    """The pipeline, until the context ends. Raises `AddressTaken` or `ConfigError`."""
    with zmq.Context(config.io_threads) as context:
        pipeline = Pipeline(config, context)
        try:
            yield pipeline
        finally:
            pipeline.close(LINGER)


def run(pipeline: Pipeline, stop: threading.Event, drain: float, show: Callable[[CrystfelReport], None]) -> None:
    """Turn the loop until `stop`; then take no more, and give workers `drain` seconds for what waits and what they do.

    show: called in each turn.
    """
    responder = pipeline.crystfel[0]
    while not stop.is_set():
        pipeline.turn(TURN)
        show(responder.report())
    until = time.monotonic() + drain
    pipeline.accept_no_more()
    pipeline.stop()
    pipeline.pause(True)
    while time.monotonic() < until and responder.waiting:
        pipeline.turn(TURN)
        show(responder.report())
    while time.monotonic() < until and responder.handout.in_hand and responder.report().workers:
        responder.wait(REST)
        responder.flush()
