"""The YAML file of a beamline: what it may say, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bluesky_streamdet.beamline.settings import BeamlineConfig, find, read
from bluesky_streamdet.core.errors import ConfigError

PROFILE = Path(__file__).parents[3] / "profile_collection"
DETECTOR = "detectors:\n  eiger:\n    type: stream\n"


def config(tmp_path: Path, text: str) -> BeamlineConfig:
    file = tmp_path / "beamline.yaml"
    file.write_text(text)
    return read(file, {})


def test_the_profile_s_own() -> None:
    own = read(PROFILE / "beamline.yaml", {})
    assert {name: one.simulate is not None for name, one in own.detectors.items()} == {"eiger": True, "xspress3": True}
    assert own.devices["stage"].triggers == "xspress3"


def test_keywords_of_a_device(tmp_path: Path) -> None:
    text = DETECTOR + "    url: http://daq:8010\n    frames_per_event: 3\n"
    assert config(tmp_path, text).detectors["eiger"].others == {"frames_per_event": 3}


def test_an_empty_file(tmp_path: Path) -> None:
    assert config(tmp_path, "") == BeamlineConfig()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("detector: {}", r"line 1: there is no setting detector; did you mean detectors\?"),
        (DETECTOR, "line 2.*it needs either url, of its service, or simulate"),
        (DETECTOR + "    url: a\n    simulate: {}\n", "it needs either url"),
        (DETECTOR + "    simulate: {}\n    driver: a\n", "a simulated detector has a driver of its own"),
        ("detectors: {a: {type: camera, url: b}}", "allowed: 'stream', 'xspress3' or 'eiger'"),
        ("devices: {a-b: {class: ophyd.sim.SynAxis}}", "a-b can be no name in Python"),
        ("devices: {a: {class: SynAxis}}", "SynAxis"),
        ("devices: {a: {class: b.C, triggers: x}}", "a triggers x, which is no simulated detector"),
        ("devices: {a: {class: b.C}}\nplots: {a: {class: b.C}}", "a stands there twice"),
        ("record: {energy: mono}\ndevices: {a: {class: b.C}}", "record names mono, which is no device"),
        ("catalog: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(tmp_path, text)


def test_which_file(tmp_path: Path) -> None:
    assert find(tmp_path, {}) == tmp_path / "beamline.yaml"
    assert find(tmp_path, {"STREAMDET_BEAMLINE": "/x/y.yaml"}) == Path("/x/y.yaml")


def test_the_folder_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("folder: /elsewhere")
    assert read(tmp_path / "b.yaml", {}).folder == Path("/elsewhere")
    assert read(tmp_path / "b.yaml", {"STREAMDET_FOLDER": "/here"}).folder == Path("/here")
