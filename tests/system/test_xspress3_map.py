"""The picture of the documentation is made by a script, which works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="needs the extra 'plots'")
pytest.importorskip("tiled.server", reason="needs the extra 'demo'")

SCRIPT = Path(__file__).parents[2] / "docs" / "images" / "xspress3_map.py"


@pytest.mark.system
@pytest.mark.timeout(120)
def test_it_makes_a_picture(tmp_path: Path) -> None:
    target = tmp_path / "map.png"
    command = [sys.executable, str(SCRIPT), str(target), "3", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().startswith(b"\x89PNG")
