"""CBF by byte offsets: against a loop that anybody can read, and against fabio, both ways."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.transforms import cbf

INT32 = st.integers(-(2**31), 2**31 - 1)
NEAR_ESCAPES = st.sampled_from(
    [sign * (1 << bits) + step for bits in (7, 8, 15, 16, 31) for sign in (-1, 1) for step in (-1, 0, 1)]
)


def binary_of(blob: bytes) -> bytes:
    begin = blob.index(cbf.MARKER) + len(cbf.MARKER)
    size = int(blob.split(b"X-Binary-Size: ")[1].split(b"\r\n")[0])
    return blob[begin : begin + size]


def read_one_by_one(data: bytes) -> list[int]:
    """What the description says, word by word."""
    values, value, at = [], 0, 0
    while at < len(data):
        for width, none in ((1, b"\x80"), (2, b"\x00\x80"), (4, b"\x00\x00\x00\x80"), (8, None)):
            piece = data[at : at + width]
            at += width
            if piece != none:
                value += int.from_bytes(piece, "little", signed=True)
                break
        values.append(value)
    return values


def with_binary(data: bytes, count: int, *more: str, size: int | None = None) -> bytes:
    """A CBF of these bytes of pixels."""
    lines = ["###CBF: VERSION 1.5", f"X-Binary-Size: {len(data) if size is None else size}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + cbf.MARKER + data + b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n"


@given(st.lists(INT32 | NEAR_ESCAPES | st.integers(-300, 300), min_size=1, max_size=300))
def test_the_encoder_writes_what_the_description_says(values: list[int]) -> None:
    image = np.array(values, "<i8")
    assert read_one_by_one(binary_of(cbf.encode(image))) == values


@given(st.lists(INT32 | st.integers(-300, 300), min_size=1, max_size=300), st.sampled_from(sorted(cbf.ELEMENTS)))
def test_every_pixel_type_comes_back(values: list[int], element: str) -> None:
    kind = cbf.ELEMENTS[element]
    image = np.array(values, "<i8").astype(kind)[None]
    back = cbf.decode(cbf.encode(image), image.shape, kind.str)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, image)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_numbers_of_64_bits(values: list[int]) -> None:
    image = np.array(values, "<i8")
    np.testing.assert_array_equal(cbf.decode(cbf.encode(image), image.shape, "<i8"), image)


@given(st.lists(NEAR_ESCAPES | st.just(0x80) | st.just(-32640), min_size=1, max_size=40), st.integers(1, 200))
@settings(max_examples=50)
def test_long_chains_of_escapes_within_escapes(steps: list[int], times: int) -> None:
    image = np.cumsum(np.tile(np.array(steps, "<i8"), times))
    np.testing.assert_array_equal(cbf.decode(cbf.encode(image), image.shape, "<i8"), image)


def pictures() -> list[NDArray[Any]]:
    random = np.random.default_rng(7)
    dim, bright = random.poisson(0.5, (61, 48)), random.poisson(200_000, (61, 48))
    peaks = np.where(random.random((61, 48)) < 0.05, bright, dim)
    mask = np.where(random.random((61, 48)) < 0.3, -2, peaks)
    noise = random.integers(-(2**30), 2**30, (61, 48))
    return [one.astype("<i4") for one in (dim, bright, peaks, mask, noise)]


@pytest.mark.parametrize("image", pictures())
def test_fabio_reads_what_we_write(image: NDArray[Any], tmp_path: Path) -> None:
    fabio = pytest.importorskip("fabio")
    (tmp_path / "ours.cbf").write_bytes(cbf.encode(image))
    theirs = fabio.open(str(tmp_path / "ours.cbf"))
    np.testing.assert_array_equal(theirs.data, image)
    assert theirs.data.dtype == image.dtype


@pytest.mark.parametrize("image", pictures())
def test_we_read_what_fabio_writes(image: NDArray[Any], tmp_path: Path) -> None:
    fabio = pytest.importorskip("fabio")
    fabio.cbfimage.CbfImage(data=image).write(str(tmp_path / "theirs.cbf"))
    blob = (tmp_path / "theirs.cbf").read_bytes()
    cbf.verify(blob, image.nbytes, 4)
    np.testing.assert_array_equal(cbf.decode(blob, image.shape, "<i4"), image)


def test_any_buffer_and_what_is_around_the_pixels() -> None:
    data = bytes([1, 2, 0x80, 0x00, 0x01, 0xFF])
    wanted = [[1, 3], [259, 258]]
    for blob in (
        with_binary(data, 4),
        with_binary(data, 4, "X-Binary-Number-of-Elements: 4", "X-Binary-Size-Fastest-Dimension: 2"),
        with_binary(data, 4, "A comment with a \0 in it"),
        with_binary(data, 4) + bytes(5000),
    ):
        for wrap in (bytes, bytearray, memoryview):
            assert cbf.decode(wrap(blob), (2, 2), "<i4").tolist() == wanted


ANNOUNCED = "X-Binary-Number-of-Elements: {}"


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "CBF without its marker"),
        (bytes(100_000), "CBF without its marker"),
        (b" " * cbf.LONGEST_HEADER + with_binary(b"1234", 4), "CBF without its marker"),
        (b"###CBF\r\n" + cbf.MARKER + b"1234", "CBF without X-Binary-Size"),
        (with_binary(b"1234", 4, size=5000), "CBF cut"),
        (with_binary(b"1234", 4, size=10**17), "CBF cut"),
        (with_binary(b"1234", 4, size=-4), "CBF with an impossible number"),
        (with_binary(b"1234", 4, size=10**30), "CBF with an impossible number"),
        (with_binary(b"1234", 4, size=3), "CBF of another size"),
        (with_binary(bytes(61), 4), "CBF of another size"),
        (with_binary(b"12345", 4), "CBF of another size"),
        (with_binary(b"1234", 4, ANNOUNCED.format(5)), "CBF of another size"),
        (with_binary(b"1234", 4, ANNOUNCED.format("many")), "CBF with an impossible number"),
        (with_binary(b"123\x80", 4), "CBF cut in the middle of a pixel"),
        (with_binary(b"123\x80\x01", 4), "CBF cut in the middle of a pixel"),
        (with_binary(b"123\x80\x00\x80", 4), "CBF cut in the middle of a pixel"),
        (with_binary(b"123\x80\x00\x80\x00\x00\x00\x80\x01", 4), "CBF cut in the middle of a pixel"),
        (with_binary(b"1234\x80\x00\x01", 4), "CBF of another size"),
        (with_binary(b"1234", 4, "X-Binary-Size-Fastest-Dimension: 4"), "CBF of another shape"),
        (with_binary(b"1234", 4, "X-Binary-Size-Second-Dimension: 1"), "CBF of another shape"),
        (with_binary(b"1234", 4, 'X-Binary-Element-Type: "unsigned 16-bit integer"'), "CBF of another pixel type"),
        (with_binary(b"1234", 4, 'X-Binary-Element-Type: "nonsense"'), "CBF of another pixel type"),
        (with_binary(b"1234", 4, "X-Binary-Element-Byte-Order: BIG_ENDIAN"), "CBF in another byte order"),
        (with_binary(b"1234", 4, '     conversions="x-CBF_PACKED"'), "CBF not compressed by byte offsets"),
        (with_binary(b"1234", 4, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="), "CBF whose MD5 sum differs"),
    ],
)
def test_each_fault_has_its_reason(blob: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        cbf.decode(blob, (2, 2), "<i4")
    assert caught.value.reason == reason


def test_what_no_header_betrays_is_found_by_the_sum() -> None:
    blob = bytearray(cbf.encode(np.arange(100, dtype="<i4").reshape(10, 10)))
    blob[blob.index(cbf.MARKER) + 20] ^= 3
    cbf.verify(blob, 400, 4)
    with pytest.raises(MalformedMessage, match="MD5"):
        cbf.decode(blob, (10, 10), "<i4")


def test_changed_images_decode_or_say_why() -> None:
    random = Random(5)
    reasons = set()
    whole = [with_binary(binary_of(cbf.encode(image)), image.size) for image in pictures()]
    for _ in range(3000):
        blob = bytearray(random.choice(whole))
        for _ in range(random.choice((1, 1, 3, 30))):
            at = random.randrange(len(blob))
            blob[at : at + random.choice((0, 1, 1, 1, 7))] = random.choice(
                (b"\x80", b"\x00\x80", b"", random.randbytes(1))
            )
        try:
            assert cbf.decode(bytes(blob), (61, 48), "<i4").shape == (61, 48)
        except MalformedMessage as error:
            reasons.add(error.reason)
    assert {"CBF of another size", "CBF cut"} <= reasons
    assert all(reason.startswith("CBF") for reason in reasons)


def test_nothing_is_allocated_for_pixels_that_did_not_come() -> None:
    blob = with_binary(b"1234", 4, size=4)
    tracemalloc.start()
    with pytest.raises(MalformedMessage):
        cbf.decode(blob, (10_000, 10_000), "<i4")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("image", [np.zeros((2, 2, 2), "<i4"), np.zeros((2, 2), "<f4")])
def test_what_no_cbf_can_hold(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="no CBF can be made"):
        cbf.encode(image)


def test_the_header_is_text() -> None:
    blob = cbf.encode(np.zeros((3, 5), "<i4"))
    text = blob[: blob.index(cbf.MARKER)].decode("ascii")
    assert 'X-Binary-Element-Type: "signed 32-bit integer"' in text
    assert "X-Binary-Size-Fastest-Dimension: 5\r\nX-Binary-Size-Second-Dimension: 3\r\n" in text
    assert io.StringIO(text).readline().startswith("###CBF")
