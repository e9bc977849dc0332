"""A chain in a configuration file: what is wrong is named with its line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bluesky_streamdet.catalog import DETECTORS, DetectorRow
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.config import DetectorConfig, load

HEAD = """detectors:
  camera:
    type: stins
    source: {endpoints: [tcp://10.0.0.5:9999]}
"""


def loaded(tmp_path: Path, text: str, **environ: str) -> DetectorConfig:
    (tmp_path / "streamdet.yaml").write_text(HEAD + text)
    return load(tmp_path / "streamdet.yaml", None, environ)


def test_nothing_is_done_by_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, "")
    assert (config.transforms, config.compress, config.workers) == ([], None, 2)


def test_the_data_plane_gets_the_chain(tmp_path: Path) -> None:
    text = "    transforms: [{rotate: {quarter_turns: -1}}, mask]\n    compress: none\n    workers: 3\n"
    part = loaded(tmp_path, text).data_plane()
    again = type(part).model_validate_json(part.model_dump_json())
    assert again.transforms == [{"rotate": {"quarter_turns": -1}}, {"mask": {}}]
    assert (again.compress, again.workers) == ("none", 3)


def test_nan_reaches_the_data_plane(tmp_path: Path) -> None:
    part = loaded(tmp_path, "    transforms: [{mask: {value: .nan}}]\n").data_plane()
    (step,) = type(part).model_validate_json(part.model_dump_json()).transforms
    assert math.isnan(step["mask"]["value"])


def test_a_row_may_say_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        DETECTORS._rows, "stins", DetectorRow("for a test", "stins", 9999, transforms=("place_modules",))
    )
    assert loaded(tmp_path, "").transforms == [{"place_modules": {}}]
    assert loaded(tmp_path, "    transforms: []\n").transforms == []


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, "    workers: 3\n", STREAMDET_WORKERS="5", STREAMDET_TRANSFORMS="[rotate]")
    assert (config.workers, config.transforms) == (5, [{"rotate": {}}])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "    transforms: [turn]",
            "line 5: detectors.camera.transforms.0 is 'turn': there is no transform 'turn'; all",
        ),
        (
            "    transforms:\n      - mask\n      - rotate:\n          quarter_turns: right",
            "line 8: detectors.camera.transforms.1.rotate.quarter_turns is 'right': should be a valid integer",
        ),
        (
            "    transforms:\n      - rotate:\n          turns: 1",
            "line 7: detectors.camera.transforms.0.rotate.turns is 1: no setting of rotate; allowed: quarter_turns",
        ),
        ("    transforms: rotate", "is 'rotate'; it should be a list, such as [rotate]"),
        ("    compress: gzip", "line 5: detectors.camera.compress is 'gzip'; allowed: 'bslz4' or 'none'"),
        ("    workers: 0", "line 5: detectors.camera.workers is 0; it should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text + "\n")
    assert said in str(caught.value)
