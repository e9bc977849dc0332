"""Runs of files by other layouts than the usual one: what is read back by Tiled, and seen live, is what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky_tiled_plugins import TiledWriter

from bluesky_streamdet.callbacks.frames import FrameCallback
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.layouts import shipped
from bluesky_streamdet.streaming.files.reader import local_path
from tests.scripted import Documents
from tests.system.matrix import CASES, FACES, Checked, Services, check, expected, made, pictures, services

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),  # the services and the server take their time on a busy machine
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
]
OTHERS = sorted(set(shipped()) - {"nexus"})


@pytest.fixture(scope="module", params=OTHERS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def where(layout: str, tmp_path_factory: pytest.TempPathFactory, frames_folder: Path) -> Iterator[Services]:
    """Services whose files have that layout."""
    folder, frames = tmp_path_factory.mktemp("keys"), frames_folder / uuid4().hex[:8]
    frames.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMDET_FILES__LAYOUT", layout)
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.delenv("STREAMDET_API_KEY", raising=False)
        with services(folder, frames) as running:
            yield running


@pytest.mark.parametrize(("plan", "face"), [("count", "async"), ("two detectors", "classic"), ("fly", "classic")])
def test_by_tiled(RE: RunEngine, where: Services, db: Any, layout: str, plan: str, face: str) -> None:
    case, checked, documents = CASES[plan], Checked(), Documents()
    detectors = [made(name, face, where) for name in case.detectors]
    seen: list[Any] = []
    numbers: list[int] = []
    live = FrameCallback(lambda *said: seen.append(said[-1]), keys=["eiger"])
    column = "eiger_sequence_number" if face == "classic" else "eiger-sequence_number"
    beside = FrameCallback(lambda *said: numbers.extend(said[-1].tolist()), keys=[column])
    RE(case.plan(detectors), [TiledWriter(db), checked, documents, live, beside])

    uris = {one["uri"] for one in documents.of("stream_resource")}
    assert {inspect(local_path(uri)).layout for uri in uris} == {layout}
    assert np.array_equal(np.concatenate(seen), pictures(case.events).frames)
    assert numbers == list(range(case.events))
    whole = db[-1]["primary"].read()
    read = {str(key): whole[key].values for key in whole.variables}
    check(read, expected(case, face, "stream", read))
    checked.check_ranges(case)


@pytest.mark.parametrize("face", FACES)
def test_a_flight_that_nothing_went_before(RE: RunEngine, where: Services, face: str) -> None:
    """What it is described by is known before its first frame."""
    case, documents = CASES["fly"], Documents()
    RE(case.plan([made("eiger", face, where, columns=("sequence_number", "receive_time"))]), documents)
    assert documents.stop["num_events"] == {"primary": case.events}
