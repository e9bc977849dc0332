"""The scripts in `examples/` run as they are, and the progress of a writer in a notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bluesky_streamdet.streaming.files.inspect import inspect

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNNER = Path(__file__).with_name("notebook.py")
SCRIPTS = {
    "three_series_one_file": {"tomo/scan.h5": {"data_dark": 5, "data_white": 5, "data": 20}},
    "two_cameras": {"pair/camera1.h5": {None: 30}, "pair/camera2.h5": {None: 30}},
}
"""The files that each of them writes, and the frames in their datasets."""


def test_all_are_run() -> None:
    assert {one.stem for one in EXAMPLES.glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_writes_its_files(name: str, tmp_path: Path) -> None:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    for file, datasets in SCRIPTS[name].items():
        for dataset, frames in datasets.items():
            report = inspect(tmp_path / "data" / file, dataset)
            assert (report.complete, report.readable) == (True, frames), report.verdict


CELLS = (
    """
from pathlib import Path
from bluesky_streamdet import RemoteWriter
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import SimulatorSettings
simulator = SimulatorProcess(SimulatorSettings("pco", "tcp://127.0.0.1:0", shape=(64, 256)))
config = for_row("pco", simulator.address, Path.cwd() / "data")
config.rest.port, config.log_level = 0, "WARNING"
service = ServiceProcess(config)
service.start()
writer = RemoteWriter("scan.h5", n_frames=5, url=service.url, api_key=service.api_key)
""",
    """
writer.start()
with simulator.client() as camera:
    camera.arm(5, exposure=0.1)
    camera.trigger()
result = writer.wait(timeout=30)
""",
    "writer.close(); service.close(); simulator.close()",
)


def test_progress_in_a_notebook(tmp_path: Path) -> None:
    """In a real kernel: one line in the output of the cell, which ends at all frames, and no text besides."""
    pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    import nbformat

    notebook, result = tmp_path / "progress.ipynb", tmp_path / "result.ipynb"
    cells = [nbformat.v4.new_code_cell(one) for one in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [sys.executable, str(RUNNER), str(notebook), str(result)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    outputs = [output for cell in json.loads(result.read_text())["cells"] for output in cell.get("outputs", [])]
    shown = [one["data"] for one in outputs if one["output_type"] == "display_data"]
    assert ["".join(one["text/plain"]) for one in shown] == [
        "Writer: finished, #received:    5 (100.0%), #written:    5 (100.0%)"
    ]
    assert '<progress value="5" max="5">' in "".join(shown[0]["text/html"])
    assert [one for one in outputs if one.get("name") == "stderr"] == []
