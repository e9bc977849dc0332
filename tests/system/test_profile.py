"""The IPython profile, opened as a user opens it: simulated, and with a file of hardware."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.devices.xspress3.local import LocalXspress3

pytest.importorskip("IPython", reason="needs IPython")
pytest.importorskip("tiled.server", reason="needs the extra 'demo'")

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "profile_collection"

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


SEEN = (
    r"eiger +StreamDetector, simulated.*live_map +LiveMap, in the file \S+live_map\.png.*burst_scan +Scan over",
    r"\| +5 \| .* \| +5 \| +\d{8}\.\d+ \|.*Out\[\d+\]: \('[0-9a-f-]{36}',\)",
    r"DataArray 'eiger' \(event: 5, y: 1065, x: 1030\).*dask\.array<.*time +\(event\) datetime64",
    r"New stream: 'positions'.*Plan raster",
    r"<LiveMap in the file (\S+live_map\.png): [1-9]\d* pictures of the last run, 0 frames skipped, 0 missed>",
    r"\(row: 20, column: 30\).*stage_x.*stage_y.*Fe +\(row, column\) float64.*Cu Ka +\(row, column\) float64",
    r"\| +3 \| .* \| +1\.000 \| +30 \|.*Plan burst_scan",
    r"\(event: 3\).*array\(\[\d\d\.\d+, \d\d\.\d+, \d\d\.\d+\]\).*motor +\(event\) float64 24B -1\.0 0\.0 1\.0",
    r"'complete'",
    r"Signature:.*snake: bool = False.*rows : int.*Points along the slow axis",
)
"""What each command of the README's tour shows, in their order."""


def test_the_tour_of_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Typed as it stands there, into what `make ipython` starts."""
    pexpect = pytest.importorskip("pexpect", reason="needs pexpect")
    if not (ROOT / ".venv" / "bin" / "ipython").exists():
        pytest.skip("needs the environment that make has made")
    part = (ROOT / "README.md").read_text().partition("## A session")[2].partition("\n## ")[0]
    commands = re.findall(r"^\| `(.+?)` \|", part, re.MULTILINE)
    assert "    make ipython" in part
    home = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython"), "STREAMDET_FOLDER": str(tmp_path / "data")}
    environment = os.environ | home | {"TERM": "dumb", "NO_COLOR": "1", "IPY_TEST_SIMPLE_PROMPT": "1"}
    environment.pop("DISPLAY", None)
    said = io.StringIO()
    # What is installed is not installed anew, whatever has changed since.
    make, keywords = ["-C", str(ROOT), "--old-file=.venv/dev", "ipython"], {"encoding": "utf-8", "timeout": 90}
    began = time.monotonic()
    with pexpect.spawn("make", make, env=environment, dimensions=(50, 250), **keywords) as terminal:
        terminal.logfile_read = said
        terminal.expect(r"In \[1\]:")
        prompt = time.monotonic() - began
        shown = [_typed(terminal, command, number) for number, command in enumerate(commands, start=2)]
        terminal.sendline("print('TAB', get_ipython().Completer.all_completions('burst_'), 'search' in dir(db))")
        terminal.expect(r"TAB \['burst_scan'\] True")
        terminal.sendline("exit()")
        terminal.expect(pexpect.EOF)
    assert terminal.wait() == 0 and "exception raised in the callback" not in said.getvalue(), said.getvalue()
    for command, text, wanted in zip(commands, shown, SEEN, strict=True):
        assert re.search(wanted, text, re.DOTALL), f"{command}\n{text}"
        assert "Traceback" not in text
    assert (tmp_path / "data" / "live_map.png").stat().st_size > 10_000
    with capsys.disabled():
        print(f"\nmake ipython: {prompt:.1f} s to the prompt")


def _typed(terminal: Any, command: str, number: int) -> str:
    """What a command shows, until the prompt is there again."""
    terminal.sendline(command)
    terminal.expect(rf"In \[{number}\]:")
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", terminal.before)  # without colours
