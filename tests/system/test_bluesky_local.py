"""The whole path: RunEngine, devices, a service and a simulated detector in their processes; every frame compared."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus, RunEngineInterrupted
from numpy.typing import NDArray
from ophyd.sim import SynAxis
from ophyd_async.core import init_devices

from bluesky_streamdet.callbacks.frames import FrameCallback
from bluesky_streamdet.core.errors import ServiceUnreachable
from bluesky_streamdet.devices.asynchronous import StreamDetector as Asynchronous
from bluesky_streamdet.devices.classic import StreamDetector as Classic
from bluesky_streamdet.devices.drivers import SimulatedDriver
from bluesky_streamdet.devices.paths import SessionPaths
from bluesky_streamdet.local import LocalBeamline
from bluesky_streamdet.plans import fly
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.sim.settings import SimulatorSettings
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.status import Status
from tests.scripted import Documents

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
FACES = pytest.mark.parametrize("face", ["classic", "async"])
SETTINGS = SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=(96, 128), dtype="uint16")


@pytest.fixture(scope="module")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBeamline]:
    with LocalBeamline(tmp_path_factory.mktemp("beamline"), SETTINGS, catalog=False) as running:
        yield running


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures(SETTINGS.shape, SETTINGS.dtype, SETTINGS.encoding, SETTINGS.seed)


class Compared:
    """Compares frames as they are announced with what the detector sent; keeps which they were."""

    def __init__(self, pictures: Pictures) -> None:
        self.numbers: list[int] = []
        self._pictures = pictures

    def __call__(self, key: str, seq_nums: range, frames: NDArray[Any]) -> None:
        for frame in frames.reshape(-1, *SETTINGS.shape):
            number = next((n for n in range(200) if np.array_equal(frame, self._pictures.frame(n))), None)
            assert number is not None, f"event {seq_nums} has a frame that was never sent"
            self.numbers.append(number)


def made(face: str, beamline: LocalBeamline, **keywords: Any) -> Any:
    keywords = {"exposure": 0.01, "margin": 20.0} | beamline.device | keywords
    if face == "classic":
        return Classic(name="eiger", **keywords)
    with init_devices():
        eiger = Asynchronous(name="eiger", **keywords)
    return eiger  # noqa: RET504, it is connected as a variable that was not there before


@FACES
def test_a_step_scan(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures, face: str) -> None:
    eiger, documents, compared = made(face, beamline), Documents(), Compared(pictures)
    RE(bp.scan([eiger], SynAxis(name="motor"), 0, 1, 4), [documents, FrameCallback(compared)])
    assert compared.numbers == [0, 1, 2, 3]
    assert documents.stop["num_events"] == {"primary": 4}
    total = documents.of("event")[2]["data"]["eiger_total" if face == "classic" else "eiger-total"]
    picture = pictures.frame(2)
    assert total == picture[picture < 65535].sum(dtype=float)


@FACES
def test_several_frames_an_event(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures, face: str) -> None:
    eiger, documents, compared = made(face, beamline, frames_per_event=3), Documents(), Compared(pictures)
    RE(bp.count([eiger], 2), [documents, FrameCallback(compared)])
    assert compared.numbers == list(range(6))
    assert documents.of("descriptor")[0]["data_keys"]["eiger"]["shape"] == [3, *SETTINGS.shape]


@FACES
def test_a_fly_scan(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures, face: str) -> None:
    eiger, documents, compared = made(face, beamline), Documents(), Compared(pictures)
    RE(fly([eiger], 60, exposure=0.005), [documents, FrameCallback(compared)])
    assert compared.numbers == list(range(60))
    ranges = documents.ranges("eiger")
    assert [start for start, _ in ranges[1:]] == [stop for _, stop in ranges[:-1]]
    assert len(ranges) > 1, "announced while it flew"
    assert documents.stop["num_events"] == {"primary": 60}


@FACES
def test_a_pause_in_a_fly_scan(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures, face: str) -> None:
    eiger, documents, compared = made(face, beamline), Documents(), Compared(pictures)
    pause = _Pause(RE, after=1, of="stream_datum")
    with pytest.raises(RunEngineInterrupted):
        RE(fly([eiger], 60, exposure=0.005), [documents, FrameCallback(compared), pause])
    pause.thread.join()
    RE.resume()
    assert compared.numbers == list(range(60))
    assert documents.stop["num_events"] == {"primary": 60}


@FACES
def test_a_pause_in_a_step_scan(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures, face: str) -> None:
    """The point is taken anew, into another file; rows of the files, in order, are the frames of the events."""
    documents, compared = Documents(), Compared(pictures)
    driver = _PausingDriver(beamline.simulator.control, RE, nth=3)
    eiger = made(face, beamline, driver=driver, exposure=0.3)
    with pytest.raises(RunEngineInterrupted):
        RE(bp.count([eiger], 4), [documents, FrameCallback(compared)])
    driver.thread.join()
    with ServiceClient(beamline.service_url) as client:
        client.wait(_has_three_frames, 20, "the frame of the interrupted point")
        RE.resume()
        first, second = _uris(documents)
        cut = next(one for one in client.list_series() if one.file == first)
    assert [len(read_frames(first)), len(read_frames(second))] == [2, 2]
    assert compared.numbers == [0, 1, 0, 1], "the detector counts anew in the new series"
    assert (cut.outcome, cut.ledger.written, sum(cut.ledger.discarded.values())) == ("complete", 2, 1)
    assert documents.stop["num_events"] == {"primary": 4}


@pytest.mark.allow_error_log
@FACES
def test_an_abort_leaves_all_ready(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures, face: str) -> None:
    eiger, compared = made(face, beamline), Compared(pictures)
    pause = _Pause(RE, after=1, of="stream_datum")
    with pytest.raises(RunEngineInterrupted):
        RE(fly([eiger], 1000, exposure=0.01), pause)
    pause.thread.join()
    RE.abort()
    with ServiceClient(beamline.service_url) as client:
        status = client.status()
        assert status.series is None
        assert status.last_series is not None
        assert status.last_series.outcome == "aborted"
    RE(bp.count([eiger], 3), FrameCallback(compared))
    assert compared.numbers == [0, 1, 2]


@pytest.mark.allow_error_log
@FACES
def test_a_service_that_is_killed(RE: RunEngine, tmp_path: Path, pictures: Pictures, face: str) -> None:
    """The plan fails at once; with a new service, the same device works."""
    with LocalBeamline(tmp_path, SETTINGS, catalog=False) as beamline:
        eiger, documents, compared = made(face, beamline), Documents(), Compared(pictures)

        def kill(name: str, document: Any) -> None:
            if name == "stream_datum" and beamline.service.pid is not None:
                os.kill(beamline.service.pid, signal.SIGKILL)

        with pytest.raises(FailedStatus) as caught:
            RE(fly([eiger], 1000, exposure=0.01), [documents, kill])
        assert isinstance(caught.value.__cause__, ServiceUnreachable)
        assert "in the middle of series" in str(caught.value.__cause__)
        beamline.service.close()
        beamline.service.config.rest.port = urlsplit(beamline.service_url).port or 0
        beamline.service.start()
        announced = documents.ranges("eiger")[-1][1]
        assert len(read_frames(_uris(documents)[0])) >= announced, "what was announced can be read"
        RE(bp.count([eiger], 2), FrameCallback(compared))
        assert compared.numbers == [0, 1]


def test_both_faces_take_turns(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures) -> None:
    for face in ("classic", "async", "classic"):
        compared = Compared(pictures)
        RE(bp.count([made(face, beamline)], 2), FrameCallback(compared))
        assert compared.numbers == [0, 1]


def test_folders_of_proposal_and_session(RE: RunEngine, beamline: LocalBeamline) -> None:
    eiger, documents = made("classic", beamline, path_provider=SessionPaths("p1234", "day1")), Documents()
    RE(bp.count([eiger], 1), documents)
    assert Path(_uris(documents)[0]).parent == beamline.frames / "p1234" / "day1"


def test_resource_documents(RE: RunEngine, beamline: LocalBeamline, pictures: Pictures) -> None:
    eiger, compared = made("classic", beamline, asset_docs="resource", frames_per_event=2), Compared(pictures)
    RE(bp.count([eiger], 3), FrameCallback(compared))
    assert compared.numbers == list(range(6))


class _Pause:
    """Pauses the RunEngine in the middle of what follows the `after`th document of a kind."""

    def __init__(self, RE: RunEngine, after: int, of: str) -> None:
        self.thread = threading.Thread(target=RE.request_pause)
        self._left = after
        self._kind = of

    def __call__(self, name: str, document: Any) -> None:
        self._left -= name == self._kind
        if self._left == 0 and self.thread.ident is None:
            self.thread.start()


class _PausingDriver(SimulatedDriver):
    """Pauses the RunEngine once the detector has been triggered for the `nth` time, while it exposes."""

    def __init__(self, endpoint: str, RE: RunEngine, nth: int) -> None:
        super().__init__(endpoint)
        self.thread = threading.Thread(target=RE.request_pause)
        self._left = nth

    def trigger(self) -> None:
        super().trigger()
        self._left -= 1
        if not self._left:
            self.thread.start()


def _uris(documents: Documents) -> list[str]:
    resources = documents.of("stream_resource")
    return [one["uri"].removeprefix("file://localhost") for one in resources if one["data_key"] == "eiger"]


def _has_three_frames(status: Status) -> bool:
    return status.series is not None and status.series.ledger.written == 3
