"""The pictures of a simulated detector: each different, each known exactly, and like those of an EIGER."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.events import BSLZ4, RAW, Frame
from bluesky_streamdet.sim.diffraction import Geometry, background
from bluesky_streamdet.sim.panel import DEAD, IN_GAP
from bluesky_streamdet.sim.picture import EIGER_1M, Pictures
from bluesky_streamdet.sim.stamp import Stamp
from bluesky_streamdet.transforms import bslz4
from bluesky_streamdet.transforms.pixels import decode

needs_bitshuffle = pytest.mark.skipif(importlib.util.find_spec("bitshuffle") is None, reason="needs bitshuffle")
COMPRESSED = pytest.param(BSLZ4, marks=needs_bitshuffle)

SHAPES = [(8, 16), (33, 47), (64, 64), (8, 4096), (120, 200)]
DTYPES = ["uint8", "int16", "uint16", "uint32"]


def sent(pictures: Pictures, number: int) -> np.ndarray:
    """What a receiver makes of frame `number`."""
    return decode(Frame(number, None, None, pictures.format, (pictures.payload(number),), 0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("encoding", [RAW, COMPRESSED])
def test_a_payload_holds_exactly_the_frame(shape: tuple[int, int], dtype: str, encoding: str) -> None:
    pictures = Pictures(shape, dtype, encoding, variants=3)
    for number in (0, 1, 2, 3, 4, 77, 1_234_567, (1 << 53) - 1):
        frame = pictures.frame(number)
        assert frame.shape == shape
        assert frame.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(sent(pictures, number), frame)
        assert pictures.number_of(frame) == number


@given(number=st.integers(0, (1 << 53) - 1), other=st.integers(0, (1 << 53) - 1))
@settings(max_examples=50)
def test_frames_of_different_numbers_differ(number: int, other: int) -> None:
    same = np.array_equal(SMALL.frame(number), SMALL.frame(other))
    assert same == (number == other)


SMALL = Pictures((16, 16), "uint16", RAW)


def test_the_same_seed_makes_the_same_pictures_and_another_seed_others() -> None:
    one, again, other = (Pictures((64, 64), "uint16", RAW, seed, variants=2) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.frame(5), again.frame(5))
    assert not np.array_equal(one.frame(5), other.frame(5))


def test_the_crystal_swings_to_and_fro() -> None:
    pictures = Pictures((64, 64), "uint16", RAW, variants=3)
    without_stamp = [pictures.frame(number)[40:] for number in range(6)]
    np.testing.assert_array_equal(without_stamp[1], without_stamp[3])
    np.testing.assert_array_equal(without_stamp[0], without_stamp[4])
    assert not np.array_equal(without_stamp[1], without_stamp[2])


def test_a_frame_can_be_changed_by_whoever_asked_for_it() -> None:
    pictures = Pictures((64, 64), "uint16", RAW, variants=2)
    pictures.frame(0)[:] = 0
    assert pictures.frame(0).any()


def test_an_eiger_has_two_modules_with_a_gap_a_hot_pixel_and_dead_ones() -> None:
    pictures = Pictures(variants=2)
    panel, image = pictures.panel, pictures.frame(0)
    assert pictures.format.shape == EIGER_1M == image.shape
    assert pictures.format.encoding == bslz4.usual()
    assert (panel.mask[514:551] == IN_GAP).all()
    assert not (panel.mask[:514] & IN_GAP).any()
    assert 0 < np.count_nonzero(panel.mask == DEAD) < 200
    largest = np.iinfo(np.uint32).max
    assert (image[panel.mask != 0] == largest).all()
    live = image[panel.mask == 0]
    assert live.max() < largest
    assert image[panel.hot_pixel] > 0.9 * live.max()


def test_rings_are_brighter_than_what_is_between_and_noise_is_poissonian() -> None:
    pictures = Pictures((400, 400), "uint32", RAW, variants=1)
    geometry = pictures.geometry
    expected = background(geometry)
    image = pictures.frame(0).astype(float)
    # Away from spots, gaps and the number, counts scatter as the square root of what is expected.
    clear = (pictures.panel.mask == 0) & (image < expected + 5 * np.sqrt(expected))
    clear[:40] = False
    deviation = (image - expected)[clear] / np.sqrt(expected[clear])
    assert abs(deviation.mean()) < 0.1
    assert 0.9 < deviation.std() < 1.1
    profile = [expected[np.abs(geometry.radius - radius) < 1].mean() for radius in range(40, 200)]
    peaks = sum(before < here > after for before, here, after in zip(profile, profile[1:], profile[2:], strict=False))
    assert peaks >= 4


def test_the_beam_stop_casts_a_shadow() -> None:
    geometry = Geometry((400, 400))
    row, column = (round(place) for place in geometry.centre)
    expected = background(geometry)
    assert expected[row, column] < 0.05 * expected[row - 30, column]


def test_header_and_tables_describe_the_pictures() -> None:
    pictures = Pictures((64, 80), "uint16", RAW, variants=2)
    header = pictures.panel.metadata(pictures.geometry, 0.1, 0.2, external=True)
    assert (header["count_time"], header["frame_time"], header["trigger_mode"]) == (0.1, 0.2, "exts")
    assert (header["y_pixels_in_detector"], header["x_pixels_in_detector"]) == (64, 80)
    assert header["bit_depth_image"] == 16
    assert header["wavelength"] * header["photon_energy"] == pytest.approx(12398.42, rel=1e-6)
    tables = pictures.panel.tables()
    assert tables["pixel_mask"].shape == tables["flatfield"].shape == (64, 80)
    assert header["number_of_excluded_pixels"] == np.count_nonzero(tables["pixel_mask"])


def test_the_stamp_shows_figures_where_there_is_room_and_stays_in_its_band() -> None:
    stamp = Stamp((120, 200))
    picture = np.full((120, 200), 7, np.uint16)
    stamp.write(picture[stamp.band], 42)
    outside = np.delete(picture, np.r_[stamp.band], axis=0)
    assert (outside == 7).all()
    assert np.count_nonzero(picture == 900) > 50
    assert stamp.read(picture) == 42


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding"),
    [((64, 15), "uint16", RAW), ((64, 64), "float32", RAW), ((64, 64), "unheard", RAW), ((64, 64), "uint16", "gzip")],
)
def test_impossible_pictures_are_refused_in_words(shape: tuple[int, int], dtype: str, encoding: str) -> None:
    with pytest.raises(ConfigError, match="Pictures"):
        Pictures(shape, dtype, encoding)
