"""The notebooks run from a clean kernel, and show their plots."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient", reason="needs nbclient")
pytest.importorskip("ipykernel", reason="needs ipykernel")
pytest.importorskip("matplotlib", reason="needs the extra 'plots'")
pytest.importorskip("tiled.server", reason="needs the extra 'demo'")

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNNER = Path(__file__).with_name("notebook.py")
PICTURES = {"diffraction-series": 3, "lost-frames": 2, "xrf-map": 3}
PNG = b"\x89PNG\r\n\x1a\n"


def cells_of(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_all_are_run() -> None:
    assert {one.stem for one in EXAMPLES.glob("*.ipynb")} == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_kept_without_outputs(name: str) -> None:
    for cell in cells_of(EXAMPLES / f"{name}.ipynb"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None), "clear all outputs before you commit it"


LIVE = """
%matplotlib inline
from pathlib import Path
from bluesky import RunEngine
from bluesky.plans import count
from bluesky_streamdet.callbacks.image import LiveImage
from tests.scripted import ScriptedService, detector
RE = RunEngine()
det = detector("classic", ScriptedService(Path.cwd() / "frames"))
"""
MEASURED = """
with LiveImage() as live:
    RE(count([det], 3, delay=0.1), live)
print(live)
"""


@pytest.mark.system
@pytest.mark.timeout(120)
def test_a_live_plot_in_a_notebook(tmp_path: Path) -> None:
    """In a real kernel: one image in the output of each cell that measures, whatever came before in its place."""
    import nbformat

    cells = [nbformat.v4.new_code_cell(one) for one in (LIVE, MEASURED, MEASURED)]
    notebook, result = tmp_path / "live.ipynb", tmp_path / "result.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), "PYTHONPATH": str(EXAMPLES.parent)}
    environment.pop("MPLBACKEND")
    command = [sys.executable, str(RUNNER), str(notebook), str(result)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for cell in cells_of(result)[2:]:
        (picture,) = [one["data"]["image/png"] for one in cell["outputs"] if "image/png" in one.get("data", {})]
        assert base64.b64decode(picture).startswith(PNG)
        assert "<LiveImage in the notebook: " in str(cell["outputs"])


@pytest.mark.system
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PICTURES)
def test_it_runs_and_shows_its_plots(name: str, tmp_path: Path) -> None:
    result, scratch = tmp_path / f"{name}.ipynb", tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), "TMPDIR": str(scratch)}
    environment.pop("MPLBACKEND")
    command = [sys.executable, str(RUNNER), str(EXAMPLES / f"{name}.ipynb"), str(result)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=230, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = [output for cell in cells_of(result) for output in cell["outputs"]]
    said = [one for one in outputs if one.get("name") == "stderr"]
    assert said == []
    pictures = [base64.b64decode(one["data"]["image/png"]) for one in outputs if "image/png" in one.get("data", {})]
    assert len(pictures) == PICTURES[name]
    assert all(one.startswith(PNG) for one in pictures)
    assert list(scratch.iterdir()) == [], "something is left over"
