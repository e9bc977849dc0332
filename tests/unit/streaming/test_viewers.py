"""Other people's programs open our files: silx and PyMca, in environments of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from tests.unit.streaming.frames import frame, pictures
from tests.unit.streaming.spectra import BINS, CHANNELS, counts, spectra
from tests.unit.streaming.test_hdf5 import STARTED, report, write_all

pytestmark = pytest.mark.peers
FRAMES = 6

SILX = """
import json, sys
import hdf5plugin  # as `silx view` does
import silx.io
from silx.io import nxdata

with silx.io.open(sys.argv[1]) as file:
    plot = nxdata.get_default(file)
    axis = plot.axes[-1]
    print(json.dumps({
        "valid": plot.is_valid,
        "signal": plot.signal.name,
        "interpretation": plot.interpretation,
        "values": plot.signal[()].tolist(),
        "axis": None if axis is None else [plot.axes_names[-1], *axis[()].tolist()],
    }))
"""

PYMCA = """
import json, sys
import h5py, hdf5plugin
from PyMca5.PyMcaCore import NexusTools
from PyMca5.PyMcaIO.HDF5Stack1D import HDF5Stack1D

path, places = sys.argv[1], sys.argv[2:]
with h5py.File(path, "r") as file:
    spectra = NexusTools.getMcaList(file, "/entry")
    found = {one: NexusTools.getMcaObjectPaths(file, one).get("calibration") for one in [*spectra, *places]}
stacks = [HDF5Stack1D([path], {"y": [one.removeprefix("/entry")]}) for one in places]
print(json.dumps({
    "spectra": spectra,
    "calibrations": found,
    "shapes": [list(one.data.shape) for one in stacks],
    "sums": [float(one.data.sum()) for one in stacks],
    "calibration": [list(one.info["McaCalib"]) for one in stacks],
}))
"""


def said(python: Path, code: str, *arguments: object) -> Any:
    """What the code prints as JSON, run by another interpreter."""
    command = [str(python), "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def xrf(tmp_path: Path) -> Path:
    """Spectra whose bins are 10 eV wide, from bin 100 on."""
    file = SeriesFile(tmp_path / "xrf.h5", "xspress3", "s1")
    file.open(spectra(0), STARTED, {"ev_per_bin": 10.0, "first_bin": 100})
    file.write([spectra(number) for number in range(FRAMES)])
    file.close(report(FRAMES), {})
    return tmp_path / "xrf.h5"


def test_silx_shows_spectra_with_their_energies(viewers_python: Path, xrf: Path) -> None:
    plot = said(viewers_python, SILX, xrf)
    assert (plot["valid"], plot["signal"], plot["interpretation"]) == (True, "/entry/data/data", "spectrum")
    assert plot["axis"][0] == "energy (keV)"
    assert plot["axis"][1:] == pytest.approx(1.0 + 0.01 * np.arange(BINS))
    assert np.array_equal(plot["values"], [counts(number) for number in range(FRAMES)])


def test_silx_shows_compressed_images(viewers_python: Path, tmp_path: Path) -> None:
    write_all(tmp_path / "eiger.h5", [frame(number, shape=(16, 24), encoding=BSLZ4) for number in range(FRAMES)])
    plot = said(viewers_python, SILX, tmp_path / "eiger.h5")
    assert (plot["valid"], plot["interpretation"], plot["axis"]) == (True, "image", None)
    assert np.array_equal(plot["values"], pictures(range(FRAMES), (16, 24), "<u2"))


def test_pymca_finds_spectra_and_their_calibration(pymca_python: Path, xrf: Path) -> None:
    """By what it looks for itself, and under each name that the spectra have."""
    places = ["/entry/instrument/detector/data", "/entry/instrument/xspress3/data", "/entry/data/data"]
    found = said(pymca_python, PYMCA, xrf, *places)
    assert len(found["spectra"]) == 1, "each spectrum once"
    assert all(found["calibrations"].values())
    assert found["shapes"] == [[FRAMES, CHANNELS, BINS]] * 3
    assert found["sums"] == [float(sum(counts(number).sum() for number in range(FRAMES)))] * 3
    assert found["calibration"] == [pytest.approx([1.0, 0.01, 0.0])] * 3
