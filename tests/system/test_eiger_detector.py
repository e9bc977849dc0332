"""A RunEngine, the detector's device in both faces, real services and a simulated Eiger that speaks SIMPLON.

The simulator's frames are all alike, so their numbers prove their order; one of each stream is decoded.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus, RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from ophyd.sim import SynAxis
from ophyd_async.core import init_devices

from bluesky_streamdet.devices.eiger.asynchronous import EigerDetector as Asynchronous
from bluesky_streamdet.devices.eiger.classic import EigerDetector as Classic
from bluesky_streamdet.devices.eiger.simplon import DetectorUnreachable
from bluesky_streamdet.plans import fly
from bluesky_streamdet.plans.flying import announce_until_complete, prepare_all
from bluesky_streamdet.service.client import ServiceClient
from tests.scripted import Documents
from tests.system.simulated_eiger import Tickit
from tests.system.station import Process

ROWS = {1: "eiger", 2: "eiger-stream2"}
SHAPE = (4362, 4148)
SUMS = {1: 82_120_214_466, 2: 82_120_283_837}
"""Of all pixels of the simulator's frame; those of version 2 come from another recording."""
HEADERS = {1: None, 2: (0.004317472232502031, 13500.299829398293)}
"""Exposure in s and energy in eV that the header says whatever was set: that of version 2 comes from a recording."""
ENERGY = 12_400.0

pytestmark = [pytest.mark.system, pytest.mark.peers, pytest.mark.timeout(120)]
FACES = pytest.mark.parametrize("face", ["classic", "async"])
STREAMS = pytest.mark.parametrize("stream", list(ROWS))


Serve = Callable[[Tickit, int], Process]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts the service of a version of a stream; its address is what it has said."""
    keys, frames = tmp_path_factory.mktemp("keys"), tmp_path_factory.mktemp("frames")
    environ = {"OMP_NUM_THREADS": "1", "LOG_LEVEL": "WARNING", "XDG_RUNTIME_DIR": str(keys)}
    running: list[Process] = []

    def start(tickit: Tickit, stream: int) -> Process:
        folder = frames / str(len(running))
        folder.mkdir()
        options = ("--from", tickit.stream[stream], "--directory", str(folder), "--port", "0")
        running.append(Process(["serve", ROWS[stream], *options], r"page +(\S+)/#key=", environ))
        return running[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(keys))
        patch.delenv("STREAMDET_API_KEY", raising=False)
        yield start
    for one in running:
        one.end()


@pytest.fixture(scope="module")
def urls(tickit: Tickit, serve: Serve) -> dict[int, str]:
    """Of the service of each version of the stream."""
    return {stream: serve(tickit, stream).said[0] for stream in ROWS}


def made(face: str, tickit: Tickit, url: str, stream: int = 1, **keywords: Any) -> Any:
    """numbered: what the simulator answers to arm is not the number of the series."""
    keywords = {"exposure": 0.005, "totals": False, "initialize": True, "numbered": False} | keywords
    keywords |= {"simplon": tickit.url, "url": url, "stream": stream, "margin": 20.0}
    if face == "classic":
        return Classic(name="eiger", **keywords)
    with init_devices():
        eiger = Asynchronous(name="eiger", **keywords)
    return eiger  # noqa: RET504, it is connected as a variable that was not there before


class Written:
    """What the files of a run hold, by the documents alone."""

    def __init__(self, documents: Documents, stream: int) -> None:
        for name, document in documents.all:
            schema_validators[DocumentNames[name]].validate(document)
        resources = [one for one in documents.of("stream_resource") if one["data_key"] == "eiger"]
        self.files = [Path(one["uri"].removeprefix("file://localhost")) for one in resources]
        self.group = f"/entry/instrument/{ROWS[stream]}"

    def numbers(self) -> list[int]:
        return [int(one) for path in self.files for one in self.read(path, f"{self.group}/sequence_number").ravel()]

    def value(self, name: str) -> Any:
        return self.read(self.files[0], name if name.startswith("/") else f"{self.group}/{name}")

    @staticmethod
    def read(path: Path, name: str, row: Any = ()) -> Any:
        with h5py.File(path, locking=False) as file:
            dataset = file[name]
            assert isinstance(dataset, h5py.Dataset)
            return dataset[row]


@FACES
@STREAMS
def test_a_count(RE: RunEngine, tickit: Tickit, urls: dict[int, str], face: str, stream: int) -> None:
    eiger, documents = made(face, tickit, urls[stream], stream, photon_energy=ENERGY), Documents()
    RE(bp.count([eiger], 3), documents)
    written = Written(documents, stream)
    assert written.numbers() == [0, 1, 2]
    assert documents.of("descriptor")[0]["data_keys"]["eiger"]["shape"] == [*SHAPE]
    assert documents.stop["num_events"] == {"primary": 3}
    configuration = documents.of("descriptor")[0]["configuration"]["eiger"]["data"]
    dash = "_" if face == "classic" else "-"
    assert configuration[f"eiger{dash}hardware{dash}photon_energy"] == ENERGY
    assert configuration[f"eiger{dash}hardware{dash}serial_number"] == "EIGERSIM001"
    header = written.value("count_time"), written.value("/entry/instrument/beam/incident_energy")
    assert header == (HEADERS[stream] or (0.005, ENERGY))


@STREAMS
def test_pixels_and_what_tables_show(RE: RunEngine, tickit: Tickit, urls: dict[int, str], stream: int) -> None:
    """The one frame that is decoded, here and by the device."""
    eiger, documents = made("classic", tickit, urls[stream], stream, totals=True), Documents()
    RE(bp.count([eiger]), documents)
    written = Written(documents, stream)
    frame = written.read(written.files[0], "/entry/data/data", 0)
    assert (frame.shape, frame.dtype) == (SHAPE, np.uint16)
    assert int(frame.sum(dtype="u8")) == SUMS[stream]
    assert documents.of("event")[0]["data"]["eiger_total"] == frame[frame < 65535].sum(dtype="u8")


@FACES
@STREAMS
def test_a_step_scan(RE: RunEngine, tickit: Tickit, urls: dict[int, str], face: str, stream: int) -> None:
    """Several frames at each point, by one trigger; numbers run on over all triggers of a series."""
    eiger, documents = made(face, tickit, urls[stream], stream, frames_per_event=2), Documents()
    RE(bp.scan([eiger], SynAxis(name="motor"), 0, 1, 4), documents)
    assert Written(documents, stream).numbers() == list(range(8))
    assert [one["data"]["motor"] for one in documents.of("event")] == [pytest.approx(n / 3) for n in range(4)]
    assert documents.of("descriptor")[0]["data_keys"]["eiger"]["shape"] == [2, *SHAPE]
    assert tickit.simplon.state() == "idle"


@FACES
@STREAMS
def test_a_flight(RE: RunEngine, tickit: Tickit, urls: dict[int, str], face: str, stream: int) -> None:
    eiger, documents = made(face, tickit, urls[stream], stream), Documents()
    RE(fly([eiger], 40, exposure=0.01), documents)
    assert Written(documents, stream).numbers() == list(range(40))
    ranges = documents.ranges("eiger")
    assert [start for start, _ in ranges[1:]] == [stop for _, stop in ranges[:-1]]
    assert len(ranges) > 1, "announced while it flew"
    assert documents.stop["num_events"] == {"primary": 40}


@FACES
@STREAMS
def test_a_flight_by_cable(RE: RunEngine, tickit: Tickit, urls: dict[int, str], face: str, stream: int) -> None:
    """A frame for each edge, which come once the detector is armed."""
    eiger, documents = made(face, tickit, urls[stream], stream), Documents()

    @bpp.stage_decorator([eiger])
    @bpp.run_decorator()
    def plan() -> Any:
        yield from prepare_all([eiger], 12, 0.005, "edge")
        yield from bps.declare_stream(eiger, name="primary", collect=True)
        yield from bps.kickoff_all(eiger, wait=True)
        tickit.pulse(12, 0.05)
        yield from announce_until_complete([eiger])

    RE(plan(), documents)
    assert Written(documents, stream).numbers() == list(range(12))
    assert tickit.simplon.value("detector/config/trigger_mode") == "exts"
    assert documents.stop["num_events"] == {"primary": 12}
    assert tickit.simplon.state() == "idle"


@FACES
@STREAMS
def test_a_pause_in_a_flight(RE: RunEngine, tickit: Tickit, urls: dict[int, str], face: str, stream: int) -> None:
    eiger, documents = made(face, tickit, urls[stream], stream), Documents()
    paused(RE, fly([eiger], 40, exposure=0.01), documents)
    RE.resume()
    assert Written(documents, stream).numbers() == list(range(40))
    assert documents.stop["num_events"] == {"primary": 40}


@pytest.mark.allow_error_log
@FACES
@STREAMS
def test_an_abort_in_the_middle_of_a_series(
    RE: RunEngine, tickit: Tickit, urls: dict[int, str], face: str, stream: int
) -> None:
    """The simulator never answers a trigger that is aborted."""
    eiger, documents = made(face, tickit, urls[stream], stream), Documents()
    paused(RE, fly([eiger], 5000, exposure=0.01), documents)
    RE.abort()
    assert documents.stop["exit_status"] == "abort"
    assert tickit.simplon.state() == "idle"
    with ServiceClient(urls[stream]) as client:
        status = client.status()
        assert status.series is None
        assert status.last_series is not None
        assert status.last_series.outcome == "aborted"
    after = Documents()
    RE(bp.count([eiger], 2), after)
    assert Written(after, stream).numbers() == [0, 1]
    assert after.stop["num_events"] == {"primary": 2}


def paused(RE: RunEngine, plan: Any, documents: Documents) -> None:
    """Run a plan, and pause it when the first frames have been announced."""
    thread = threading.Thread(target=RE.request_pause)

    def pause(name: str, document: Any) -> None:
        if name == "stream_datum" and thread.ident is None:
            thread.start()

    with pytest.raises(RunEngineInterrupted):
        RE(plan, [documents, pause])
    thread.join()


def test_a_series_that_nobody_has_read(RE: RunEngine, tickit_bin: Path, serve: Serve, tmp_path: Path) -> None:
    """It comes first to a service that is started later, and is not taken for the one that was asked for."""
    other, documents = Tickit(tickit_bin, tmp_path), Documents()
    service = None
    try:
        other.start()
        other.take(5)
        service = serve(other, 1)
        eiger = made("classic", other, service.said[0])
        RE(bp.count([eiger], 3), documents)
        assert Written(documents, 1).numbers() == [0, 1, 2]
        assert len(Written(documents, 1).files) == 1
    finally:
        other.stop()
        if service is not None:
            service.end()


@pytest.mark.allow_error_log
def test_off_and_on_again(RE: RunEngine, tickit: Tickit, urls: dict[int, str]) -> None:
    """Its series are numbered from 1 again; device and service find it by themselves."""
    eiger, documents = made("classic", tickit, urls[1]), Documents()
    tickit.stop()
    with pytest.raises((DetectorUnreachable, FailedStatus), match=re.escape("Is it switched on")):
        RE(bp.count([eiger]))
    tickit.start()
    RE(bp.count([eiger], 2), documents)
    assert Written(documents, 1).numbers() == [0, 1]
