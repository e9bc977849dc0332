from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, CBF, MONO12P, RAW, Frame, FrameFormat
from bluesky_streamdet.transforms import bslz4, pixels


def a_frame(form: FrameFormat, *parts: bytes) -> Frame:
    return Frame(0, None, None, form, parts, 0)


def test_raw_pixels_are_a_view_of_the_payload() -> None:
    payload = np.arange(6, dtype="<u2").tobytes()
    image = pixels.decode(a_frame(FrameFormat((2, 3), "<u2", RAW, (2, 3)), payload))
    np.testing.assert_array_equal(image, [[0, 1, 2], [3, 4, 5]])
    assert np.shares_memory(image, np.frombuffer(payload, "u1"))
    assert not image.flags.writeable


@pytest.mark.parametrize("encoding", [RAW, BSLZ4])
def test_parts_follow_one_another_along_the_first_axis(encoding: str) -> None:
    image = np.arange(4 * 5 * 3, dtype="<i4").reshape(4, 5, 3)
    halves = [half.tobytes() if encoding == RAW else bslz4.encode(half) for half in (image[:2], image[2:])]
    form = FrameFormat((4, 5, 3), "<i4", encoding, (2, 5, 3))
    np.testing.assert_array_equal(pixels.decode(a_frame(form, *halves)), image)


def test_a_payload_of_another_size() -> None:
    with pytest.raises(MalformedMessage, match="payload of another size"):
        pixels.decode(a_frame(FrameFormat((2, 3), "<u2", RAW, (2, 3)), bytes(11)))


def test_means_of_blocks_with_what_is_left_at_the_edges() -> None:
    """By hand: 5 x 7 pixels, 0 to 34, in blocks of 2 x 2."""
    image = np.arange(35, dtype="<u2").reshape(5, 7)
    wanted = [[4, 6, 8, 9.5], [18, 20, 22, 23.5], [28.5, 30.5, 32.5, 34]]
    np.testing.assert_array_equal(pixels.downsample(image, 2), wanted)


@settings(derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.sampled_from(["u1", "u4", "i4", "f4"]))
def test_every_mean_is_exact(rows: int, columns: int, factor: int, dtype: str) -> None:
    image = np.random.default_rng(rows).integers(0, 127, (rows, columns)).astype(dtype)
    small = pixels.downsample(image, factor)
    assert small.dtype == np.float64
    assert small.shape == (-(-rows // factor), -(-columns // factor))
    for row in range(small.shape[0]):
        for column in range(small.shape[1]):
            block = image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            assert small[row, column] == block.sum(dtype=np.float64) / block.size


def test_large_counts_do_not_overflow() -> None:
    image = np.full((6, 6), 2**32 - 1, "<u4")
    np.testing.assert_array_equal(pixels.downsample(image, 4), np.full((2, 2), 2.0**32 - 1))


def test_the_live_view_of_before() -> None:
    """What the facility's older receiver shows of the same picture: the means, cut to whole numbers."""
    image = np.arange(35, dtype="<u2").reshape(5, 7)
    shown = pixels.downsample(image, 2).astype("<u2")
    assert shown.tolist() == [[4, 6, 8, 9], [18, 20, 22, 23], [28, 30, 32, 34]]


def test_each_of_several_pictures() -> None:
    image = np.random.default_rng(1).integers(0, 999, (3, 5, 7))
    small = pixels.downsample(image, 2)
    np.testing.assert_array_equal(small, np.stack([pixels.downsample(one, 2) for one in image]))


def test_blocks_have_a_size() -> None:
    with pytest.raises(ValueError, match="blocks of 0 x 0"):
        pixels.downsample(np.zeros((4, 4)), 0)


@pytest.mark.parametrize(("encoding", "kind"), [(CBF, "<i4"), (MONO12P, "<u2"), (RAW, "<f4")])
def test_every_encoder_has_its_decoder(encoding: str, kind: str) -> None:
    image = np.random.default_rng(1).integers(0, 4096, (5, 7)).astype(kind)
    form = FrameFormat((5, 7), kind, encoding, (5, 7))
    frame = Frame(0, None, None, form, (pixels.ENCODERS[encoding](image),), 0)
    np.testing.assert_array_equal(pixels.decode(frame), image)
