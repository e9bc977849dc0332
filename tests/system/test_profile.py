"""The IPython profile, opened as a user opens it: simulated, and with a file of hardware."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bluesky_streamdet.devices.xspress3.local import LocalXspress3

pytest.importorskip("IPython", reason="needs IPython")
pytest.importorskip("tiled.server", reason="needs the extra 'demo'")

PROFILE = Path(__file__).parents[2] / "profile_collection"

SESSION = """
overview()
RE(scan([eiger], motor, -1, 1, 3))
run = db[-1].primary.read()
live_image.close()
print("SHAPE", run["eiger"].shape, run["motor"].values.tolist(), run["eiger_frames_written"].values.tolist())
print("DRAWN", live_image.drawn > 0, (beamline.folder / "live_image.png").exists())
print("REPR", eiger)
RE(raster([xspress3], stage, 2, 3, 0.01))
live_map.close()
live_spectrum.close()
pictures = (beamline.folder / "live_map.png", beamline.folder / "live_spectrum.png")
print("DRAWN TOO", *(one.exists() for one in pictures), live_map.maps["Fe"].shape)
print("MAP", region_map(db[-1], "Fe").shape, db[-1]["positions"].read()["stage_x"].values.tolist())
"""


pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def session(tmp_path: Path, code: str, **variables: str) -> str:
    """What a session says that is given this code."""
    command = [sys.executable, "-m", "IPython", f"--profile-dir={PROFILE}", "--colors=NoColor", "-c", code]
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), **variables}
    environment.pop("DISPLAY", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "exception raised in the callback" not in said, said
    return said


def test_a_session_scans_and_reads_back(tmp_path: Path) -> None:
    said = session(tmp_path, SESSION, STREAMDET_FOLDER=str(tmp_path / "beamline"))
    assert "SHAPE (3, 1065, 1030) [-1.0, 0.0, 1.0] [1, 2, 3]" in said, said
    assert "DRAWN True True" in said, said
    assert "DRAWN TOO True True (2, 3)" in said, said
    assert "3 frames written" in said, said
    assert "MAP (2, 3) [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]" in said, said
    # The table of the scan, and what there is.
    assert "| eiger_total |" in said, said
    for name in ("eiger", "xspress3", "stage", "live_image", "burst_scan", "energy_scan", "tomography"):
        assert f"\n  {name} " in said, said


HARDWARE = """
name: X01
catalog: none
metadata: {{facility: here}}
required_metadata: [proposal]
detectors:
  xrf:
    type: xspress3
    face: async
    url: {url}
    channels: 2
    regions: {{iron: [6260, 6550]}}
devices:
  axis: {{class: ophyd.sim.SynAxis, labels: [motors]}}
"""
SESSION_WITH_HARDWARE = """
from bluesky.utils import RunEngineInterrupted
kept = []
RE.subscribe(lambda name, document: kept.append((name, document)))
try:
    RE(count([xrf]))
except Exception as refused:
    print("REFUSED", refused, kept)
RE(burst_scan([xrf], axis, 0, 1, num=2, frames=3, exposure=0.01), proposal="20260001")
names = [name for name, document in kept]
start = kept[0][1]
print("DONE", names.count("event"), start["beamline"], start["facility"], start["proposal"], "db" in globals())
print("KEYS", kept[1][1]["data_keys"]["xrf"]["shape"], "xrf-regions-iron" in kept[1][1]["data_keys"])
"""


def test_hardware_is_a_file(tmp_path: Path) -> None:
    """A service that runs for itself, as at a beamline; the session starts nothing, and its code is the same."""
    with LocalXspress3({"system": {"simulate": {"channels": 2}}}, tmp_path / "frames") as hardware:
        beamline = tmp_path / "x01.yaml"
        beamline.write_text(HARDWARE.format(url=hardware.url))
        said = session(tmp_path, SESSION_WITH_HARDWARE, STREAMDET_BEAMLINE=str(beamline))
    assert "REFUSED The run (count) was refused: 'proposal' is missing. Set it for all runs" in said, said
    assert "DONE 2 X01 here 20260001 False" in said, said
    assert "KEYS [3, 2, 4096] True" in said or "KEYS (3, 2, 4096) True" in said, said


def test_a_session_at_the_keyboard(tmp_path: Path) -> None:
    """Progress is seen, Ctrl-C pauses, what was aborted is in the catalog with its reason, and the next run works."""
    pexpect = pytest.importorskip("pexpect", reason="needs pexpect")
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), "TERM": "dumb"}
    environment.pop("DISPLAY", None)
    command = ["-m", "IPython", f"--profile-dir={PROFILE}", "--colors=NoColor", "--simple-prompt"]
    said = io.StringIO()
    with pexpect.spawn(
        sys.executable, command, env=environment, encoding="utf-8", timeout=90, dimensions=(50, 150)
    ) as terminal:
        terminal.logfile_read = said
        terminal.expect(r"In \[1\]:")
        terminal.sendline("RE(fly([eiger], 100_000, exposure=0.01))")
        terminal.expect(r"eiger.*frames/s")
        terminal.sendintr()
        terminal.expect(r"In \[2\]:")
        terminal.sendline("RE.abort(reason='enough')")
        terminal.expect(r"In \[3\]:")
        terminal.sendline("RE(count([eiger])); print('NOW', *(db[one].stop['exit_status'] for one in (-2, -1)))")
        terminal.expect("NOW abort success")
        terminal.sendline("exit()")
        terminal.expect(pexpect.EOF)
    assert terminal.exitstatus == 0, said.getvalue()
    assert "exception raised in the callback" not in said.getvalue()
