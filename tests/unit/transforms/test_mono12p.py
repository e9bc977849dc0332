"""Packed pixels of twelve bits: exact for every length, refused by name where none fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.transforms import mono12p


def unpacked_one_by_one(blob: bytes, pixels: int) -> list[int]:
    """Bits in a row, the lowest first."""
    bits = int.from_bytes(blob, "little")
    return [bits >> 12 * number & 0xFFF for number in range(pixels)]


@given(st.binary(min_size=0, max_size=600), st.integers(1, 400))
@settings(max_examples=300)
def test_every_length_is_exact_or_refused(blob: bytes, pixels: int) -> None:
    wanted = mono12p.packed_size(pixels)
    blob = blob[:wanted]
    if len(blob) == wanted:
        assert mono12p.decode(blob, (pixels,), "<u2").tolist() == unpacked_one_by_one(blob, pixels)
        return
    with pytest.raises(MalformedMessage) as caught:
        mono12p.decode(blob, (pixels,), "<u2")
    assert caught.value.reason in ("mono12p of odd length", "mono12p of another length")


@pytest.mark.parametrize("pixels", [*range(1, 70), 65_535, 65_536, 65_537, 65_538, 200_003])
def test_round_trip(pixels: int) -> None:
    image = np.random.default_rng(pixels).integers(0, 4096, pixels, np.uint16)
    blob = mono12p.encode(image)
    assert len(blob) == (3 * pixels + 1) // 2
    for wrap in (bytes, bytearray, memoryview):
        np.testing.assert_array_equal(mono12p.decode(wrap(blob), (pixels,), "<u2"), image)
    assert unpacked_one_by_one(blob, min(pixels, 500)) == image[:500].tolist()


def test_two_pixels_by_hand() -> None:
    assert mono12p.decode(b"\x21\x43\x65", (1, 2), "<u2").tolist() == [[0x321, 0x654]]
    assert mono12p.encode(np.array([[0x321, 0x654]])) == b"\x21\x43\x65"
    assert mono12p.decode(b"\x21\x03", (1, 1), "<u2").tolist() == [[0x321]]


@pytest.mark.parametrize(
    ("size", "pixels", "reason"),
    [
        (0, 2, "mono12p of another length"),
        (1, 2, "mono12p of odd length"),
        (2, 2, "mono12p of another length"),
        (4, 2, "mono12p of odd length"),
        (301, 200, "mono12p of odd length"),
        (299, 200, "mono12p of another length"),
        (302, 200, "mono12p of another length"),
        (303, 200, "mono12p of another length"),
    ],
)
def test_wrong_lengths_are_named(size: int, pixels: int, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        mono12p.verify(bytes(size), 2 * pixels, 2)
    assert caught.value.reason == reason


def test_other_types_are_refused() -> None:
    with pytest.raises(MalformedMessage, match="another type than uint16"):
        mono12p.verify(bytes(3), 8, 4)


@pytest.mark.parametrize("image", [np.array([4096]), np.array([-1]), np.array([1.0])])
def test_what_twelve_bits_cannot_hold(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="0 to 4095"):
        mono12p.encode(image)
