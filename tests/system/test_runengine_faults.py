"""What a plan does when a detector or its service fails, or somebody interrupts it; and that the next scan works.

All of it in real processes.

One table of what fails, in which plan, with which face: the plan fails within the deadline, error and
stop document say which detector, what is in which file, and what to do; then the same device scans again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd import Signal
from ophyd.sim import SynAxis

from bluesky_streamdet.core.errors import Busy, StreamdetError
from bluesky_streamdet.plans import burst_scan, fly, raster, tomography
from bluesky_streamdet.streaming.files.reader import read_frames
from tests.scripted import Documents
from tests.system.breakable import MARGIN, Station, Xspress3Station

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.allow_error_log]
PATIENCE = MARGIN + 10.0
"""Seconds after a fault in which the plan has to have failed, with its clean-up, on a busy machine."""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys of the services are found in a folder of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("keys")))
        patch.delenv("STREAMDET_API_KEY", raising=False)
        yield


@pytest.fixture(scope="module")
def stations(environ: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        made = {kind.name: kind(tmp_path_factory.mktemp(kind.name)) for kind in (Station, Xspress3Station)}
        for one in made.values():
            stack.callback(one.close)
        yield made


@pytest.fixture
def station(stations: dict[str, Any], name: str) -> Iterator[Any]:
    """The one by this name; whatever happened to it is mended after the test."""
    yield stations[name]
    stations[name].mend()


PLANS: dict[str, Callable[[Any, Any], Any]] = {
    "step": lambda det, station: bp.scan([det], SynAxis(name="motor"), 0, 1, 10),
    "burst": lambda det, station: burst_scan([det], SynAxis(name="motor"), 0, 1, num=6, frames=5),
    "fly": lambda det, station: fly([det], 400, 0.01),
    "short flight": lambda det, station: fly([det], 100, 0.01),
    "raster": lambda det, station: raster([det], station.stage(), 4, 50, 0.01),
    "turn": lambda det, station: tomography([det], station.rotation(), 100, exposure=0.01, continuous=True),
    "raster with a bad cable": lambda det, station: raster([det], station.stage(lose=3), 2, 10, 0.01),
}


class Fault(NamedTuple):
    """happens: at the second announcement, None for what is wrong from the start. words: that the user has to read."""

    happens: Callable[[Any], object] | None
    words: str


FAULTS = {
    "the detector stops": Fault(Station.stop_detector, r"(did not reach the file|could not be made to take frames)"),
    "the detector dies": Fault(Station.kill_detector, r"(did not reach the file|could not be made to take frames)"),
    "frames are lost": Fault(None, r"3 missing \(lost in transit, numbers 5-7\)"),
    "the last frames are lost": Fault(None, r"frame 5 \(counted from 0\) did not reach the file within 3.01 s"),
    "the service dies": Fault(Station.kill_service, r"(is gone|the service died|No service answers)"),
    "both planes die": Fault(Station.kill_both, r"(is gone|the service died|No service answers)"),
    "the data plane dies": Fault(Station.kill_data_plane, r"(killed by signal 9|The data plane (ended|does not))"),
    "the data plane hangs": Fault(Station.stop_data_plane, r"did not reach the file|could not be made|not answer"),
    "the service is restarted": Fault(Station.restart_service, r"the service ended the series .* stopped by request"),
    "triggers are lost": Fault(None, r"frame 14 \(counted from 0\) did not reach the file"),
}

TABLE = [
    ("eiger", "the detector stops", "step", "classic"),
    ("eiger", "the detector stops", "step", "async"),
    ("eiger", "the detector stops", "fly", "async"),
    ("eiger", "the detector dies", "fly", "classic"),
    ("eiger", "the detector dies", "burst", "async"),
    ("eiger", "frames are lost", "fly", "classic"),
    ("eiger", "frames are lost", "fly", "async"),
    ("eiger", "frames are lost", "burst", "classic"),
    ("eiger", "the last frames are lost", "step", "async"),
    ("eiger", "the service dies", "step", "classic"),
    ("eiger", "the service dies", "fly", "async"),
    ("eiger", "both planes die", "burst", "classic"),
    ("eiger", "the data plane dies", "step", "async"),
    ("eiger", "the data plane hangs", "fly", "classic"),
    ("eiger", "the service is restarted", "fly", "classic"),
    ("eiger", "the service is restarted", "fly", "async"),
    ("xspress3", "the service dies", "fly", "async"),
    ("xspress3", "both planes die", "step", "classic"),
    ("xspress3", "the data plane dies", "burst", "async"),
    ("xspress3", "the service is restarted", "raster", "async"),
    ("xspress3", "the data plane dies", "raster", "classic"),
    ("xspress3", "the data plane hangs", "fly", "classic"),
    ("xspress3", "triggers are lost", "raster with a bad cable", "classic"),
    ("xspress3", "triggers are lost", "raster with a bad cable", "async"),
]


class Happening:
    """Has the fault happen at the second announcement, and knows when."""

    def __init__(self, station: Station, fault: Fault) -> None:
        self.since = time.monotonic()
        self._station = station
        self._happens = fault.happens
        self._left = 2

    def __call__(self, name: str, document: Any) -> None:
        self._left -= name == "stream_datum"
        if not self._left and name == "stream_datum" and self._happens is not None:
            self._happens(self._station)
            self.since = time.monotonic()


@pytest.mark.parametrize(("name", "fault", "plan", "face"), TABLE)
def test_a_fault(RE: RunEngine, station: Any, face: str, fault: str, plan: str) -> None:
    if "frames are lost" in fault:
        station.lose_frames("5-7")
    det, documents = station.device(face), Documents()
    happening = Happening(station, FAULTS[fault])
    with pytest.raises(Exception) as caught:  # noqa: PT011, what it is and says is looked at below
        RE(PLANS[plan](det, station), [documents, happening])
    assert time.monotonic() - happening.since < PATIENCE
    assert isinstance(caught.value, FailedStatus), repr(caught.value)
    stop = documents.stop
    assert stop["exit_status"] == "fail"
    said = stop["reason"]
    assert said == str(caught.value)
    assert re.search(FAULTS[fault].words, said), said
    check_words(said, station, documents)
    check_announced(documents, station.name)
    station.mend()
    check_next(RE, det, station)


def check_words(said: str, station: Station, documents: Documents) -> None:
    """Which detector, the ledger, which file, what to do."""
    assert f"etector {station.name}" in said
    ledger = re.search(r"Ledger of series \S+: (\d+)( of \d+)? frames written", said)
    assert ledger, said
    assert str(files(documents, station.name)[-1]) in said
    assert re.search(r"[Rr]un the plan again|[Tt]ake the point or the scan again|wants a larger margin", said), said


def check_announced(documents: Documents, key: str) -> None:
    """What was announced can be read, whatever has died."""
    announced = documents.ranges(key)
    assert announced and announced[-1][1] <= sum(len(read_frames(path)) for path in files(documents, key))


def check_next(RE: RunEngine, det: Any, station: Station) -> None:
    """The same device scans, with nothing done to it, and its frames are those of the file."""
    documents = Documents()
    RE(bp.count([det], 3), documents)
    assert documents.stop["exit_status"] == "success"
    (path,) = files(documents, station.name)
    assert len(read_frames(path)) == 3
    numbers = read_frames(path, f"/entry/instrument/{station.name}/sequence_number")
    assert [int(one) - int(numbers[0]) for one in numbers] == [0, 1, 2]
    with station.client() as client:
        status = client.status()
    assert (status.series, status.last_series and status.last_series.outcome) == (None, "complete")


def files(documents: Documents, key: str) -> list[Path]:
    resources = [one for one in documents.of("stream_resource") if one["data_key"] == key]
    return [Path(one["uri"].removeprefix("file://localhost")) for one in resources]


@pytest.mark.parametrize(
    ("name", "how", "face"),
    [
        ("eiger", "restart_service", "classic"),
        ("eiger", "kill_both", "async"),
        ("xspress3", "kill_service", "classic"),
        ("xspress3", "restart_service", "async"),
    ],
)
def test_a_restart_between_two_scans(RE: RunEngine, station: Any, face: str, how: str) -> None:
    """Nobody notices."""
    det = station.device(face)
    check_next(RE, det, station)
    getattr(station, how)()
    station.mend()
    check_next(RE, det, station)


@pytest.mark.parametrize(("name", "face"), [("eiger", "classic"), ("eiger", "async"), ("xspress3", "async")])
def test_a_restart_between_two_points(RE: RunEngine, station: Any, face: str) -> None:
    """The points until then are in one file, those from then on in another, and none is missing."""
    det, documents = station.device(face), Documents()
    happening = Happening(station, FAULTS["the service is restarted"])
    RE(PLANS["step"](det, station), [documents, happening])
    assert documents.stop["exit_status"] == "success"
    rows = [len(read_frames(path)) for path in files(documents, station.name)]
    assert len(rows) == 2 and sum(rows) == 10
    check_next(RE, det, station)


class Interruption:
    """At the second announcement, `what` is done in a thread of its own, as by somebody at the keyboard."""

    def __init__(self, what: Callable[[], object]) -> None:
        self.thread = threading.Thread(target=what)
        self._left = 2

    def __call__(self, name: str, document: Any) -> None:
        self._left -= name == "stream_datum"
        if not self._left and self.thread.ident is None:
            self.thread.start()


EVENTS = {"step": 10, "burst": 6, "short flight": 100, "raster": 200, "turn": 100}
SUSPENDED = [
    ("eiger", "classic", "step"),
    ("eiger", "async", "burst"),
    ("eiger", "async", "short flight"),
    ("xspress3", "async", "step"),
    ("xspress3", "classic", "short flight"),
    ("xspress3", "async", "raster"),
]
PAUSED = [
    ("eiger", "classic", "step", "resume"),
    ("eiger", "async", "short flight", "resume"),
    ("xspress3", "classic", "raster", "resume"),
    ("xspress3", "classic", "turn", "resume"),
    ("xspress3", "async", "turn", "resume"),
    ("eiger", "async", "step", "abort"),
    ("eiger", "classic", "fly", "abort"),
    ("xspress3", "async", "raster", "abort"),
    ("eiger", "classic", "burst", "stop"),
    ("xspress3", "async", "fly", "stop"),
    ("eiger", "classic", "fly", "halt"),
    ("eiger", "async", "step", "halt"),
    ("eiger", "async", "fly", "halt"),
    ("xspress3", "classic", "raster", "halt"),
    ("xspress3", "async", "step", "halt"),
]
STATUS = {"resume": "success", "abort": "abort", "stop": "success", "halt": "abort"}


def check_whole(documents: Documents, key: str, plan: str) -> None:
    """Every event is there once, and the files hold these and nothing else."""
    assert documents.stop["exit_status"] == "success"
    assert documents.stop["num_events"]["primary"] == EVENTS[plan]
    column = f"/entry/instrument/{key}/sequence_number"
    numbers = [read_frames(path, column).ravel() for path in files(documents, key)]
    frames = EVENTS[plan] * (5 if plan == "burst" else 1)
    assert sum(len(one) for one in numbers) == frames
    assert all(np.array_equal(one, np.arange(one[0], one[0] + len(one))) for one in numbers if len(one))


@pytest.mark.parametrize(("name", "face", "plan"), SUSPENDED)
def test_the_beam_is_lost_and_comes_back(RE: RunEngine, station: Any, face: str, plan: str) -> None:
    """A suspender of a signal trips in the middle; the scan goes on by itself, with all of its data."""
    det, documents, waits = station.device(face), Documents(), threading.Event()
    beam_lost = Signal(name="beam_lost", value=0)
    suspender = SuspendBoolHigh(beam_lost)
    RE.install_suspender(suspender)
    RE.msg_hook = lambda message: waits.set() if message.command == "wait_for" else None

    def lose_and_find() -> None:
        beam_lost.put(1)
        assert waits.wait(PATIENCE)
        beam_lost.put(0)

    beam = Interruption(lose_and_find)
    RE(PLANS[plan](det, station), [documents, beam])
    beam.thread.join()
    assert waits.is_set()
    RE.remove_suspender(suspender)
    check_whole(documents, station.name, plan)
    check_next(RE, det, station)


@pytest.mark.parametrize(("name", "face", "plan", "end"), PAUSED)
def test_a_pause_and_what_follows(RE: RunEngine, station: Any, face: str, plan: str, end: str) -> None:
    det, documents = station.device(face), Documents()
    pause = Interruption(RE.request_pause)
    with pytest.raises(RunEngineInterrupted):
        RE(PLANS[plan](det, station), [documents, pause])
    pause.thread.join()
    getattr(RE, end)()
    assert documents.stop["exit_status"] == STATUS[end]
    if end == "resume":
        check_whole(documents, station.name, plan)
    check_announced(documents, station.name)
    check_next(RE, det, station)


@pytest.mark.parametrize(("name", "face"), [("eiger", "classic"), ("eiger", "async"), ("xspress3", "async")])
def test_a_session_that_died_in_a_scan(RE: RunEngine, station: Any, face: str) -> None:
    """What it has left armed is named, with what to do; after that, the next scan works."""
    dead = station.device("classic")
    dead.stage()
    dead.prepare(10_000).wait(PATIENCE)
    dead.kickoff().wait(PATIENCE)
    try:
        det = station.device(face)
        with pytest.raises((Busy, FailedStatus), match=rf"if nobody wants it, {station.name}.abort\(\) ends it"):
            RE(bp.count([det], 3))
        ended = det.abort()
        if face == "async":
            asyncio.run_coroutine_threadsafe(ended, RE.loop).result(PATIENCE)
        check_next(RE, det, station)
    finally:
        with contextlib.suppress(StreamdetError):
            dead.unstage()
