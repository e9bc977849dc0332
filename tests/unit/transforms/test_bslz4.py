"""Bitshuffle and LZ4, against HDF5 with the filter of hdf5plugin."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.transforms import bslz4

DTYPES = ["<u1", "<u2", "<i4", "<u8", "<f4", "<f8"]
SHAPES = [(1,), (7,), (8,), (5, 9), (129, 257), (2, 3, 5), (1030, 65)]


def an_image(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Few counts with some large ones among them, as detectors see."""
    random = np.random.default_rng(len(shape))
    return (random.poisson(0.7, shape) * random.choice([1, 1, 1, 101], shape)).astype(dtype)


def dataset(shape: tuple[int, ...], dtype: str, elements: int = 0) -> h5py.Dataset:
    """A compressed dataset of one chunk, in a file in memory."""
    file = h5py.File(f"{shape}{dtype}", "w", driver="core", backing_store=False)
    return file.create_dataset("data", shape, dtype, chunks=shape, **hdf5plugin.Bitshuffle(elements, cname="lz4"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_hdf5_reads_what_we_encode(shape: tuple[int, ...], dtype: str) -> None:
    image, there = an_image(shape, dtype), dataset(shape, dtype)
    there.id.write_direct_chunk((0,) * len(shape), bslz4.encode(image))
    np.testing.assert_array_equal(there[()], image)
    there.file.close()


@pytest.mark.parametrize("elements", [0, 8, 1024])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_we_decode_what_hdf5_encodes(shape: tuple[int, ...], dtype: str, elements: int) -> None:
    image, there = an_image(shape, dtype), dataset(shape, dtype, elements)
    there[()] = image
    there.flush()
    _, blob = there.id.read_direct_chunk((0,) * len(shape))
    there.file.close()
    bslz4.verify(blob, image.nbytes, image.itemsize)
    decoded = bslz4.decode(blob, shape, dtype)
    assert decoded.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(decoded, image)


def test_a_strided_array_is_encoded_by_value() -> None:
    image = an_image((40, 60), "<u2")
    np.testing.assert_array_equal(bslz4.decode(bslz4.encode(image[::2, ::3]), (20, 20), "<u2"), image[::2, ::3])


def changed(blob: bytes, offset: int, value: int, size: int) -> bytes:
    return blob[:offset] + value.to_bytes(size, "big") + blob[offset + size :]


BLOB = bslz4.encode(an_image((129, 257), "<u2"))
NBYTES = 129 * 257 * 2


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "compressed blob too short"),
        (BLOB[:11], "compressed blob too short"),
        (BLOB[:12], "compressed blob too short"),
        (BLOB[:-1], "compressed blob cut or too long"),
        (BLOB + b"\0", "compressed blob cut or too long"),
        (BLOB * 2, "compressed blob cut or too long"),
        (changed(BLOB, 0, NBYTES + 2, 8), "compressed blob of another size"),
        (changed(BLOB, 0, 2**64 - 1, 8), "compressed blob of another size"),
        (changed(BLOB, 8, 0, 4), "compressed blob with an impossible block size"),
        (changed(BLOB, 8, 8, 4), "compressed blob with an impossible block size"),
        (changed(BLOB, 8, 2**32 - 16, 4), "compressed blob with an impossible block size"),
        (changed(BLOB, 8, 4096, 4), "compressed blob cut or too long"),
        (changed(BLOB, 12, 2**32 - 1, 4), "compressed blob cut or too long"),
        (changed(BLOB, 12, 0, 4), "compressed blob cut or too long"),
    ],
)
def test_blobs_that_cannot_be_a_frame(blob: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        bslz4.verify(blob, NBYTES, 2)
    assert caught.value.reason == reason
    with pytest.raises(MalformedMessage):
        bslz4.decode(blob, (129, 257), "<u2")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    nbytes = 1 << 30
    blob = bslz4.HEADER.pack(nbytes, nbytes) + (40).to_bytes(4, "big") + bytes(40)
    with pytest.raises(MalformedMessage, match="56 bytes cannot hold 1073741824"):
        bslz4.verify(blob, nbytes, 2)


def test_the_emptiest_picture_is_no_bomb() -> None:
    image = np.zeros((2000, 2000), "<u4")
    bslz4.verify(bslz4.encode(image), image.nbytes, 4)


def test_blocks_with_nonsense_in_them_are_refused_or_decoded_to_nonsense() -> None:
    random = Random(7)
    refused = 0
    for _ in range(500):
        blob = bytearray(BLOB)
        for _ in range(random.randint(1, 20)):
            blob[random.randrange(16, len(blob))] = random.randrange(256)
        try:
            assert bslz4.decode(blob, (129, 257), "<u2").shape == (129, 257)
        except MalformedMessage:
            refused += 1
    assert refused > 100


def test_blocks_that_would_take_seconds_to_count_are_refused() -> None:
    nbytes = 1 << 30
    with pytest.raises(MalformedMessage, match="impossible block size"):
        bslz4.verify(struct.pack(">QI", nbytes, 16) + bytes(5_000_000), nbytes, 2)
