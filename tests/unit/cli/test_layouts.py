"""`streamdet config layouts`, `config check` of own layouts, and `inspect` of files by any layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bluesky_streamdet.cli.main import app
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.layouts import Layouts
from tests.unit.streaming.files.laid_out import LEAST, SHIPPED, opened, report, shipped, write
from tests.unit.streaming.frames import frame

CONFIG = """
detectors:
  camera:
    type: pco
    source: {{endpoints: ["tcp://127.0.0.1:1"]}}
    files: {{directory: {0}, layout: {1}, layouts: {{mine: {0}/mine.yaml}}}}
"""


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if isinstance(result.exception, ConfigError):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(LEAST)
    path = tmp_path / "detectors.yaml"
    path.write_text(CONFIG.format(tmp_path, "mine"))
    return path


def test_layouts_are_listed(config: Path) -> None:
    code, said = run("config", "layouts", "--config", config)
    assert code == 0
    assert [line.partition(":")[0] for line in said.splitlines()] == [*SHIPPED, "mine"]
    assert "mine: of a test" in said


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_printed_is_a_layout(tmp_path: Path, name: str) -> None:
    _, said = run("config", "layouts", name)
    own = tmp_path / "own.yaml"
    own.write_text(said)
    assert Layouts("own", {"own": own}).chosen(None).layout == shipped(name).layout


def test_an_own_layout_is_printed(config: Path) -> None:
    assert run("config", "layouts", "mine", "--config", config)[1].strip() == LEAST.strip()
    with pytest.raises(ConfigError, match=r"no layout 'mine'\. There are: areadetector, exchange, maxiv, nexus\."):
        run("config", "layouts", "mine")


def test_the_layouts_of_a_configuration_are_checked(config: Path, tmp_path: Path) -> None:
    assert run("config", "check", config)[0] == 0
    (tmp_path / "mine.yaml").write_text(LEAST + "header:\n  a: {path: x}\n")
    with pytest.raises(
        ConfigError, match=r"detectors\.yaml, line \d+: .*files\.layouts.*mine\.yaml, line 7: header\.a"
    ):
        run("config", "check", config)
    (tmp_path / "mine.yaml").write_text(LEAST)
    config.write_text(CONFIG.format(tmp_path, "mein"))
    with pytest.raises(ConfigError, match=r"There is no layout 'mein'\. There are: .*, mine\.$"):
        run("config", "check", config)


def test_inspect_shows_each_dataset(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    write(path, shipped("exchange"), [frame(0), frame(1)], "s0")
    write(path, shipped("exchange"), [frame(2)], "s1", add=True, dataset="data_white")

    code, said = run("inspect", path)
    assert code == 0
    assert '["/exchange/data"]' in said and '["/exchange/data_white"]' in said
    assert "exchange, dataset data_white" in said
    one = json.loads(run("inspect", path, "--json", "--dataset", "data")[1])
    assert (one["series"], one["readable"], one["datasets"]) == ("s0", 2, ["data", "data_white"])
    assert json.loads(run("inspect", path, "--json")[1])["series"] == "s1"


def test_inspect_tells_of_the_one_that_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    write(path, shipped("nexus"), [frame(0)], "s0")
    file = opened(path, shipped("nexus"), "s1", add=True, dataset="dark")
    file.close(report("s1", 0).model_copy(update={"outcome": Outcome.INCOMPLETE}), {})
    write(path, shipped("nexus"), [frame(0)], "s2", add=True, dataset="white")
    assert run("inspect", path)[0] == 1
    assert run("inspect", path, "--dataset", "white")[0] == 0
