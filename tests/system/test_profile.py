"""The IPython profile, opened as a user opens it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("IPython", reason="needs IPython")
pytest.importorskip("tiled.server", reason="needs the extra 'demo'")

PROFILE = Path(__file__).parents[2] / "profile_collection"

SESSION = """
RE(scan([eiger], motor, -1, 1, 3))
run = db[-1].primary.read()
live_image.close()
print("SHAPE", run["eiger"].shape, run["motor"].values.tolist(), run["eiger_frames_written"].values.tolist())
print("DRAWN", live_image.drawn > 0, (beamline.folder / "live.png").exists())
print("REPR", eiger)
RE(raster([xspress3], stage, 2, 3, 0.01))
print("MAP", region_map(db[-1], "Fe").shape, db[-1]["positions"].read()["stage_x"].values.tolist())
"""


@pytest.mark.system
@pytest.mark.timeout(180)
def test_a_session_scans_and_reads_back(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "IPython", f"--profile-dir={PROFILE}", "--colors=NoColor", "-c", SESSION]
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), "STREAMDET_FOLDER": str(tmp_path / "beamline")}
    environment.pop("DISPLAY", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SHAPE (3, 1065, 1030) [-1.0, 0.0, 1.0] [1, 2, 3]" in done.stdout, done.stdout + done.stderr
    assert "DRAWN True True" in done.stdout
    assert "3 frames written" in done.stdout
    assert "MAP (2, 3) [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]" in done.stdout, done.stdout + done.stderr
