from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from bluesky_streamdet.core.geometry import described
from bluesky_streamdet.sim.diffraction import Crystal, Geometry, background, beam_stop, suitable_cell
from bluesky_streamdet.transforms.peaks import MOST_PEAKS, PeakFinder, Peaks, Search

SHAPE = (200, 220)
CENTRE = (110.0, 100.0)
NEAR = 0.5


def distances(shape: tuple[int, int], centre: tuple[float, float]) -> NDArray[Any]:
    return described({}, shape, pixel=75e-6, beam=centre).distances()


def spot(
    image: NDArray[Any], row: float, column: float, photons: float = 500.0, width: float = 1.2, reach: int = 6
) -> None:
    """Add a Gaussian to an image of expected photons."""
    rows = np.arange(round(row) - reach, round(row) + reach + 1)[:, None]
    columns = np.arange(round(column) - reach, round(column) + reach + 1)
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    profile = np.exp(-0.5 * ((rows - row) ** 2 + (columns - column) ** 2) / width**2) * photons
    np.add.at(image, (np.where(inside, rows, 0), np.where(inside, columns, 0)),
              np.where(inside, profile / (2 * np.pi * width**2), 0.0))  # fmt: skip


def picture(*places: tuple[float, float], level: float = 4.0, photons: float = 500.0, seed: int = 5) -> NDArray[Any]:
    expected = np.full(SHAPE, level)
    for row, column in places:
        spot(expected, row, column, photons)
    return np.random.default_rng(seed).poisson(expected).astype("<u2")


def finder(**search: Any) -> PeakFinder:
    return PeakFinder(distances(SHAPE, CENTRE), Search(**search))


def places(peaks: Peaks) -> list[tuple[float, float]]:
    """To the nearest two pixels, as (row, column)."""
    return sorted((2 * round(ss / 2), 2 * round(fs / 2)) for ss, fs in zip(peaks.ss, peaks.fs, strict=True))


@pytest.mark.parametrize("kind", ["<u1", "<u2", ">u2", "<i4", "<u4", "<f4", "<f8", "<i8"])
def test_a_spot_is_found_where_it_is_in_any_type(kind: str) -> None:
    peaks = finder().find(picture((50.3, 60.7), photons=1500).astype(kind))
    assert len(peaks) == 1
    assert (peaks.ss[0], peaks.fs[0]) == (pytest.approx(50.3, abs=0.2), pytest.approx(60.7, abs=0.2))
    assert 1200 < peaks.intensity[0] < 1500, "of those pixels that stand out"
    noise = peaks.intensity[0] / peaks.snr[0]
    assert 2 <= noise < 4, "of one pixel around it: the root of its counts, and what the spot's foot adds"
    assert 20 < peaks.pixels[0] < 50


def test_the_strongest_comes_first() -> None:
    expected = np.full(SHAPE, 4.0)
    for row, photons in ((40, 300.0), (90, 3000.0), (150, 1000.0)):
        spot(expected, row, 60, photons)
    peaks = finder().find(np.random.default_rng(2).poisson(expected))
    assert [round(row) for row in peaks.ss] == [90, 150, 40]


def test_the_background_may_fall_with_the_distance_from_the_beam() -> None:
    radius = distances(SHAPE, CENTRE)
    expected = 400.0 * np.exp(-((radius / 60.0) ** 2)) + 2.0
    spot(expected, 30.2, 40.6)
    spot(expected, 102.0, 190.0)
    image = np.random.default_rng(1).poisson(expected).astype("<u4")
    assert places(finder().find(image)) == [(30, 40), (102, 190)]
    wrong = PeakFinder(np.zeros(SHAPE), Search()).find(image)
    assert places(wrong) != [(30, 40), (102, 190)], "without the distances it would not be"


def test_a_threshold_leaves_out_what_is_below_it() -> None:
    image = picture((50, 60), photons=300)
    assert len(finder(threshold=20).find(image)) == 1
    assert len(finder(threshold=100).find(image)) == 0


def test_too_few_and_too_many_pixels_are_no_peak() -> None:
    image = picture((50, 60))
    image[120, 30] = 5000  # a hot pixel
    image[150:158, 106:114] = 300  # a smear
    assert places(finder(max_pixels=50).find(image)) == [(50, 60)]
    assert places(finder(min_pixels=1, max_pixels=50, threshold=30).find(image)) == [(50, 60), (120, 30)]
    assert places(finder(max_pixels=64).find(image)) == [(50, 60), (154, 110)]


def test_radii_bound_where_peaks_are_looked_for() -> None:
    image = picture((100, 120), (100, 160), (100, 200))
    assert places(finder(min_radius=30, max_radius=70).find(image)) == [(100, 160)]


def test_masked_pixels_are_neither_peak_nor_background() -> None:
    image = picture((50, 60), (120, 150))
    mask = np.zeros(SHAPE, np.bool_)
    mask[110:130, 140:160] = True
    mask[::7] = True
    image[::7] = 3000
    peaks = PeakFinder(distances(SHAPE, CENTRE), mask=mask).find(image)
    assert places(peaks) == [(50, 60)]


def test_gaps_and_bad_pixels_that_the_detector_marks_are_left_out() -> None:
    image = picture((50, 60), (120, 150))
    image[80:90] = 65535
    image[:, 108:112] = 65535
    image[50, 60] = 65535  # the counter of the middle pixel overflowed
    image[20, 20:23] = 65535
    assert places(finder().find(image)) == [(50, 60), (120, 150)]
    signed = np.where(image == 65535, -1, image.astype("<i4"))
    assert places(finder().find(signed)) == [(50, 60), (120, 150)]
    numbers = np.where(image == 65535, np.nan, image.astype("<f4"))
    numbers[3, 3:5], numbers[5, 5] = np.inf, -np.inf
    assert places(finder().find(numbers)) == [(50, 60), (120, 150)]


def test_a_saturated_spot_has_its_centre_all_the_same() -> None:
    image = np.minimum(picture((50.0, 60.0), photons=100_000), 1000)
    peaks = finder().find(image)
    assert (peaks.ss[0], peaks.fs[0]) == (pytest.approx(50, abs=0.1), pytest.approx(60, abs=0.1))


def test_spots_at_the_edges_are_found() -> None:
    peaks = finder().find(picture((0.0, 60.0), (100.0, 218.0), (199.0, 0.0)))
    assert places(peaks) == [(0, 60), (100, 218), (198, 0)]


def test_pixels_at_both_ends_of_neighbouring_rows_do_not_touch() -> None:
    image = picture()
    image[20, -1], image[21, 0] = 5000, 5000
    assert len(finder().find(image)) == 0
    image[20, -2], image[21, 1] = 5000, 5000
    assert places(finder().find(image)) == [(20, 0), (20, 218)]


def test_pixels_of_different_panels_do_not_touch() -> None:
    image = picture((99.5, 60.0))
    together = finder().find(image)
    panels = np.repeat(np.arange(2, dtype="u1"), 100)[:, None] * np.ones(SHAPE[1], "u1")
    apart = PeakFinder(distances(SHAPE, CENTRE), panels=panels).find(image)
    assert (len(together), len(apart)) == (1, 2)


def test_frames_without_anything_have_no_peaks() -> None:
    for image in (np.zeros(SHAPE, "<u2"), np.full(SHAPE, 65535, "<u2"), np.full(SHAPE, np.nan), np.full(SHAPE, 7)):
        assert len(finder().find(image)) == 0
    everything = np.ones(SHAPE, np.bool_)
    assert len(PeakFinder(distances(SHAPE, CENTRE), mask=everything).find(picture((50, 60)))) == 0


def test_single_photons_on_no_background_have_a_noise() -> None:
    image = np.zeros(SHAPE, "<u2")
    image[50, 60:63] = 4
    peaks = finder(threshold=2).find(image)
    assert places(peaks) == [(50, 60)]
    assert np.isfinite(peaks.snr).all()


def test_numbers_at_the_end_of_their_range_do_no_harm() -> None:
    image = np.full(SHAPE, 1e300)
    image[::3] = -1e300
    assert len(finder().find(image)) == 0
    assert len(finder(threshold=1e30).find(picture((50, 60)))) == 0
    assert len(finder(threshold=-1e30).find(picture((50, 60)))) == 1


def test_a_frame_of_nothing_but_peaks_is_bounded() -> None:
    image = np.zeros((600, 600), "<u2")
    image[::4, ::4] = image[1::4, ::4] = 50
    peaks = PeakFinder(distances(image.shape, (300, 300)), Search(threshold=10, min_snr=2)).find(image)
    assert len(peaks) == MOST_PEAKS


def test_other_shapes_and_types_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("numbers of shape (200, 220), not in uint16 of (3, 3)")):
        finder().find(np.zeros((3, 3), "<u2"))
    with pytest.raises(ValueError, match="not in complex128"):
        finder().find(np.zeros(SHAPE, complex))
    with pytest.raises(ValueError, match=re.escape("mask of shape (3, 3) do not fit distances of shape (200, 220)")):
        PeakFinder(distances(SHAPE, CENTRE), mask=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="are finite"):
        PeakFinder(np.full(SHAPE, np.nan))


@pytest.mark.parametrize(
    "wrong",
    [{"min_pixels": 0}, {"min_pixels": 9, "max_pixels": 8}, {"max_pixels": 10**9}, {"min_snr": 0.9},
     {"threshold": float("nan")}, {"background_radius": 0}, {"min_radius": 5.0, "max_radius": 4.0}],
)  # fmt: skip
def test_a_search_between_limits_without_anything_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no peak has|a search for peaks needs"):
        Search(**wrong)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from(["<u2", "<i4", "<f4", "|u1", "<f8"]),
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
    ),
    st.floats(1, 20),
    st.integers(1, 4),
)
def test_whatever_the_pixels_are_peaks_are_finite_and_in_the_picture(
    image: NDArray[Any], snr: float, pixels: int
) -> None:
    search = Search(min_snr=snr, min_pixels=pixels)
    peaks = PeakFinder(distances(image.shape, (3.0, 4.0)), search).find(image)
    assert all(np.isfinite(column).all() for column in peaks)
    assert ((peaks.fs > -0.5) & (peaks.fs < image.shape[1] - 0.5)).all()
    assert ((peaks.ss > -0.5) & (peaks.ss < image.shape[0] - 0.5)).all()
    assert (peaks.snr >= snr).all() and (peaks.pixels >= pixels).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9)), min_size=1, max_size=40, unique=True), st.integers(0, 9)
)
def test_each_of_many_spots_is_found_once(grid: list[tuple[int, int]], seed: int) -> None:
    shift = np.random.default_rng(seed).uniform(-3, 3, (len(grid), 2))
    where = [(14 + 20 * row + down, 14 + 20 * column + right)
             for (row, column), (down, right) in zip(grid, shift, strict=True)]  # fmt: skip
    peaks = finder().find(picture(*where, seed=seed))
    assert len(peaks) == len(where)
    away = np.hypot(*(np.array(where)[:, :, None] - np.stack([peaks.ss, peaks.fs])).transpose(1, 0, 2))
    assert (away.min(axis=1) < NEAR).all()


def above_threshold(geometry: Geometry, crystal: Crystal) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Frame of a crystal, all of its spots, and those of them that have to be found, as (rows, columns).

    Those stand alone, and in the pixels beside their middle out of what is to be expected of their ring: by five times
    its noise, and by what their own noise may take away.
    """
    flat, shining = background(geometry), crystal.spots(geometry, 0.0, 0.01)
    ring = np.rint(geometry.radius).astype(int).ravel()
    number = np.maximum(np.bincount(ring), 1)
    mean = np.bincount(ring, flat.ravel()) / number
    limit = mean + 5 * np.sqrt(mean + np.maximum(np.bincount(ring, flat.ravel() ** 2) / number - mean**2, 0))
    rows, columns, photons = crystal.shining(geometry, 0.0, 0.01)
    inside = (rows > 0) & (rows < geometry.shape[0] - 1) & (columns > 0) & (columns < geometry.shape[1] - 1)
    spots, photons = np.stack([rows, columns])[:, inside], photons[inside]
    pixel = tuple(np.rint(spots).astype(int))
    width = geometry.spot_width
    beside = photons * beam_stop(geometry)[pixel] / (2 * np.pi * width**2) * np.exp(-1 / width**2) + flat[pixel]
    away = np.hypot(*(spots[:, :, None] - spots[:, None, :]))
    np.fill_diagonal(away, np.inf)
    clear = beside - 2 * np.sqrt(beside) > limit[ring.reshape(geometry.shape)[pixel]]
    image = np.random.default_rng(3).poisson(flat + shining).astype("<u4")
    return image, spots, spots[:, clear & (away.min(axis=1) > 10 * width)]


def test_spots_of_crystals_are_found_within_half_a_pixel() -> None:
    """At least 99 in 100 of those above the threshold, amid powder rings and beam stop; peaks where none is are few."""
    wanted = found = false = 0
    for seed in range(4):
        geometry = Geometry((1065, 1030))
        crystal = Crystal(suitable_cell(geometry), np.random.default_rng(seed))
        image, spots, clear = above_threshold(geometry, crystal)
        peaks = PeakFinder(distances(geometry.shape, (geometry.centre[1], geometry.centre[0]))).find(image)
        places = np.stack([peaks.ss, peaks.fs])
        wanted += clear.shape[1]
        found += np.count_nonzero(np.hypot(*(clear[:, :, None] - places[:, None, :])).min(axis=1) < NEAR)
        away = np.hypot(*(places[:, :, None] - spots[:, None, :])).min(axis=1)
        false += np.count_nonzero(away > 3 * geometry.spot_width)
    assert wanted > 500
    assert found / wanted >= 0.99, f"{found} of {wanted}"
    assert false <= 4, f"{false} peaks where no spot is, in 4 frames"
