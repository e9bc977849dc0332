"""The live image: the newest frame, no hold-up, what is skipped, what is masked, and the file that is written."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from matplotlib.figure import Figure
from matplotlib.image import imread

from bluesky_streamdet.callbacks import image
from bluesky_streamdet.callbacks.frames import FrameRange
from bluesky_streamdet.callbacks.image import LiveImage, Picture, as_image, limits
from tests.scripted import SHAPE, ScriptedService, detector


@pytest.fixture
def live(tmp_path: Path) -> LiveImage:
    return LiveImage(tmp_path / "live.png")


def test_a_run_leaves_the_picture_of_its_last_frame(RE: RunEngine, tmp_path: Path, live: LiveImage) -> None:
    det = detector("classic", ScriptedService(tmp_path))
    RE(bp.count([det], 3), live)
    live.close()
    assert imread(tmp_path / "live.png").ndim == 3
    assert live.drawn + live.skipped == 3
    assert not list(tmp_path.glob("*.part"))


def test_frames_that_come_while_it_draws_are_skipped(
    RE: RunEngine, tmp_path: Path, live: LiveImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, ran = threading.Event(), threading.Event()
    titles: list[str] = []

    def save(picture: Picture, path: Path) -> None:
        titles.append(picture.title)
        drawing.set()
        assert ran.wait(5)

    monkeypatch.setattr(Picture, "save", save)
    det = detector("classic", ScriptedService(tmp_path))
    first = []

    def wait_until_it_draws(name: str, document: Any) -> None:
        if name == "event" and not first:
            first.append(document)
            assert drawing.wait(5)

    RE(bp.count([det], 5), [live, wait_until_it_draws])
    ran.set()
    live.close()
    assert titles == ["det, event 1", "det, event 5, 3 skipped"]
    assert (live.drawn, live.skipped) == (2, 3)


def test_without_display_and_file_it_draws_nothing(RE: RunEngine, tmp_path: Path) -> None:
    live = LiveImage()
    RE(bp.count([detector("classic", ScriptedService(tmp_path))], 1), live)
    live.close()
    assert live.drawn == 1


def test_a_frame_that_is_not_there_is_left_out(
    live: LiveImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(image, "PATIENCE", 0.0)
    live.start({"uid": "run", "time": 0.0})
    live._offer(FrameRange("det", range(1, 2), tmp_path / "none.h5", "/entry/data/data", 0, 1))
    live.close()
    assert live.drawn == 0
    assert "none.h5 has no frame 0 yet" in caplog.text


@pytest.mark.allow_error_log
def test_a_picture_that_can_not_be_saved_stops_nothing(
    RE: RunEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveImage(tmp_path / "no such folder" / "live.png")
    RE(bp.count([detector("classic", ScriptedService(tmp_path))], 2), live)
    live.close()
    assert live.drawn == 0
    assert "is not shown" in caplog.text


def test_only_the_first_image_of_a_run(live: LiveImage, tmp_path: Path) -> None:
    for key, start in (("one", 0), ("two", 0), ("one", 1)):
        live._offer(FrameRange(key, range(start, start + 1), tmp_path, "d", start, start + 1))
    assert live._newest is not None
    assert (live._newest.key, live._newest.start, live._announced) == ("one", 1, 2)


def test_masked_and_saturated_pixels_are_told_apart() -> None:
    pixels = np.array([[0, 5], [200, 65535]], "<u2")
    picture = Picture(pixels, "title", saturation=100)
    assert picture.mask.tolist() == [[False, False], [False, True]]
    assert picture.saturated.tolist() == [[False, False], [True, False]]
    figure = Figure()
    picture.draw(figure)
    picture.draw(figure)
    axes = figure.axes[0]
    assert axes.get_title() == "title"
    assert len(axes.images) == 2
    assert len(figure.axes) == 2, "drawn again, it has one colour bar all the same"


@pytest.mark.parametrize("pixels", [np.zeros((3, 3), "<u2"), np.full((3, 3), 65535, "<u2"), np.full((3, 3), 7, "<u4")])
def test_pictures_of_nothing(pixels: np.ndarray, tmp_path: Path) -> None:
    Picture(pixels, "", None).save(tmp_path / "x.png")


def test_colours_run_between_percentiles_of_what_is_above_nothing() -> None:
    counts = np.concatenate([np.zeros(1000), np.arange(1, 1001), [1e9]])
    low, high = limits(counts)
    assert 1 <= low < 20
    assert 990 < high < 2000


@pytest.mark.parametrize(
    ("shape", "wanted"), [((1, *SHAPE), SHAPE), ((1, 3, *SHAPE), SHAPE), ((1, 16), (1, 16)), ((2, 8, 16), (8, 16))]
)
def test_the_last_frame_as_an_image(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    frames = np.arange(np.prod(shape)).reshape(shape)
    assert as_image(frames).shape == wanted
    assert as_image(frames).flat[-1] == frames.flat[-1]
