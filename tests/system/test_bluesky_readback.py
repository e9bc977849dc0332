"""What was announced is what is read back from Tiled while it is being written, with both writers of documents.

The service is scripted, so that its file can be ahead of the documents, even with them, and behind. Whole runs of real
services are the matrix in test_matrix.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import bluesky.plans as bp
import httpx
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis

from bluesky_streamdet.plans import fly
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector
from tests.system.conftest import WRITERS

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),  # the server takes its time on a busy machine
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
    # Of bluesky's own writer, with Tiled as it is now.
    pytest.mark.filterwarnings("ignore:The order of arguments has changed:DeprecationWarning"),
]
FACES = pytest.mark.parametrize("face", ["classic", "async"])
KNOWN = {"shape": SHAPE, "dtype": DTYPE}
Callback = Callable[[str, Any], None]

PLANS: dict[str, Callable[[list[Any]], Any]] = {
    "count": lambda detectors: bp.count(detectors, 4),
    "scan": lambda detectors: bp.scan(detectors, SynAxis(name="motor"), 0, 3, 4),
    "fly": lambda detectors: fly(detectors, 4, flush_period=0.01),
}


@pytest.fixture
def folder(frames_folder: Path) -> Path:
    return frames_folder / uuid4().hex[:8]


class LiveReader:
    """Reads an array from the catalog whenever more of it was announced; keeps the frames' numbers, or the failure."""

    def __init__(self, db: Any, key: str, numbers: Callable[[Any], list[int]] | None = None) -> None:
        self._numbers = numbers or numbers_in
        self.reads: list[list[int]] = []
        self.failures: list[str] = []
        self._db = db
        self._key = key
        self._resource = self._run = ""

    def __call__(self, name: str, document: Any) -> None:
        if name == "start":
            self._run = document["uid"]
        elif name == "stream_resource" and document["data_key"] == self._key:
            self._resource = document["uid"]
        elif name == "stream_datum" and document["stream_resource"] == self._resource:
            try:
                self.reads.append(self._numbers(self._db[self._run]["primary"][self._key].read()))
            except (httpx.HTTPError, KeyError) as error:
                self.failures.append(str(error))


def numbers_in(frames: Any) -> list[int]:
    """Of frames that hold one number in all their pixels."""
    frames = np.asarray(frames).reshape(-1, *SHAPE)
    assert (frames == frames[:, :1, :1]).all(), "frames are torn"
    return frames[:, 0, 0].tolist()


@pytest.mark.parametrize(("plan", "ahead"), [("count", 2), ("fly", 0), ("fly", 2)])
@FACES
def test_live_and_after(
    RE: RunEngine, folder: Path, db: Any, writer: Callback, face: str, plan: str, ahead: int
) -> None:
    service = ScriptedService(folder, ahead=ahead)
    det, live, documents = detector(face, service, **KNOWN), LiveReader(db, "det"), Documents()
    if plan == "fly":
        service.by_hand = True
        service.on_trigger = lambda: service.give(3)
    RE(PLANS[plan]([det]), [writer, documents, live, _gives_the_rest(service)])
    assert live.failures == []
    assert live.reads == [list(range(stop)) for _, stop in documents.ranges("det")]
    run = db[-1]
    assert run.start["plan_name"] == plan
    assert run["primary"]["det"].shape == (4, *SHAPE)
    dataset = run["primary"].read()
    assert numbers_in(dataset["det"]) == [0, 1, 2, 3]
    column = dataset["det_sequence_number" if face == "classic" else "det-sequence_number"]
    assert column.values.tolist() == [0, 1, 2, 3]


def test_a_file_that_is_behind(RE: RunEngine, folder: Path, db: Any, writer: Callback) -> None:
    service = ScriptedService(folder, behind=1)
    det, live = detector("classic", service, **KNOWN), LiveReader(db, "det")
    RE(bp.count([det], 3), [writer, live])
    assert len(live.failures) == 3
    assert all("503" in failure for failure in live.failures[1:]), "that a file lags is a reason to retry"
    service.catch_up()
    assert numbers_in(db[-1]["primary"]["det"].read()) == [0, 1, 2]


@pytest.mark.parametrize("plan", ["scan", "fly"])
def test_two_detectors_of_either_face(RE: RunEngine, folder: Path, db: Any, writer: Callback, plan: str) -> None:
    services = [ScriptedService(folder / name, detector=name) for name in ("one", "two")]
    services[1].numbers = 100
    faces = ("classic", "async")
    detectors = [detector(face, one, one.detector, **KNOWN) for face, one in zip(faces, services, strict=True)]
    RE(PLANS[plan](detectors), writer)
    dataset = db[-1]["primary"].read()
    assert numbers_in(dataset["one"]) == [0, 1, 2, 3]
    assert numbers_in(dataset["two"]) == [100, 101, 102, 103]


@pytest.mark.parametrize(("face", "plan"), [("classic", "count"), ("async", "fly")])
def test_several_frames_an_event(RE: RunEngine, folder: Path, db: Any, writer: Callback, face: str, plan: str) -> None:
    det = detector(face, ScriptedService(folder, ahead=1), frames_per_event=3, **KNOWN)
    column = "det_sequence_number" if face == "classic" else "det-sequence_number"
    live, beside = LiveReader(db, "det"), LiveReader(db, column, lambda values: values.reshape(-1).tolist())
    documents = Documents()
    RE(PLANS[plan]([det]), [writer, documents, live, beside])
    assert live.failures == beside.failures == []
    assert live.reads == beside.reads == [list(range(3 * stop)) for _, stop in documents.ranges("det")]
    assert db[-1]["primary"]["det"].shape == (4, 3, *SHAPE)
    assert db[-1]["primary"][column].shape == (4, 3)


def test_an_interrupted_point_leaves_later_frames_with_their_events(
    RE: RunEngine, folder: Path, db: Any, writer: Callback
) -> None:
    """Tiled counts rows, whatever indices say: a row too many would give all later events the frame of another."""
    service = ScriptedService(folder)
    det, live = detector("classic", service), LiveReader(db, "det")
    triggers = []
    pause = threading.Thread(target=RE.request_pause)

    def give() -> None:
        triggers.append(service.numbers)
        service.give(1) if len(triggers) != 3 else pause.start()

    service.by_hand, service.on_trigger = True, give
    with pytest.raises(RunEngineInterrupted):
        RE(bp.scan([det], SynAxis(name="motor"), 0, 4, 5), [writer, live])
    pause.join()
    service.give(1)
    RE.resume()
    dataset = db[-1]["primary"].read()
    assert numbers_in(dataset["det"]) == [0, 1, 3, 4, 5]
    assert dataset["motor"].values.tolist() == [0, 1, 2, 3, 4]
    assert live.failures == []


# databroker changes what Tiled's client returns, for the whole process: it is used in processes of its own.
READ_LAST_RUN = """
import sys
from databroker import Broker
from tiled.client import from_uri
broker = Broker(from_uri(sys.argv[1])[sys.argv[2]])
print(broker[-1].start["uid"], [int(frame.flat[0]) for frame in broker[-1].data("det")])
"""


@pytest.mark.parametrize("writer", WRITERS[:1], indirect=True)
@FACES
def test_the_last_run_by_databroker(
    RE: RunEngine, folder: Path, db: Any, tiled_uri: str, writer: Callback, face: str
) -> None:
    documents = Documents()
    RE(bp.count([detector(face, ScriptedService(folder))], 2), [writer, documents])
    command = [sys.executable, "-W", "ignore", "-c", READ_LAST_RUN, tiled_uri, db.path_parts[-1]]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split(maxsplit=1) == [documents.of("start")[0]["uid"], "[0, 1]\n"]


@pytest.mark.parametrize("writer", WRITERS[:1], indirect=True)  # The other knows no AD_HDF5 unless it is told.
@pytest.mark.parametrize("frames_per_event", [1, 3])
def test_resource_documents_in_tiled(
    RE: RunEngine, folder: Path, db: Any, writer: Callback, frames_per_event: int
) -> None:
    service = ScriptedService(folder)
    det = detector("classic", service, asset_docs="resource", frames_per_event=frames_per_event)
    RE(bp.count([det], 2), writer)
    assert numbers_in(db[-1]["primary"]["det"].read()) == list(range(2 * frames_per_event))


def _gives_the_rest(service: ScriptedService) -> Callback:
    """Once some frames of a flight are announced, the last one comes."""

    def give(name: str, document: Any) -> None:
        if name == "stream_datum" and service.numbers == 3 and service.by_hand:
            service.give(1)

    return give
