"""LZ4 in the form of HDF5's filter, against HDF5 with the filter of hdf5plugin; and without that form."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import h5py
import hdf5plugin
import lz4.block
import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.transforms import lz4 as ours

DTYPES = ["<u1", "<u2", "<i4", "<u8", "<f4", "<f8"]
SHAPES = [(1,), (7,), (5, 9), (129, 257), (2, 3, 5)]
NOISE = np.random.default_rng(3).integers(0, 256, (40, 50), np.uint8)
"""What can't be made smaller."""


def an_image(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Few counts with some large ones among them, as detectors see."""
    random = np.random.default_rng(len(shape))
    return (random.poisson(0.7, shape) * random.choice([1, 1, 1, 101], shape)).astype(dtype)


def dataset(shape: tuple[int, ...], dtype: str, block: int = 0) -> h5py.Dataset:
    """A compressed dataset of one chunk, in a file in memory."""
    file = h5py.File(f"{shape}{dtype}", "w", driver="core", backing_store=False)
    return file.create_dataset("data", shape, dtype, chunks=shape, **hdf5plugin.LZ4(block))


def read_by_hdf5(blob: Any, image: NDArray[Any]) -> NDArray[Any]:
    there = dataset(image.shape, image.dtype.str)
    there.id.write_direct_chunk((0,) * image.ndim, blob)
    read = there[()]
    there.file.close()
    return read


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_hdf5_reads_what_we_encode(shape: tuple[int, ...], dtype: str) -> None:
    image = an_image(shape, dtype)
    np.testing.assert_array_equal(read_by_hdf5(ours.encode(image), image), image)


@pytest.mark.parametrize("block", [0, 64, 8192])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_we_decode_what_hdf5_encodes(shape: tuple[int, ...], dtype: str, block: int) -> None:
    image, there = an_image(shape, dtype), dataset(shape, dtype, block)
    there[()] = image
    there.flush()
    _, blob = there.id.read_direct_chunk((0,) * len(shape))
    there.file.close()
    ours.verify(blob, image.nbytes, image.itemsize)
    decoded = ours.decode(blob, shape, dtype)
    assert decoded.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(decoded, image)
    data = ours.to_block(blob, image.nbytes)
    assert lz4.block.decompress(data, uncompressed_size=image.nbytes) == image.tobytes()


def test_noise_that_cannot_be_made_smaller_and_strided_arrays() -> None:
    np.testing.assert_array_equal(read_by_hdf5(ours.encode(NOISE), NOISE), NOISE)
    strided = an_image((40, 60), "<u2")[::2, ::3]
    np.testing.assert_array_equal(ours.decode(ours.encode(strided), (20, 20), "<u2"), strided)


def data_as_long_as_what_it_says() -> tuple[NDArray[np.uint8], bytes]:
    """Bytes whose LZ4 data are just as many, which the filter takes for bytes that nobody compressed."""
    random = np.random.default_rng(0)
    for zeros in range(4, 64):
        image = np.concatenate([random.integers(0, 256, 300, np.uint8), np.zeros(zeros, np.uint8), NOISE[0]])
        data = lz4.block.compress(image.tobytes(), store_size=False)
        if len(data) == len(image):
            return image, data
    raise AssertionError("none was found")


def test_data_that_are_as_long_as_what_they_say() -> None:
    image, data = data_as_long_as_what_it_says()
    for blob in (ours.from_block(data, image.nbytes), ours.encode(image)):
        np.testing.assert_array_equal(read_by_hdf5(bytes(blob), image), image)
        assert (
            lz4.block.decompress(ours.to_block(blob, image.nbytes), uncompressed_size=image.nbytes) == image.tobytes()
        )
    with pytest.raises(MalformedMessage, match="does not decode"):
        ours.from_block(bytes(100), 100)


def test_data_without_a_header_get_one_and_those_with_one_keep_it() -> None:
    image = an_image((30, 40), "<u4")
    data = lz4.block.compress(image.tobytes(), store_size=False)
    blob = ours.from_block(memoryview(data), image.nbytes)
    assert bytes(blob) == struct.pack(">QII", image.nbytes, image.nbytes, len(data)) + data
    assert ours.from_block(blob, image.nbytes) is blob
    assert bytes(ours.to_block(blob, image.nbytes)) == data
    np.testing.assert_array_equal(read_by_hdf5(blob, image), image)


def changed(blob: bytes, offset: int, value: int, size: int) -> bytes:
    return blob[:offset] + value.to_bytes(size, "big") + blob[offset + size :]


BLOB = ours.encode(an_image((129, 257), "<u2"))
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
        (changed(BLOB, 8, 2**32 - 1, 4), "compressed blob with an impossible block size"),
        (changed(BLOB, 8, 4096, 4), "compressed blob cut or too long"),
        (changed(BLOB, 12, 2**32 - 1, 4), "compressed blob cut or too long"),
        (changed(BLOB, 12, 0, 4), "compressed blob cut or too long"),
    ],
)
def test_blobs_that_cannot_be_a_frame(blob: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        ours.verify(blob, NBYTES, 2)
    assert caught.value.reason == reason
    with pytest.raises(MalformedMessage):
        ours.decode(blob, (129, 257), "<u2")


def test_bombs_are_refused_before_they_are_decoded() -> None:
    nbytes = 1 << 30
    bomb = struct.pack(">QII", nbytes, nbytes, 40) + bytes(40)
    with pytest.raises(MalformedMessage, match="56 bytes cannot hold 1073741824"):
        ours.verify(bomb, nbytes, 2)
    # A hundred million blocks of a byte each would take a minute to count.
    with pytest.raises(MalformedMessage, match="impossible block size"):
        ours.verify(struct.pack(">QI", nbytes, 1) + bytes(5_000_000), nbytes, 2)


def test_the_emptiest_picture_is_no_bomb() -> None:
    image = np.zeros((2000, 2000), "<u4")
    ours.verify(ours.encode(image), image.nbytes, 4)


def test_blocks_with_nonsense_in_them_are_refused_or_decoded_to_nonsense() -> None:
    random = Random(7)
    refused = 0
    for _ in range(500):
        blob = bytearray(BLOB)
        for _ in range(random.randint(1, 20)):
            blob[random.randrange(16, len(blob))] = random.randrange(256)
        try:
            assert ours.decode(blob, (129, 257), "<u2").shape == (129, 257)
        except MalformedMessage:
            refused += 1
    assert refused > 100
