"""Messages for indexamajig, read as it reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.codecs import crystfel
from bluesky_streamdet.codecs.crystfel import PeakList, apart, headers_of, message, positive, slab
from tests.wire.strict_client import Reader, Refused

NUMBER: dict[str, crystfel.Header] = {"frame_number": 17}


@pytest.mark.parametrize("kind", ["i4", "f4"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "i8", "u8", "f2", "f4", "f8", ">u2", ">f4", "?"])
def test_pixels_of_any_type_become_one_of_the_two_that_are_understood(dtype: str, kind: Any) -> None:
    image = (np.arange(48).reshape(6, 8) % 120).astype(dtype)

    got = Reader((6, 8)).read(bytes(message(image, NUMBER, kind=kind)))

    assert got.image is not None
    assert got.image.dtype == np.dtype(f"<{kind}")
    np.testing.assert_array_equal(got.image, image.astype(float))
    assert got.headers == NUMBER


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i2", "i4", "i8"])
def test_masked_and_saturated_pixels_say_so_by_their_value(dtype: str) -> None:
    image = np.full((3, 5), 7, dtype)
    image[0, 0] = np.iinfo(image.dtype).max if image.dtype.kind == "u" else -2
    image[1, 1], image[2, 2] = 101, 100

    whole = slab(image, "i4", flag=-9, saturation=100)
    real = slab(image, "f4", saturation=100.5)

    assert whole[0, 0] == whole[1, 1] == -9
    assert np.isnan(real[0, 0])
    assert np.isnan(real[1, 1])
    assert whole[2, 2] == real[2, 2] == 100
    assert (whole == 7).sum() == (real == 7).sum() == 12


def test_what_no_number_says_is_masked() -> None:
    image = np.array([[1.4, np.nan, np.inf], [-np.inf, 1e30, -3.6]])

    wanted = np.array([[1.4, np.nan, np.nan], [np.nan, 1e30, -3.6]], "f4")
    np.testing.assert_array_equal(slab(image, "f4"), wanted)
    np.testing.assert_array_equal(slab(image, "i4"), [[1, -1, -1], [-1, 2**31 - 1, -4]])


@pytest.mark.parametrize(("dtype", "value"), [("u4", 3_000_000_000), ("i8", 1 << 40), ("u8", 1 << 63)])
def test_counts_that_do_not_fit_are_the_highest_that_do(dtype: str, value: int) -> None:
    assert slab(np.array([[value]], dtype), "i4")[0, 0] == 2**31 - 1


@pytest.mark.parametrize(
    ("shape", "wanted"), [((2, 3, 4), (6, 4)), ((2, 2, 3, 4), (12, 4)), ((5,), (1, 5)), ((3, 4), (3, 4))]
)
def test_modules_lie_one_below_another(shape: tuple[int, ...], wanted: tuple[int, int]) -> None:
    image = np.arange(np.prod(shape), dtype="u2").reshape(shape)

    got = Reader(wanted).read(bytes(message(image, NUMBER))).image

    assert got is not None
    np.testing.assert_array_equal(got, image.reshape(wanted))


def test_pixels_that_do_not_lie_in_a_row_are_put_there() -> None:
    image = np.arange(40, dtype="<i4").reshape(5, 8)[::-1, ::2].T

    got = Reader().read(bytes(message(image, NUMBER))).image

    np.testing.assert_array_equal(got, image)


def test_peaks_are_floats_whatever_they_were() -> None:
    peaks = PeakList(np.array([1, 2]), [3, 4], np.array([50, 60], np.uint16))

    got = Reader(peaks=True).read(bytes(message(np.ones((9, 9), "u2"), NUMBER, peaks))).peaks

    np.testing.assert_array_equal(got, [[1, 2], [3, 4], [50, 60]])


def test_peaks_that_are_nowhere_are_left_out_and_unequal_ones_refused() -> None:
    found = Reader(peaks=True, image=False).read(bytes(message(None, NUMBER, PeakList([1.0, np.nan], [2, 3], [4, 5]))))

    np.testing.assert_array_equal(found.peaks, [[1], [2], [4]])
    with pytest.raises(ValueError, match="peaks of 2, 1, 2"):
        message(None, NUMBER, PeakList([1, 2], [3], [4, 5]))


@pytest.mark.parametrize("names", [("beam", "beam_energy"), ("", "a"), ("detector",), ("peak_list_of_mine",)])
def test_keys_that_would_be_taken_for_others_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"key"):
        message(np.ones((2, 2), "u2"), dict.fromkeys(names, 1), PeakList([], [], []))


@given(
    st.dictionaries(st.text(max_size=8), st.integers() | st.floats() | st.text(max_size=5) | st.booleans(), max_size=40)
)
def test_any_metadata_becomes_headers_that_can_be_copied(metadata: dict[str, Any]) -> None:
    headers = headers_of({**metadata, "frame": 1, "detector_data_": 2.0, "nested": {"frame_number": 3, "a": [1]}})

    got = Reader(copy=list(headers)).read(bytes(message(np.ones((2, 2), "u2"), headers | NUMBER)))

    assert got.headers == pytest.approx(headers)
    # Under its own name, or behind as many lines as set it apart from a name that it begins with.
    assert 3 in [value for name, value in headers.items() if name.endswith("nested.frame_number")]


def test_names_stay_where_they_can() -> None:
    assert apart(("sample", "sample_name", "frame", "event_id", "laser")) == {
        "sample": "sample",
        "sample_name": "_sample_name",
        "frame": "_frame",
        "event_id": "_event_id",
        "laser": "laser",
    }


def test_truths_texts_and_numbers_are_what_a_stream_file_can_have() -> None:
    metadata = {
        "on": np.True_,
        "off": False,
        "text": "a\nb ",
        "none": None,
        "nan": np.nan,
        "list": [1],
        "no text": "\n",
    }

    assert (
        headers_of({**metadata, "big": 1 << 70, "n": np.int16(3), "x": np.float32(0.5)})
        == {
            "on": 1,
            "off": 0,
            "text": "a b",
            "big": float(1 << 70),
            "n": 3,
            "x": 0.5,
        }
        | {}
    )


def test_a_frame_too_large_is_refused_before_anything_is_made() -> None:
    with pytest.raises(ValueError, match="at most 4294967295"):
        message(np.broadcast_to(np.uint8(1), (40_000, 40_000)), NUMBER)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, "9500", None, True])
def test_an_energy_is_a_positive_number_or_none(value: Any) -> None:
    assert positive(value) is None
    assert positive(value, np.float32(9500)) == 9500.0


def test_what_the_strict_client_refuses() -> None:
    """Messages which indexamajig was seen to lose, or to misread."""
    import msgpack

    def pack(data: dict[Any, Any], **others: Any) -> bytes:
        return msgpack.packb({"frame_number": 1, "detector_data": data, **others})

    good = {"type": "<i4", "shape": [2, 2], "data": bytes(16)}
    assert Reader().read(pack(good) + b"anything").number == 1
    for bad in (
        good | {"type": "<u2"},
        good | {"type": b"<i4"},
        good | {"shape": [1, 2, 2]},
        good | {"shape": [2.0, 2.0]},
        good | {"data": bytes(15)},
        good | {"data": "x" * 16},
    ):
        with pytest.raises(Refused):
            Reader().read(pack(bad))
    with pytest.raises(Refused, match="taken for the other"):
        Reader().read(pack(good, detector=1))
    with pytest.raises(Refused, match="no floats"):
        Reader(peaks=True).read(pack(good, peak_list={"fs": [1], "ss": [1], "intensity": [1]}))
    with pytest.raises(Refused, match="unrecognised type"):
        Reader(copy=["pumped"]).read(pack(good, pumped=True))
