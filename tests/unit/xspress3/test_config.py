"""The configuration of a service that owns an Xspress3."""

from __future__ import annotations

from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.config import load
from bluesky_streamdet.xspress3.config import Xspress3Config, Xspress3Plane, for_system

FILE = """
detectors:
  camera:
    type: stins
    source: {endpoints: [tcp://10.0.0.6:9999]}
  fluorescence:
    system:
      cards: 2
      simulate: {generation: X4, channels: 8, cards: 2, rate: 5000}
    files: {directory: here}
"""


def loaded(tmp_path: Path, text: str = FILE, **environ: str) -> Xspress3Config:
    path = tmp_path / "beamline.yaml"
    path.write_text(text)
    return load(path, "fluorescence", environ, Xspress3Config)


def test_a_file_with_other_detectors(tmp_path: Path) -> None:
    config = loaded(tmp_path)

    assert (config.detector, config.kind, config.system.cards) == ("fluorescence", "Xspress3", 2)
    assert config.origin == "a simulated X4 of 8 channels"
    assert config.files.directory == Path.cwd() / "here"


def test_three_ports_by_default() -> None:
    config = for_system({}, environ={})

    assert [(one.name, one.kind, one.overflow) for one in config.outputs] == [
        ("data", "push", "wait"),
        ("public", "pub", "drop-newest"),
    ]
    addresses = [config.monitor, *(one.address for one in config.outputs)]
    assert addresses == [f"tcp://127.0.0.1:{port}" for port in (9998, 9999, 9997)]
    assert config.usual_output == "xspress3"


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, STREAMDET_SYSTEM__EV_PER_BIN="5.0", STREAMDET_RECENT_FRAMES="7")

    assert (config.system.ev_per_bin, config.recent_frames) == (5.0, 7)


def test_as_many_cards_are_simulated_as_there_are() -> None:
    config = for_system({"system": {"cards": 2, "simulate": {"channels": 4}}}, environ={})
    assert config.system.simulate is not None
    assert config.system.simulate.cards == 2
    other = for_system({"system": {"cards": 2, "simulate": {"channels": 4, "cards": 1}}}, environ={})
    assert other.system.simulate is not None
    assert other.system.simulate.cards == 1, "to see what happens when a card is missing"
    with pytest.raises(ConfigError, match="3 channels cannot be spread evenly over 2 cards"):
        for_system({"system": {"cards": 2, "simulate": {"channels": 3}}}, environ={})


def test_the_data_plane_gets_its_part(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    config.start = {"frames": 3}
    part = config.data_plane()

    assert type(part) is Xspress3Plane
    assert (part.system, part.start) == (config.system, {"frames": 3})
    assert config.data_plane(again=True) == part.model_copy(update={"start": None})
    assert Xspress3Plane.model_validate_json(part.model_dump_json()) == part


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("cards: 2\n", "crads: 2\n", "did you mean cards?"),
        ("X4", "X9", "generation is 'X9'; allowed: 'X3', 'X3V7', 'Mini' or 'X4'"),
        ("channels: 8", "channels: 7", "7 channels cannot be spread evenly over 2 cards"),
        ("cards: 2\n", "cards: 99\n", "cards is 99"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, before: str, after: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, FILE.replace(before, after))

    assert says in str(caught.value)
    assert "beamline.yaml" in str(caught.value)
