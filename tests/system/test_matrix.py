"""Every plan, with either face, by every route into a catalog: what is read back is what the simulators sent.

Real services, real catalogs; `matrix` has the parts. What can't be is listed in `no_such_cell`, with the reason.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from event_model import sanitize_doc
from ophyd.sim import SynAxis
from tiled.queries import Key

from bluesky_streamdet.core.errors import ConfigError
from tests.scripted import Documents
from tests.system.conftest import WRITERS
from tests.system.matrix import BOTH, CASES, FACES, Arrays, Case, Checked, Services, check, expected, made, services

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),  # the services and the server take their time on a busy machine
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
    # Of bluesky's own writer, with Tiled as it is now.
    pytest.mark.filterwarnings("ignore:The order of arguments has changed:DeprecationWarning"),
]
READER = Path(__file__).with_name("databroker_reader.py")
ASYNC = "unexpected keyword argument 'asset_docs'"
FLIGHT = "documents of the kind 'resource' tell of step scans only"
SPECTRA = "documents of the kind 'resource' can't tell of several frames an event"


def no_such_cell(plan: str, face: str) -> str:
    """What is said to who wants Resource and Datum, and databroker, of a combination; empty when there is such a one.

    ophyd-async has no such documents, a flight has no events that could refer to a datum, and each datum of an Xspress3
    is one frame.
    """
    case = CASES[plan]
    several = case.frames > 1 and "xspress3" in case.detectors
    return ASYNC if face == "async" else FLIGHT if case.flies else SPECTRA if several else ""


BY_DATABROKER = [plan for plan in CASES if not no_such_cell(plan, "classic")]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory, frames_folder: Path) -> Iterator[Services]:
    folder, frames = tmp_path_factory.mktemp("keys"), frames_folder / uuid4().hex[:8]
    frames.mkdir()
    with pytest.MonkeyPatch.context() as patch, services(folder, frames) as running:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.delenv("STREAMDET_API_KEY", raising=False)
        yield running


class Databroker:
    """A temporary databroker in a process of its own, as it changes Tiled's client."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [python, "-W", "ignore", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def read(self, documents: Documents, keys: list[str]) -> Arrays:
        """Put a run in, and read it back. Raises `LookupError` with what databroker says."""
        into = self._folder / f"{uuid4().hex}.npz"
        run = {"documents": [[name, sanitize_doc(one)] for name, one in documents.all], "keys": keys}
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps({**run, "into": os.fspath(into)}) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        if "problem" in answer:
            raise LookupError(answer["problem"])
        assert answer["run"] == documents.of("start")[0]["uid"]
        with np.load(into) as found:
            return dict(found)

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def databroker2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databroker]:
    broker = Databroker(Path(sys.executable), tmp_path_factory.mktemp("databroker2"))
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def databroker1(databroker1_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databroker]:
    broker = Databroker(databroker1_python, tmp_path_factory.mktemp("databroker1"))
    yield broker
    broker.close()


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("plan", "face"), [(plan, face) for plan in CASES for face in FACES])
def test_by_tiled(RE: RunEngine, where: Services, db: Any, plan: str, face: str, writer: str) -> None:
    case, checked = CASES[plan], Checked()
    detectors = [made(name, face, where) for name in case.detectors]
    RE(case.plan(detectors), [importlib.import_module(writer).TiledWriter(db), checked])
    assert db[-1].stop["num_events"] == {"primary": case.events}
    whole = db[-1]["primary"].read()
    assert whole.sizes["time"] == case.events
    read = {str(key): whole[key].values for key in whole.variables}
    check(read, expected(case, face, "stream", read))
    checked.check_ranges(case)


def compare(broker: Databroker, RE: RunEngine, where: Services, plan: str) -> None:
    """Run a plan, and compare what the broker reads back of it."""
    case, checked, documents = CASES[plan], Checked(), Documents()
    detectors = [made(name, "classic", where, asset_docs="resource") for name in case.detectors]
    RE(case.plan(detectors), [documents, checked])
    read = broker.read(documents, list(documents.of("descriptor")[0]["data_keys"]))
    check(read, expected(case, "classic", "resource", read))


@pytest.mark.parametrize("plan", BY_DATABROKER)
def test_by_databroker_2(RE: RunEngine, where: Services, databroker2: Databroker, plan: str) -> None:
    compare(databroker2, RE, where, plan)


@pytest.mark.peers
@pytest.mark.parametrize("plan", BY_DATABROKER)
def test_by_databroker_1(RE: RunEngine, where: Services, databroker1: Databroker, plan: str) -> None:
    compare(databroker1, RE, where, plan)


@pytest.mark.allow_error_log
@pytest.mark.parametrize(
    ("plan", "face"), [(plan, face) for plan in CASES for face in FACES if no_such_cell(plan, face) not in {"", ASYNC}]
)
def test_what_resource_and_datum_can_not_tell_is_refused(RE: RunEngine, where: Services, plan: str, face: str) -> None:
    detectors = [made(name, face, where, asset_docs="resource") for name in CASES[plan].detectors]
    with pytest.raises(ConfigError, match=f"(?i){no_such_cell(plan, face)}"):
        RE(CASES[plan].plan(detectors))
    RE(CASES["count"].plan(detectors[:1]))


def test_ophyd_async_has_no_resource_and_datum(RE: RunEngine, where: Services) -> None:
    with pytest.raises(TypeError, match=no_such_cell("count", "async")):
        made("eiger", "async", where, asset_docs="resource")


def test_databroker_takes_other_documents_and_can_not_read_them(
    RE: RunEngine, where: Services, databroker2: Databroker
) -> None:
    """So the page says; should it read them one day, there is a cell more."""
    documents = Documents()
    RE(CASES["count"].plan([made("eiger", "async", where)]), documents)
    with pytest.raises(LookupError):
        databroker2.read(documents, ["eiger"])


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("face", FACES)
def test_two_runs_at_once(RE: RunEngine, where: Services, db: Any, face: str, writer: str) -> None:
    """Each of a detector of its own, with its points between those of the other, by run keys."""
    eiger, xspress3 = (made(name, face, where) for name in BOTH)
    motor, checked = SynAxis(name="motor"), Checked()

    @bpp.stage_decorator([eiger, xspress3])
    def plan() -> Any:
        runs = {"picture": [eiger, motor], "spectra": [xspress3, motor]}
        for key in runs:
            yield from bpp.set_run_key_wrapper(bps.open_run({"what": key}), key)
        for place in range(3):
            yield from bps.mv(motor, place)
            for key, devices in runs.items():
                yield from bpp.set_run_key_wrapper(bps.trigger_and_read(devices), key)
        for key in runs:
            yield from bpp.set_run_key_wrapper(bps.close_run(), key)

    RE(plan(), [importlib.import_module(writer).TiledWriter(db), checked])
    for what, name in (("picture", "eiger"), ("spectra", "xspress3")):
        (run,) = db.search(Key("what") == what).values()
        whole = run["primary"].read()
        read = {str(key): whole[key].values for key in whole.variables}
        case = Case(CASES["count"].plan, 3, {"motor": [0.0, 1.0, 2.0]}, (name,))
        check(read, expected(case, face, "stream", read))
