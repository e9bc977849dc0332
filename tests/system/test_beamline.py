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
