"""A transform of another package, which is the one of docs/how-to/transforms.md, found by its entry point."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_streamdet import catalog
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.config import load
from tests.unit.streaming.frames import pictures
from tests.wire.streams import Rig, Stream, rows_of

PAGE = Path(__file__).parents[2] / "docs/how-to/transforms.md"


def block(language: str) -> str:
    """The last code of that language in the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)[-1]


def installed(folder: Path, name: str, entry_points: dict[str, str], **modules: str) -> None:
    """What an installer makes of a package."""
    (folder / name).mkdir(parents=True)
    for module, code in {"__init__": "", **modules}.items():
        (folder / name / f"{module}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{one} = {value}" for one, value in entry_points.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{catalog.TRANSFORMS.group}]", *lines, ""]))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the page, and one that is broken."""
    folder = tmp_path / "site-packages"
    project = tomllib.loads(block("toml"))["project"]
    entry_points = project["entry-points"][catalog.TRANSFORMS.group]
    installed(folder, project["name"], entry_points, transforms=block("python"))
    broken = {"torn": "tornlab:torn", "away": "tornlab.away:away", "number": "tornlab.number:NUMBER"}
    installed(folder, "tornlab", broken, number="NUMBER = 7\n")
    monkeypatch.syspath_prepend(folder)
    return folder


def test_the_page_holds_what_it_promises(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "streamdet.yaml").write_text(block("yaml"))
    config = load(tmp_path / "streamdet.yaml", "camera", {})
    assert config.transforms == [{"gain": {"factor": 0.5}}]
    assert config.data_plane().transforms == config.transforms
    assert catalog.TRANSFORMS["gain"].description.startswith("Photons of what was counted")


def test_its_frames_are_changed(packages: Path, tmp_path: Path, rigs: Callable[..., Rig]) -> None:
    per_pixel = np.random.default_rng(1).random((4, 6))
    np.save(tmp_path / "gain.npy", per_pixel)
    rig = rigs(transforms=[{"gain": {"factor": 0.5, "per_pixel": str(tmp_path / "gain.npy")}}])
    report = rig.run(Stream().whole(range(5)))

    wanted = pictures(range(5)).astype(np.float32) * 0.5 * per_pixel.astype(np.float32)
    np.testing.assert_array_equal(rows_of(report), wanted)
    assert report.data is not None
    assert np.dtype(report.data.dtype) == np.float32


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torn", "The transform 'torn' of tornlab can't be loaded: AttributeError"),
        ("away", "The transform 'away' of tornlab can't be loaded: ModuleNotFoundError"),
        ("number", "The transform 'number' of tornlab is no TransformRow, but a int. Mend tornlab.number:NUMBER"),
    ],
)
def test_a_broken_package_is_named_and_hinders_nobody(packages: Path, tmp_path: Path, name: str, said: str) -> None:
    text = block("yaml").replace("gain: {factor: 0.5}", f"{name}: {{}}")
    (tmp_path / "streamdet.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "streamdet.yaml", "camera", {})
    assert f"{tmp_path}/streamdet.yaml, line 6" in str(caught.value)
    assert said in str(caught.value)
    assert catalog.TRANSFORMS["gain"].function.__module__ == "mybeamline.transforms"


def test_a_row_says_that_it_moves_pixels(packages: Path, rigs: Callable[..., Rig]) -> None:
    code = """
from bluesky_streamdet.catalog import TransformRow

flip_row = TransformRow(lambda image: image[::-1], "upside down", geometric=True)
"""
    installed(packages, "flipper", {"flip": "flipper.rows:flip_row"}, rows=code)
    rig, stream = rigs(codec="dectris_v1", transforms=["flip"]), Stream("dectris_v1")
    mask = pictures([1], dtype="<u4")[0]
    tables = {"pixel_mask": mask, "flatfield": mask.astype("<f4"), "countrate_correction_table": np.ones((2, 5), "<f4")}
    report = rig.run([stream.start(metadata=tables), stream.frame(0), stream.end()])

    np.testing.assert_array_equal(rows_of(report), pictures([0])[:, ::-1])
    with h5py.File(str(report.file)) as file:
        np.testing.assert_array_equal(file["/entry/instrument/eiger/pixel_mask"], mask[::-1])


def test_all_names_are_listed(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "streamdet.yaml").write_text(block("yaml").replace("gain:", "gian:"))
    with pytest.raises(ConfigError, match=r"no transform 'gian'; allowed: tot, .*downsample, away, gain, number, torn"):
        load(tmp_path / "streamdet.yaml", "camera", {})
