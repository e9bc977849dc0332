"""`kill -9` in a series: what was announced is readable, the series reads interrupted, the next one works."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import DetectorConfig, for_row
from bluesky_streamdet.sim.client import SimulatedDetectorClient
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import SimulatorSettings
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status

SHAPE = (64, 128)
PATIENCE = 30.0
MOMENTS = random.Random(7).sample(range(1, 1200), 20)
"""Frames that were announced when the process is killed, at least."""
VICTIMS = ("both planes", "data plane", "control plane")

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=SHAPE)) as process:
        yield process


@pytest.fixture
def detector(simulator: SimulatorProcess) -> Iterator[SimulatedDetectorClient]:
    with simulator.client() as client:
        yield client


@pytest.fixture
def config(simulator: SimulatorProcess, tmp_path: Path) -> DetectorConfig:
    config = for_row("eiger", simulator.address, tmp_path, environ={})
    config.rest.port = 0
    config.log_level = "ERROR"
    return config


@pytest.mark.parametrize(("victim", "moment"), [(VICTIMS[i % 3], moment) for i, moment in enumerate(MOMENTS)])
def test_every_announced_frame_survives(
    config: DetectorConfig, detector: SimulatedDetectorClient, victim: str, moment: int
) -> None:
    with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as client:
        series = client.arm(ArmRequest(name="killed", open_ended=True))
        assert service.pid is not None
        announced = _kill_at(client, series, detector, moment, _victims(service.pid, victim))
        if victim == "data plane":
            _await_end(client, series)
        detector.disarm()
    report = inspect(config.files.directory / "killed.h5")
    if victim == "both planes":
        assert report.outcome is None
        assert "not closed" in report.verdict
    elif victim == "data plane":  # The service has mended what it left.
        assert report.outcome is Outcome.INTERRUPTED
        with h5py.File(report.path, "r") as file:  # as any program opens it
            assert len(file["/entry/data/data"]) == report.readable
    assert report.readable >= announced
    _check_frames(report.path, report.readable)
    with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as client:
        old = client.series(series.id)
        assert old.outcome is Outcome.INTERRUPTED
        assert old.ledger.written >= announced
        assert inspect(report.path).outcome is not None
        following = client.arm(ArmRequest(expected_frames=5))
        detector.arm(frames=5, exposure=0.001)
        detector.trigger()
        assert _await_end(client, following).outcome is Outcome.COMPLETE
        detector.disarm()


def _victims(control: int, victim: str) -> list[int]:
    children = [int(pid) for pid in Path(f"/proc/{control}/task/{control}/children").read_text().split()]
    return {"both planes": [control, *children], "data plane": children, "control plane": [control]}[victim]


def _kill_at(
    client: ServiceClient, series: SeriesReport, detector: SimulatedDetectorClient, moment: int, victims: list[int]
) -> int:
    """Kill once `moment` frames are announced; returns how many were."""
    written = 0
    reached = threading.Event()

    def look(status: Status | None) -> None:
        nonlocal written
        if status is not None and status.series is not None and status.series.id == series.id:
            written = max(written, status.series.ledger.written)
            if written >= moment:
                reached.set()

    stop_looking = client.subscribe(look)
    detector.arm(frames=100_000, exposure=0.0005)
    detector.trigger()
    assert reached.wait(PATIENCE)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    stop_looking()
    return written


def _await_end(client: ServiceClient, series: SeriesReport) -> SeriesReport:
    def ended(status: Status) -> bool:
        return status.last_series is not None and status.last_series.id == series.id

    last = client.wait(ended, PATIENCE, f"the end of series {series.id}").last_series
    assert last is not None
    return last


def _check_frames(path: Path, count: int) -> None:
    pictures = Pictures(SHAPE)
    frames = read_frames(path, stop=count)
    assert all(np.array_equal(frame, pictures.frame(number)) for number, frame in enumerate(frames))
    assert len(frames) == count
