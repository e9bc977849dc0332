"""What a run says of sample, beam and proposal is in the catalog and in the files of all kinds of detectors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import bluesky.plans as bp
import h5py
import hdf5plugin  # noqa: F401, h5py reads compressed frames by it
import numpy as np
import pytest
from bluesky import RunEngine

from bluesky_streamdet.beamline import Beamline, BeamlineConfig
from bluesky_streamdet.plans import fly
from bluesky_streamdet.streaming.files.experiment import PLACE
from tests.scripted import Documents

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
]

CAMERA = {"type": "stream", "simulate": {"shape": [32, 48], "dtype": "uint16"}, "exposure": 0.01, "margin": 20.0}
SPECTRA = {"type": "xspress3", "simulate": {"channels": 2, "rate": 10_000}, "exposure": 0.01, "margin": 20.0}
DETECTORS = {
    "camera": CAMERA,
    "fast": {**CAMERA, "face": "async"},
    "xspress3": SPECTRA,
    "spectra": {**SPECTRA, "face": "async"},
}
METADATA = {
    "sample": {"name": "cell 7", "formula": "Fe2O3"},
    "proposal": {"id": 20260123, "title": "Iron in the deep"},
    "energy": {"value": 12.4, "units": "keV"},
    "user": "L. Meitner",
    "steps": [{"temperature": 300, "note": None}, {"temperature": 400, "note": "slow"}],
}


def test_sample_beam_and_proposal_are_in_every_file(RE: RunEngine, tiled_uri: str, frames_folder: Path) -> None:
    config = BeamlineConfig.model_validate(
        {
            "name": "X01",
            "catalog": tiled_uri,
            "container": uuid4().hex,
            "frames": frames_folder / uuid4().hex[:8],
            "metadata": {"facility": "Example Light Source"},
            "detectors": DETECTORS,
            "table": False,
        }
    )
    assert config.frames is not None
    config.frames.mkdir()
    beamline = Beamline(config, RE)
    try:
        detectors = list(beamline.detectors.values())
        for plan in (bp.count(detectors, 2), fly(detectors, 3, 0.01)):
            documents = Documents()
            RE(plan, documents, **METADATA)
            assert beamline.db is not None
            run = beamline.db[-1]
            assert run.start["sample"] == METADATA["sample"]
            for name in DETECTORS:
                frames = np.asarray(run["primary"][name].read())
                _check_file(_file(documents, name), documents.of("start")[0], frames)
    finally:
        beamline.close()


def _file(documents: Documents, name: str) -> str:
    (resource,) = [one for one in documents.of("stream_resource") if one["data_key"] == name]
    return re.sub("^file://localhost", "", resource["uri"])


def _check_file(path: str, start: dict[str, Any], frames: Any) -> None:
    with h5py.File(path, "r") as file:
        entry = file["/entry"]
        assert entry["entry_identifier_uuid"].asstr()[()] == start["uid"]
        assert entry["experiment_identifier"].asstr()[()] == "20260123"
        assert entry["sample/name"].asstr()[()] == "cell 7"
        assert entry["sample/chemical_formula"].asstr()[()] == "Fe2O3"
        assert entry["user/name"].asstr()[()] == "L. Meitner"
        assert entry["instrument/name"].asstr()[()] == "X01"
        assert entry["instrument/source/name"].asstr()[()] == "Example Light Source"
        assert "incident_energy" in entry["instrument/beam"]
        assert file[f"{PLACE}/energy/value"][()] == 12.4
        assert set(file[PLACE]) == set(start)
        assert file[f"{PLACE}/steps/1/note"].asstr()[()] == "slow"
        assert file[f"{PLACE}/steps/0/note"].attrs["none"]
        assert np.array_equal(frames, file["/entry/data/data"][()])
