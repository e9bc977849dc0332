"""A beamline whose catalog is a server that runs for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import bluesky.plans as bp
import pytest
from bluesky import RunEngine

from bluesky_streamdet.beamline import Beamline, BeamlineConfig

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),  # the server takes its time on a busy machine
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
]


def test_runs_in_the_catalog_of_a_server(RE: RunEngine, tiled_root: Any, tiled_uri: str, tmp_path: Path) -> None:
    outer = uuid4().hex
    tiled_root.create_container(outer)
    values = {
        "catalog": tiled_uri,
        "container": f"{outer}/raw",
        "folder": tmp_path,
        "table": False,
        "progress": False,
        "devices": {"motor": {"class": "ophyd.sim.SynAxis"}},
    }
    beamline = Beamline(BeamlineConfig.model_validate(values), RE)
    try:
        motor, db = beamline.namespace["motor"], beamline.namespace["db"]
        RE(bp.scan([], motor, 0, 2, 3))
        assert db[-1]["primary"]["motor"].read().tolist() == [0, 1, 2]
        assert db[-1].start["beamline"] == "beamline"
    finally:
        beamline.close()
    with_another = Beamline(BeamlineConfig.model_validate(values), RE)
    assert with_another.db is not None and len(with_another.db) == 1
    with_another.close()


@pytest.mark.parametrize("face", ["classic", "async"])
def test_a_simulated_detector_that_was_killed_is_there_again(RE: RunEngine, tmp_path: Path, face: str) -> None:
    simulated = {"type": "stream", "face": face, "simulate": {"shape": [64, 64]}, "exposure": 0.01, "margin": 5}
    values = {
        "catalog": "none",
        "folder": tmp_path,
        "table": False,
        "progress": False,
        "detectors": {"eiger": simulated},
    }
    beamline = Beamline(BeamlineConfig.model_validate(values), RE)
    try:
        eiger, part = beamline.namespace["eiger"], beamline.parts["eiger"]
        for process in ("simulator", "service"):
            RE(bp.count([eiger], 2))
            assert RE.md["scan_id"]
            getattr(part.running, process)._process.kill()
            getattr(part.running, process)._process.wait()
        documents: list[str] = []
        RE(bp.count([eiger], 2), lambda name, _: documents.append(name))
        assert documents.count("event") == 2
    finally:
        beamline.close()
