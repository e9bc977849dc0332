from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.service.picture import as_png


def decoded(png: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Palette numbers (rows, columns) and palette (256, 3) of a PNG of ours, by the specification."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, position = {}, 8
    while position < len(png):
        (size,), kind = struct.unpack_from(">I", png, position), png[position + 4 : position + 8]
        data = png[position + 8 : position + 8 + size]
        assert struct.unpack_from(">I", png, position + 8 + size) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        position += 12 + size
    columns, rows, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 3)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(256, 3)


def test_more_counts_are_brighter() -> None:
    numbers, palette = decoded(as_png(np.arange(1000, dtype=np.uint32).reshape(10, 100)))

    assert (np.diff(numbers.ravel().astype(int)) >= 0).all()
    assert numbers.min() == 1
    assert numbers.max() == 255
    assert palette[1].tolist() == [0x44, 0x01, 0x54]
    assert palette[255].tolist() == [0xFD, 0xE7, 0x25]


@pytest.mark.parametrize(
    ("dtype", "bad"), [("u2", 65535), ("u4", 2**32 - 1), ("i4", -1), ("i4", -2), ("f4", np.nan), ("f8", np.inf)]
)
def test_pixels_without_a_value_are_grey(dtype: str, bad: float) -> None:
    image = np.ones((4, 4), dtype)
    image[1, 2] = bad
    numbers, palette = decoded(as_png(image))

    assert np.argwhere(numbers == 0).tolist() == [[1, 2]]
    assert palette[0].tolist() == [128, 128, 128]


def test_a_hot_pixel_does_not_hide_the_rest() -> None:
    image = np.random.default_rng(0).poisson(20, (300, 300)).astype(np.uint32)
    image[7, 7] = 4_000_000
    numbers, _ = decoded(as_png(image))

    assert np.median(numbers) > 100


def test_a_peak_survives_being_made_smaller() -> None:
    image = np.zeros((9, 10), np.uint16)
    image[8, 9] = 1000
    numbers, _ = decoded(as_png(image, 4))

    assert numbers.shape == (3, 3)
    assert np.argwhere(numbers == numbers.max()).tolist() == [[2, 2]]


def test_a_gap_stays_a_gap_when_made_smaller() -> None:
    image = np.ones((8, 8), np.uint16)
    image[:4] = 65535
    image[5, 5] = 65535
    numbers, _ = decoded(as_png(image, 4))

    assert (numbers == 0).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 5), (1, 1)])
def test_any_shape_has_a_picture(shape: tuple[int, ...]) -> None:
    columns = shape[-1] if shape else 1
    numbers, _ = decoded(as_png(np.zeros(shape, np.uint16)))

    assert numbers.shape == (np.zeros(shape).size // columns, columns)


@pytest.mark.parametrize("value", [0, 5, 65535])
def test_a_frame_that_is_the_same_everywhere(value: int) -> None:
    numbers, _ = decoded(as_png(np.full((4, 4), value, np.uint16)))

    assert len(np.unique(numbers)) == 1
