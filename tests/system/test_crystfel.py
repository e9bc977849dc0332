"""Frames of real runs to workers that behave as indexamajig's, and a service that restarts under them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
import zmq
from bluesky import RunEngine
from ophyd.sim import SynAxis
from ophyd_async.core import init_devices

from bluesky_streamdet.callbacks.crystfel import CrystfelFrames
from bluesky_streamdet.core.errors import AddressTaken
from bluesky_streamdet.core.geometry import described
from bluesky_streamdet.devices.asynchronous import StreamDetector as Asynchronous
from bluesky_streamdet.devices.classic import StreamDetector as Classic
from bluesky_streamdet.local import LocalBeamline
from bluesky_streamdet.plans import fly
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.sim.settings import SimulatorSettings, simulator
from bluesky_streamdet.streaming.crystfel.peakconfig import PeaksConfig
from bluesky_streamdet.transforms.peaks import PeakFinder
from tests.scripted import Documents
from tests.system.station import Process
from tests.wire.streams import until
from tests.wire.strict_client import Got, Reader, StrictClient

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
SETTINGS = SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=(96, 128), dtype="uint16")
ANY = "tcp://127.0.0.1:*"
PATIENCE = 60.0
READY = r"at (tcp://\S+),"


@pytest.fixture(scope="module")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBeamline]:
    with LocalBeamline(tmp_path_factory.mktemp("beamline"), SETTINGS, catalog=False) as running:
        yield running


class Workers:
    """Some workers in a thread, that take frames until the end."""

    def __init__(self, address: str, count: int, reader: Reader) -> None:
        self.got: list[list[Got]] = [[] for _ in range(count)]
        self._end = threading.Event()
        self._address, self._reader = address, reader
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def all(self) -> list[Got]:
        return sorted((one for got in self.got for one in got), key=lambda one: one.number)

    def check(self) -> None:
        """Let them work for a while. Raises what one of them can't read."""
        self._end.wait(0.01)
        if self.problem is not None:
            raise self.problem

    def _run(self) -> None:
        with zmq.Context() as context:
            clients = [StrictClient(context, self._address, self._reader, poll=0.001) for _ in self.got]
            try:
                while not self._end.is_set():
                    for client, got in zip(clients, self.got, strict=True):
                        if (one := client.next()) is not None:
                            got.append(one)
                        client.ask()
            except AssertionError as error:
                self.problem = error
            finally:
                for client in clients:
                    client.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def made(face: str, beamline: LocalBeamline, **keywords: Any) -> Any:
    keywords = {"exposure": 0.01, "margin": 20.0} | beamline.device | keywords
    if face == "classic":
        return Classic(name="eiger", **keywords)
    with init_devices():
        eiger = Asynchronous(name="eiger", **keywords)
    return eiger  # noqa: RET504, it is connected as a variable that was not there before


@pytest.mark.parametrize("face", ["classic", "async"])
def test_a_scan_goes_to_workers_with_what_its_documents_say(RE: RunEngine, beamline: LocalBeamline, face: str) -> None:
    eiger, documents = made(face, beamline), Documents()
    copy = ["frame_number", "series_id", "event_id", "scan_id", "sample.name", "motor", "pump", "seq_num", "plan_name"]
    reader = Reader((96, 128), copy, "beam_energy", "detector_distance")
    motor, pump = SynAxis(name="motor"), SynAxis(name="pump")

    with CrystfelFrames(ANY, photon_energy=9500, distance=80) as frames:
        with Workers(frames.address, 3, reader) as workers:
            positions = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0, 1, 0, 1, 0, 1]
            plan = bp.list_scan([eiger], motor, positions[0], pump, positions[1], md={"sample": {"name": "lysozyme"}})
            RE(plan, [documents, frames])
            until(lambda: len(workers.all) == 6, workers.check, "6 frames")
            assert frames.wait(PATIENCE)
        with Workers(frames.address, 2, Reader((96, 128), ["frame_number", "series_id"], "beam_energy")) as others:
            RE(fly([eiger], 40, exposure=0.005), [documents, frames])
            until(lambda: len(others.all) == 40, others.check, "40 frames")
            assert frames.wait(PATIENCE)
        report = frames.report()
    assert (report.delivered, report.lost, report.dropped, report.failed, frames.missed) == (46, 0, 0, {}, 0)

    starts = documents.of("start")
    assert [one.number for one in others.all] == list(range(40))
    assert {one.headers["series_id"] for one in others.all} == {starts[1]["uid"]}
    scan = workers.all
    assert {one.headers["series_id"] for one in scan} == {starts[0]["uid"]}
    pictures = Pictures(SETTINGS.shape, SETTINGS.dtype, SETTINGS.encoding, SETTINGS.seed)
    events = documents.of("event")
    assert [one.number for one in scan] == list(range(6))
    for one, event in zip(scan, events, strict=False):
        picture = pictures.frame(one.number).astype("i4")
        np.testing.assert_array_equal(one.image, np.where(picture == 65535, -1, picture))
        assert one.headers["seq_num"] == event["seq_num"]
        assert one.headers["motor"] == event["data"]["motor"]
        assert one.headers["pump"] == event["data"]["pump"]
        assert one.headers["sample.name"] == "lysozyme"
        assert one.headers["scan_id"] == starts[0]["scan_id"]


def test_peaks_of_a_crystal_come_with_its_stills(RE: RunEngine, beamline: LocalBeamline) -> None:
    """The cell turns in the beam; what is found in the files that documents name is what workers get."""
    eiger, documents = made("classic", beamline), Documents()
    pictures = Pictures(SETTINGS.shape, SETTINGS.dtype, SETTINGS.encoding, SETTINGS.seed)
    column, row = pictures.geometry.centre[1], pictures.geometry.centre[0]
    limits = {"threshold": 10, "min_snr": 4, "beam": (column, row), "min_peaks": 3, "workers": 1}
    reader = Reader((96, 128), ["frame_number", "series_id"], "beam_energy", "detector_distance", peaks=True)
    with (
        CrystfelFrames(ANY, photon_energy=9500, distance=80, peaks=limits) as frames,
        Workers(frames.address, 2, reader) as workers,
    ):
        RE(fly([eiger], 20, exposure=0.005), [documents, frames])
        until(lambda: len(workers.all) == 20, workers.check, "20 frames")
        assert frames.wait(PATIENCE)
        report = frames.report()

    where = {"beam_center_x": column, "beam_center_y": row}
    finder = PeakFinder(described(where, SETTINGS.shape, pixel=1.0).distances(), PeaksConfig(**limits).search)
    expected = [finder.find(pictures.frame(one.number)) for one in workers.all]
    for one, peaks in zip(workers.all, expected, strict=True):
        assert one.peaks is not None
        np.testing.assert_array_equal(one.peaks, np.stack(peaks[:3]))
    assert sum(len(peaks.fs) for peaks in expected) > 20
    assert report.peaks.frames == documents.of("stop")[0]["num_events"]["primary"] == 20
    assert report.peaks.hits == sum(len(peaks.fs) >= 3 for peaks in expected)


def test_an_address_that_is_taken_is_said_when_it_is_made(beamline: LocalBeamline) -> None:
    with CrystfelFrames(ANY) as frames, pytest.raises(AddressTaken):
        CrystfelFrames(frames.address)


def test_ten_restarts_under_workers_that_wait(tmp_path: Path) -> None:
    """By Ctrl-C and by kill; each time all workers are woken, and take frames."""
    settings = SimulatorSettings(detector="eiger", endpoint="tcp://127.0.0.1:0", shape=(64, 48), linger=0)

    def all_wait() -> bool:
        return any("4 workers, all wait" in one for one in serve.lines[-2:])

    with simulator(settings) as running:
        command = ["crystfel", "serve", "--from", running.address, "--type", "eiger", "--policy", "complete"]
        serve = Process([*command, "--address", ANY], READY, {})
        address = serve.said[0]
        with Workers(address, 4, Reader((64, 48))) as workers:
            try:
                for turn in range(11):
                    until(all_wait, workers.check, f"workers that wait after restart {turn}")
                    running.detector.arm(Arm(frames=8, exposure=0.0))
                    running.detector.trigger()
                    until(lambda turn=turn: len(workers.all) == 8 * (turn + 1), workers.check, "8 frames")
                    if turn < 10:
                        serve.kill(signal.SIGKILL if turn % 2 else signal.SIGINT)
                        serve.wait()
                        serve = Process([*command, "--address", address], READY, {})
            finally:
                serve.end()
    assert [one.number for one in workers.all] == sorted([*range(8)] * 11)
    assert all(workers.got)
