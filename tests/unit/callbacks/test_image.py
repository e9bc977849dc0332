"""The live image: colours, what is masked and saturated, regions and their curves, rings, and the file."""

from __future__ import annotations

import math
from pathlib import Path

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Circle

from bluesky_streamdet.callbacks.image import Box, ImagePicture, LiveImage, Style, as_image, limits
from bluesky_streamdet.callbacks.rings import Rings
from bluesky_streamdet.callbacks.surfaces import png_of
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.geometry import described
from bluesky_streamdet.transforms.peaks import PeakFinder
from tests.scripted import SHAPE, ScriptedService, detector
from tests.unit.callbacks.shown import Kept

RINGS = Rings(distance=0.1, wavelength=1.0, pixel=1e-4, beam=(500.0, 500.0))


def test_a_run_leaves_the_picture_of_its_last_frame(RE: RunEngine, tmp_path: Path) -> None:
    live = LiveImage(tmp_path / "live.png")
    RE(bp.count([detector("classic", ScriptedService(tmp_path))], 3), live)
    live.close()
    assert imread(tmp_path / "live.png").ndim == 3
    assert live.drawn + live.skipped == 3
    assert not list(tmp_path.glob("*.part"))


def test_without_display_and_file_it_draws_nothing(RE: RunEngine, tmp_path: Path) -> None:
    live = LiveImage()
    RE(bp.count([detector("classic", ScriptedService(tmp_path))], 1), live)
    live.close()
    assert live.drawn == 1


@pytest.mark.allow_error_log
def test_a_picture_that_can_not_be_saved_stops_nothing(
    RE: RunEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveImage(tmp_path / "no such folder" / "live.png")
    RE(bp.count([detector("classic", ScriptedService(tmp_path))], 2), live)
    live.close()
    assert live.drawn == 0
    assert "can't draw what came" in caplog.text


def test_counts_of_regions_as_curves(RE: RunEngine, tmp_path: Path) -> None:
    shown = Kept()
    live = LiveImage(show=shown, rois={"all": (0, 4, 0, 6), "one": (1, 2, 1, 2)})
    det = detector("classic", ScriptedService(tmp_path))

    def each(name: str, document: object) -> None:
        if name == "event":
            shown.wait(len(shown.pictures) or 1)

    RE(bp.count([det], 3), [live, each])
    live.close()
    events, counts = shown.pictures[-1].curves["all"]
    assert events[-1] == 3
    assert counts == [24.0 * (event - 1) for event in events]
    assert shown.pictures[-1].curves["one"][1] == [event - 1.0 for event in events]
    RE(bp.count([det], 1), live)
    live.close()
    assert shown.pictures[-1].curves["one"] == ([1], [3.0]), "a run has curves of its own"


def test_masked_and_saturated_pixels_are_told_apart() -> None:
    pixels = np.array([[0, 5], [200, 65535]], "<u2")
    picture = ImagePicture(pixels, "title", Style(saturation=100))
    assert picture.mask.tolist() == [[False, False], [False, True]]
    assert picture.saturated.tolist() == [[False, False], [True, False]]
    figure = Figure()
    picture.draw(figure)
    picture.draw(figure)
    axes = figure.axes[0]
    assert axes.get_title() == "title, 1 pixels saturated (red)"
    assert len(axes.images) == 2
    assert len(figure.axes) == 2, "drawn again, it has one colour bar all the same"


def test_a_mask_of_the_user(RE: RunEngine, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[0] = True
    np.save(tmp_path / "mask.npy", mask)
    shown = Kept()
    live = LiveImage(show=shown, mask=tmp_path / "mask.npy", rois={"all": (0, 4, 0, 6)})
    RE(bp.count([detector("classic", ScriptedService(tmp_path))], 2), live)
    live.close()
    assert shown.pictures[-1].mask.sum() == 6
    assert shown.pictures[-1].curves["all"][1][-1] == 18.0, "what is masked is not counted"
    with pytest.raises(ConfigError, match="has shape"):
        _ = ImagePicture(np.zeros((2, 2)), "", own_mask=mask).mask


@pytest.mark.parametrize("pixels", [np.zeros((3, 3), "<u2"), np.full((3, 3), 65535, "<u2"), np.full((3, 3), 7, "<u4")])
@pytest.mark.parametrize("log", [True, False])
def test_pictures_of_nothing(pixels: np.ndarray, log: bool) -> None:
    assert png_of(ImagePicture(pixels, "", Style(log=log))).startswith(b"\x89PNG")


def test_colours_run_between_percentiles() -> None:
    counts = np.concatenate([np.zeros(1000), np.arange(1, 1001), [1e9]])
    low, high = limits(counts)
    assert 1 <= low < 20
    assert 990 < high < 2000
    assert limits(counts, (0, 25), log=False) == (0.0, pytest.approx(0.0, abs=1e-9))
    assert limits(counts, (40, 60)) == (pytest.approx(401, abs=1), pytest.approx(802, abs=2))


@pytest.mark.parametrize("roi", [(0, 0, 1, 2), (-1, 2, 0, 2), (3, 2, 0, 2)])
def test_impossible_regions(roi: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="Region spot of an image"):
        LiveImage(rois={"spot": roi})


def test_rings_are_where_photons_arrive() -> None:
    # Two theta of 45 degrees: as far from the beam as the detector is.
    assert RINGS.radius(1.0 / (2 * math.sin(math.radians(22.5)))) == pytest.approx(1000)
    assert RINGS.radius(0.5) is None
    with pytest.raises(ConfigError, match="have to be more than 0"):
        Rings(0.0, 1.0, 1e-4, (0, 0))


def test_rings_are_drawn_with_their_names() -> None:
    found = RINGS.on((1000, 1000))
    assert 2 <= len(found) <= 5
    assert all(0 < radius < 500 * math.sqrt(2) for _, radius in found)
    chosen = Rings(0.1, 1.0, 1e-4, (500.0, 500.0), spacings=(3.0, 2.5, 0.1)).on((1000, 1000))
    assert [spacing for spacing, _ in chosen] == [2.5, 3.0]
    figure = Figure()
    rois = {"spot": Box(10, 20, 30, 40)}
    ImagePicture(np.ones((1000, 1000)), "", Style(rings=RINGS), rois=rois).draw(figure)
    words = {text.get_text() for text in figure.axes[0].texts}
    assert "spot" in words
    assert len(words) == len(found) + 1
    assert figure.axes[0].get_xlim() == (-0.5, 999.5), "rings do not change what is seen"


@pytest.mark.parametrize(
    ("shape", "wanted"), [((1, *SHAPE), SHAPE), ((1, 3, *SHAPE), SHAPE), ((1, 16), (1, 16)), ((2, 8, 16), (8, 16))]
)
def test_the_last_frame_as_an_image(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    frames = np.arange(np.prod(shape)).reshape(shape)
    assert as_image(frames).shape == wanted
    assert as_image(frames).flat[-1] == frames.flat[-1]


def test_peaks_and_rings_of_one_geometry() -> None:
    image = np.random.default_rng(1).poisson(3.0, (100, 120))
    image[70:73, 30:33] += 300
    detector = described(
        {"distance": 0.1, "wavelength": 1.0, "beam_center_x": 50, "beam_center_y": 40}, (100, 120), pixel=1e-3
    )
    style = Style(rings=Rings.of(detector, [3.0]), finder=PeakFinder.of(detector))
    picture = ImagePicture(image, "series a, frame 7", style)
    figure = Figure()
    picture.draw(figure)
    axes = figure.axes[0]
    assert axes.get_title() == "series a, frame 7, 1 peaks"
    ((x, y),) = np.asarray(axes.lines[-1].get_xydata())
    assert (round(x), round(y)) == (31, 71)
    ring = next(one for one in axes.patches if isinstance(one, Circle))
    assert ring.center == (50, 40)
    with pytest.raises(ConfigError, match="not \\(5, 5\\)"):
        _ = ImagePicture(np.zeros((5, 5)), "", style).peaks
    with pytest.raises(ConfigError, match="need the detector's distance"):
        Rings.of(described({}, (5, 5), pixel=1e-3))
