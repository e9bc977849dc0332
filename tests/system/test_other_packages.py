"""A detector of another package: the one of the how-to page, built and installed as somebody else would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/add-a-detector.md"
Run = Callable[..., subprocess.CompletedProcess[str]]


def example(page: str, name: str) -> str:
    """The page's block of code that begins with the name of its file."""
    return next(block for block in re.findall(r"```\w+\n(.*?)```", page, re.DOTALL) if block.startswith(f"# {name}"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package of the page is installed."""
    page = PAGE.read_text(encoding="utf-8")
    project, site = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("site")
    for name in ("mylab_detectors.py", "pyproject.toml"):
        (project / name).write_text(example(page, name), encoding="utf-8")
    uv = Path(sys.executable).parent / "uv"
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation", "--no-cache",
         "--python", sys.executable, "--target", site, project],
        check=True, timeout=120,
    )  # fmt: skip
    return site


@pytest.fixture
def streamdet(site: Path) -> Run:
    """The command line in an environment that has the package too."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bluesky_streamdet.cli.main", *arguments]
        environ = os.environ | {"PYTHONPATH": str(site)}
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)

    return run


def test_it_is_listed(streamdet: Run) -> None:
    listed = streamdet("detectors").stdout

    assert "Quantum Detectors Merlin, by mylab's streamer" in listed
    assert "eiger" in listed


def test_its_configuration_is_known(streamdet: Run, tmp_path: Path) -> None:
    file = tmp_path / "beamline.yaml"
    file.write_text("detectors: {m: {type: merlin, source: {endpoints: [tcp://a:9977]}}}")

    assert "m: merlin, from tcp://a:9977" in streamdet("config", "check", str(file)).stdout


def test_it_is_simulated_as_its_row_says(site: Path) -> None:
    command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "simulate", "merlin", "--frames", "1", "--port", "0"]
    environ = os.environ | {"PYTHONPATH": str(site)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert said.startswith("merlin (stins) sends on tcp://")
    assert "512x512 uint16, compression none" in said


def test_one_that_can_not_be_loaded_keeps_no_other_from_working(streamdet: Run, site: Path) -> None:
    broken = site / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[bluesky_streamdet.detectors]\ntoaster = nowhere:to_be_found\n")

    listed = streamdet("detectors")
    assert listed.returncode == 0
    assert "Merlin" in listed.stdout
    assert "The detector 'toaster' of broken can't be loaded: ModuleNotFoundError" in listed.stderr
    refused = streamdet("serve", "toaster")
    assert refused.returncode == 2
    assert "uninstall that package" in refused.stderr
