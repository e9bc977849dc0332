"""Plans whose runs have several streams or several files, read back from a real Tiled server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from ophyd import Signal
from ophyd.sim import SynAxis

from bluesky_streamdet import plans
from tests.scripted import DTYPE, SHAPE, ScriptedService, detector

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),  # the server takes its time on a busy machine
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
    # Of bluesky's own writer, with Tiled as it is now.
    pytest.mark.filterwarnings("ignore:The order of arguments has changed:DeprecationWarning"),
]

FACES = pytest.mark.parametrize("face", ["classic", "async"])
KNOWN = {"shape": SHAPE, "dtype": DTYPE}
Writer = Callable[[str, dict[str, Any]], None]


@pytest.fixture
def service(frames_folder: Path, tmp_path: Path) -> ScriptedService:
    return ScriptedService(frames_folder / tmp_path.name, detector="det")


def numbers_in(run: Any, stream: str) -> list[int]:
    """The number of each frame; the scripted detector counts over all series."""
    frames = run[stream]["det"].read()
    return frames.reshape(-1, *SHAPE)[:, 0, 0].tolist()


@FACES
def test_the_streams_of_a_tomogram(RE: RunEngine, db: Any, writer: Writer, service: ScriptedService, face: str) -> None:
    det = detector(face, service, **KNOWN)
    around = {"shutter": Signal(name="shutter", value=0), "sample": Signal(name="sample", value=0)}
    plan = plans.tomography([det], SynAxis(name="rotation"), 3, darks=2, flats=4, flush_period=0.01, **around)
    RE(plan, writer)
    run = db[-1]
    assert numbers_in(run, "darks") == [0, 1]
    assert numbers_in(run, "flats") == [2, 3, 4, 5]
    assert numbers_in(run, "primary") == [6, 7, 8]
    assert run["primary"]["rotation"].read().tolist() == [0.0, 90.0, 180.0]


@FACES
def test_the_files_of_an_energy_scan(
    RE: RunEngine, db: Any, writer: Writer, service: ScriptedService, face: str
) -> None:
    det = detector(face, service)
    RE(plans.energy_scan([det], SynAxis(name="energy"), [[0, 2, 1, 0.1], [3, 4, 1, 0.2]]), writer)
    assert numbers_in(db[-1], "primary") == [0, 1, 2, 3, 4]
    assert db[-1]["primary"]["energy"].read().tolist() == [0, 1, 2, 3, 4]
