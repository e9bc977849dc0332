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
