from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.geometry import between, described, said
from bluesky_streamdet.transforms.modules import place_modules

EIGER = {"x_pixel_size": 75e-6, "y_pixel_size": 75e-6, "beam_center_x": 3.0, "beam_center_y": 1.0,
         "distance": 0.1, "wavelength": 1.0, "saturation_value": 1000}  # fmt: skip


def test_a_header_says_it_all() -> None:
    detector = described(EIGER, (4, 6))
    assert (detector.shape, detector.beam, detector.pixel, detector.distance) == ((4, 6), (3.0, 1.0), 75e-6, 0.1)
    assert detector.photon_energy == pytest.approx(12398.42)
    assert detector.wavelength == pytest.approx(1.0)
    assert detector.saturation == 1000
    assert detector.distances()[1, 3] == 0
    assert detector.distances()[1, 5] == 2
    assert detector.distances()[3, 3] == 2


def test_what_somebody_gives_counts_before_the_header() -> None:
    detector = described(EIGER, (4, 6), pixel=1e-4, beam=(0, 0), distance=0.2, photon_energy=8000)
    assert (detector.pixel, detector.beam, detector.distance, detector.photon_energy) == (1e-4, (0, 0), 0.2, 8000)


def test_the_beam_is_in_the_middle_when_nobody_says_where() -> None:
    assert described({}, (5, 7), pixel=1e-4).distances()[2, 3] == 0


def test_gaps_part_a_picture_into_panels() -> None:
    gaps = np.zeros((10, 9), np.bool_)
    gaps[4:6] = gaps[:, 3] = True
    gaps[0, 0] = True  # a bad pixel is no gap
    panels = between(gaps)
    assert [(panel.name, panel.left, panel.top, panel.columns, panel.rows) for panel in panels] == [
        ("p0", 0, 0, 3, 4), ("p1", 4, 0, 5, 4), ("p2", 0, 6, 3, 4), ("p3", 4, 6, 5, 4)]  # fmt: skip
    numbers = described(EIGER, (10, 9), gaps=gaps).panel_numbers()
    assert np.array_equal(numbers < 0, gaps & (np.indices(gaps.shape).sum(axis=0) > 0))


@pytest.mark.parametrize("turns", [(0, 0), (90, 270), (180, 90), (-90, 360)])
def test_modules_lie_where_the_picture_of_them_has_them(turns: tuple[int, int]) -> None:
    """A pixel's distance from the beam is that of the same pixel in the assembled picture."""
    places = {"x": [1, 9], "y": [7, 2], "rotation": list(turns), "full_shape": (16, 18)}
    picture = np.full((16, 18), -1.0)
    stack = np.arange(2 * 3 * 5, dtype="<f8").reshape(2, 3, 5)
    picture = place_modules(stack, x=places["x"], y=places["y"], rotation=places["rotation"], full_shape=(16, 18))
    detector = described(places, stack.shape, pixel=1e-4, beam=(4.0, 6.0))
    distances = detector.distances()
    assert detector.shape == (6, 5)
    for row, column in np.argwhere(np.isfinite(picture)):
        where = np.argwhere(stack.reshape(6, 5) == picture[row, column])[0]
        assert distances[tuple(where)] == pytest.approx(np.hypot(row - 6, column - 4), rel=1e-6)
    whole = described(places, stack.shape, pixel=1e-4)
    assert whole.beam == (8.5, 7.5)


@pytest.mark.parametrize(
    ("header", "shape", "options", "said"),
    [
        ({}, (4, 6), {}, "no size of pixels"),
        ({"x_pixel_size": 1e-4, "y_pixel_size": 2e-4}, (4, 6), {}, "not square"),
        (EIGER, (4, 6), {"distance": float("inf")}, "distance of a detector can't be inf"),
        (EIGER, (4, 6), {"beam": (float("nan"), 0)}, "The beam can't meet"),
        (EIGER, (4,), {}, "no picture"),
        (EIGER, (2, 4, 6), {}, "Of 2 modules, the header says the places of 0"),
        (EIGER | {"x": [0, 0], "y": [0, 9], "rotation": [0, 45]}, (2, 4, 6), {}, "Module 1 can't lie"),
        (EIGER, (4, 6), {"gaps": np.ones((4, 6), np.bool_)}, "0 x 0 panels"),
    ],
)
def test_what_does_not_fit_is_refused(header: Any, shape: Any, options: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        described(header, shape, **options)


def test_strange_headers_say_nothing() -> None:
    strange = {
        "distance": "far",
        "photon_energy": -1,
        "beam_center_x": float("nan"),
        "beam_center_y": [],
        "wavelength": 0,
    }
    detector = described(strange, (4, 6), pixel=1e-4)
    assert (detector.distance, detector.photon_energy, detector.beam) == (None, None, (2.5, 1.5))
    assert said({"distance": np.float32(0.5), "x": np.array([1, 2]), "other": 3}) == {"distance": 0.5, "x": [1, 2]}
