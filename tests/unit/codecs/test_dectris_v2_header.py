"""Headers of DECTRIS' stream version 2, and what we send in that format."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest
from cbor2 import CBORTag
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bluesky_streamdet.codecs import dectris_v2
from bluesky_streamdet.codecs.codec import LARGEST_FRAME
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.core.metadata import UNITS
from tests.unit.codecs.stream2 import PICTURE, array, compressed, decode, image, start, start_of
from tests.unit.codecs.test_typedarrays import type_by_rfc


def test_everything_gets_the_name_under_which_files_have_a_place_for_it() -> None:
    theirs = {
        "beam_center_x": 1.0,
        "beam_center_y": 2.0,
        "count_time": 0.1,
        "countrate_correction_enabled": True,
        "detector_description": "EIGER2",
        "detector_serial_number": "E-1",
        "detector_translation": [0.0, 0.0, -0.25],
        "flatfield": {"threshold_1": array(np.ones((2, 3), "<f4"))},
        "flatfield_enabled": True,
        "frame_time": 0.2,
        "image_dtype": "uint32",
        "incident_energy": 8000.0,
        "incident_wavelength": 1.55,
        "pixel_mask": {"threshold_1": array(np.ones((2, 3), "<u4"))},
        "pixel_mask_enabled": True,
        "pixel_size_x": 75e-6,
        "pixel_size_y": 75e-6,
        "saturation_value": 100,
        "sensor_material": "Si",
        "sensor_thickness": 0.00045,
        "threshold_energy": {"threshold_1": 4000.0},
        "virtual_pixel_interpolation_enabled": False,
    }
    metadata = start_of(start(channels=["threshold_1"], **theirs)).metadata
    assert metadata.keys() - UNITS.keys() == {
        *("channels", "detector_translation", "image_dtype", "series_unique_id", "threshold_energies")
    }
    assert (metadata["distance"], metadata["bit_depth_image"], metadata["threshold_energy"]) == (0.25, 32, 4000.0)


def test_only_the_energies_of_active_channels_are_those_of_the_frame() -> None:
    energies = {"threshold_1": 6750, "threshold_2": 18900}
    metadata = start_of(start(channels=["threshold_2"], threshold_energy=energies)).metadata
    assert (metadata["threshold_energy"], metadata["threshold_energies"]) == (18900, energies)
    assert start_of(start(threshold_energy=4000.0)).metadata["threshold_energy"] == 4000.0
    assert "threshold_energy" not in start_of(start(threshold_energy="much")).metadata


MASKS = {name: np.full((2, 3), value, "<u4") for value, name in enumerate(("one", "two", "three"))}


@pytest.mark.parametrize("form", [array, compressed])
@pytest.mark.parametrize(
    ("channels", "masks", "kept"),
    [
        (["one"], ["one"], {"pixel_mask": "one"}),
        (["two", "one"], ["one", "two"], {"pixel_mask": ["two", "one"]}),
        (None, ["one", "two"], {"pixel_mask": ["one", "two"]}),
        (["default"], ["one"], {"pixel_mask": "one"}),
        (["one", "two"], ["two"], {"pixel_mask_two": "two"}),
        (["one", "two"], ["one", "two", "three"], {f"pixel_mask_{name}": name for name in MASKS}),
    ],
)
def test_tables_of_channels(
    form: Callable[[NDArray[Any]], CBORTag], channels: list[str] | None, masks: list[str], kept: dict[str, Any]
) -> None:
    pytest.importorskip("bitshuffle")
    more = {} if channels is None else {"channels": channels}
    metadata = start_of(start(pixel_mask={name: form(MASKS[name]) for name in masks}, **more)).metadata
    assert {name for name in metadata if name.startswith("pixel_mask")} == kept.keys()
    for name, of in kept.items():
        np.testing.assert_array_equal(metadata[name], MASKS[of] if isinstance(of, str) else [MASKS[one] for one in of])


@pytest.mark.parametrize(
    ("user_data", "kept", "filename"),
    [
        (None, None, None),
        ("", None, None),
        ('{"filename": "a/b.h5"}', {"filename": "a/b.h5"}, "a/b.h5"),
        (b'{"filename": "a.h5"}', {"filename": "a.h5"}, "a.h5"),
        ({"filename": "a.h5", "n": [1, None]}, {"filename": "a.h5", "n": [1, None]}, "a.h5"),
        ('{"file_prefix": "lyso"}', {"file_prefix": "lyso"}, "lyso"),
        ('{"filename": 3}', {"filename": 3}, None),
        ("sample 3, second try", "sample 3, second try", None),
        (b"\xff\xfe", "��", None),
        ("[" * 100_000, "[" * 100_000, None),
        ([1, {"x": CBORTag(64, b"\1\2")}], [1, {"x": [1, 2]}], None),
        (7, 7, None),
    ],
)
def test_user_data_may_be_anything(user_data: Any, kept: Any, filename: str | None) -> None:
    event = start_of(start(user_data=user_data))
    assert (event.metadata.get("user_data"), event.filename) == (kept, filename)


@pytest.mark.parametrize(
    ("images", "frames"), [(9, 9), (0, None), (-1, None), (1.0, None), ("9", None), (1 << 60, None), (None, None)]
)
def test_how_many_frames_are_announced(images: Any, frames: int | None) -> None:
    assert start_of(start(number_of_images=images)).frames == frames


@pytest.mark.parametrize(
    ("ids", "series"),
    [
        ({"series_id": 3, "series_unique_id": "x"}, "3"),
        ({"series_id": (1 << 64) - 1}, "18446744073709551615"),
        ({"series_unique_id": "x"}, "x"),
        ({"series_id": "3", "series_unique_id": "x"}, "x"),
        ({"series_id": -3}, None),
        ({}, None),
    ],
)
def test_what_a_series_is_called(ids: dict[str, Any], series: str | None) -> None:
    for kind in ("start", "end"):
        (event,) = decode(cbor2.dumps({"type": kind, **ids}))
        assert event.series == series


def test_what_nobody_can_read_is_left_out_and_named() -> None:
    """Such as tables that are bytes in base 64, which a simulator of an EIGER sends."""
    nobody = {
        "countrate_correction_lookup_table": b"QUFB",
        "flatfield": {"threshold_1": b"QUFB", "threshold_2": array(PICTURE)},
        "pixel_mask": b"QUFB",
        "odd": CBORTag(69, b"123"),
        "long": bytes((1 << 20) + 1),
        "nested": {"array": array(np.zeros((100, 100)))},
        "small": -(1 << 64),
        "count_time": 0.1,
    }
    metadata = start_of(start(**nobody)).metadata
    left_out = metadata.pop("left_out")
    assert [one.partition(":")[0] for one in left_out] == [
        "countrate_correction_lookup_table", "odd", "long", "nested/array", "flatfield", "pixel_mask",
    ]  # fmt: skip
    assert "bytes where one belongs" in left_out[0].replace("a byte string", "bytes")
    assert metadata["count_time"] == 0.1
    assert metadata["small"] == -(2.0**64)
    assert metadata["nested"] == {"array": None}
    np.testing.assert_array_equal(metadata["flatfield"], PICTURE)


def test_tables_may_not_fill_the_memory() -> None:
    blob = (1 << 29).to_bytes(8, "big") + (1 << 29).to_bytes(4, "big") + (40).to_bytes(4, "big") + bytes(40)
    bomb = CBORTag(40, [[1 << 14, 1 << 13], CBORTag(70, CBORTag(56500, ["lz4", 0, blob]))])
    claims = CBORTag(40, [[LARGEST_FRAME], CBORTag(64, b"")])
    message = start(pixel_mask={str(one): bomb for one in range(100)}, flatfield={"a": claims})
    tracemalloc.start()
    metadata = start_of(message).metadata
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(metadata["left_out"]) == 101
    assert peak < 2 << 20


@pytest.mark.parametrize(
    "data",
    [
        CBORTag(40, [[1 << 14, 1 << 14], CBORTag(70, b"")]),
        CBORTag(1040, [[1 << 14, 1 << 14], CBORTag(66, b"")]),
        CBORTag(40, [[1 << 14, 1 << 14], CBORTag(70, CBORTag(56500, ["lz4", 0, bytes(100)]))]),
    ],
)
def test_nothing_is_allocated_for_pixels_that_were_not_sent(data: CBORTag) -> None:
    message = image(data={"threshold_1": data})
    tracemalloc.start()
    with pytest.raises(MalformedMessage):
        decode(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


# What we send.


@given(st.data())
def test_cbor2_reads_what_we_send(data: st.DataObject) -> None:
    """Frames of any number of channels, as DECTRIS' own example client takes them apart."""
    count, rows, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    kind = data.draw(st.sampled_from(["<u2", "<i4", "|u1", "<f8"]))
    pictures = np.arange(count * rows * columns).reshape(count, rows, columns).astype(kind)
    whole, chunk = ((count, rows, columns), (1, rows, columns)) if count > 1 else ((rows, columns), (rows, columns))
    times = {"start_time": data.draw(st.integers(0, 1 << 62)), "real_time": 7}
    frame = Frame(
        5, None, "12", FrameFormat(whole, kind, RAW, chunk), tuple(one.tobytes() for one in pictures), 0, times
    )
    encoder = dectris_v2.Encoder()
    names = [f"channel {number}" for number in range(count)]
    encoder.start(SeriesStart("12", metadata={"channels": names, "series_unique_id": "u"}))
    (message,) = encoder.frame(frame)
    read = cbor2.loads(bytes(message))
    assert (read["type"], read["series_id"], read["series_unique_id"], read["image_id"]) == ("image", 12, "u", 5)
    assert list(read["start_time"]) == [times["start_time"], 10**9]
    assert list(read["data"]) == names
    for one, picture in zip(read["data"].values(), pictures, strict=True):
        shape, content = one.value
        assert one.tag == 40
        np.testing.assert_array_equal(np.frombuffer(content.value, type_by_rfc(content.tag)).reshape(shape), picture)


def test_a_header_survives_the_round_trip() -> None:
    metadata = {
        "channels": ["a", "b"],
        "threshold_energy": [4000.0, 9000.0],
        "pixel_mask": np.arange(12, dtype="<u4").reshape(2, 2, 3),
        "flatfield": np.ones((2, 2, 3), "<f4"),
        "countrate_correction_lookup_table": np.arange(10, dtype="<u4"),
        "description": "détecteur № 1",
        "distance": 0.25,
        "bit_depth_image": 32,
        "count_time": np.float64(0.5),
        "goniometer": {"omega": {"start": 0.0, "increment": np.float32(0.5)}},
        "user_data": {"a": [None, True, {"b": b"\0\1"}]},
        "own": {"huge": 1 << 70, "text": ["x"], "when": np.datetime64("2026-01-01")},
    }
    (message,) = dectris_v2.Encoder().start(SeriesStart("3", None, None, 8, metadata))
    after = start_of(bytes(message))
    assert (after.series, after.frames) == ("3", 8)
    for name in (
        "channels",
        "threshold_energy",
        "description",
        "distance",
        "bit_depth_image",
        "count_time",
        "user_data",
    ):
        assert after.metadata[name] == metadata[name], name
    for name in ("pixel_mask", "flatfield", "countrate_correction_lookup_table"):
        np.testing.assert_array_equal(after.metadata[name], metadata[name])
        assert after.metadata[name].dtype == metadata[name].dtype
    assert after.metadata["goniometer"] == {"omega": {"start": 0.0, "increment": 0.5}}
    assert after.metadata["own"] == {"huge": str(1 << 70), "text": ["x"], "when": "2026-01-01"}
    assert "left_out" not in after.metadata


def test_one_mask_serves_all_channels() -> None:
    mask = np.eye(3, dtype="<u4")
    (message,) = dectris_v2.Encoder().start(SeriesStart("3", metadata={"channels": ["a", "b"], "pixel_mask": mask}))
    np.testing.assert_array_equal(start_of(bytes(message)).metadata["pixel_mask"], [mask, mask])


@pytest.mark.parametrize("names", [[None, None], ["scan 1", "scan 2"], ["9" * 30, "8" * 30]])
def test_series_that_have_no_number_get_one(names: list[str | None]) -> None:
    encoder, decoder = dectris_v2.Encoder(), dectris_v2.Decoder()
    form = FrameFormat((2, 3), "<u2", RAW, (2, 3))
    for number, name in enumerate(names):
        frame = Frame(0, None, name, form, (PICTURE.tobytes(),), 0)
        messages = [encoder.start(SeriesStart(name)), encoder.frame(frame), encoder.end(SeriesEnd(name))]
        events = [event for parts in messages for event in decoder.decode(parts, 0)]
        assert [event.series for event in events] == [str(number + 1)] * 3


def test_channels_without_names_get_dectris_names() -> None:
    form = FrameFormat((2, 2, 3), "<u2", RAW, (1, 2, 3))
    (message,) = dectris_v2.Encoder().frame(Frame(0, None, "1", form, (PICTURE.tobytes(),) * 2, 0))
    assert list(cbor2.loads(bytes(message))["data"]) == ["threshold_1", "threshold_2"]
