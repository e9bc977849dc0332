"""DECTRIS' stream version 2 sent through: several thresholds, their header in the file, and what senders get wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest
import zmq
from lz4.block import compress
from numpy.typing import NDArray

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.events import LZ4, RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.source import LARGEST_COPIED, Source
from bluesky_streamdet.transforms import lz4
from tests.unit.codecs.stream2 import IDS, array, compressed
from tests.wire.streams import LOOPBACK, PATIENCE, Rig, balanced, frame_numbers, until

pytestmark = pytest.mark.wire

SHAPE = (20, 30)
NAMES = ["threshold_1", "threshold_2", "difference"]
MASK = np.eye(*SHAPE, dtype="<u4")


def pictures(number: int) -> NDArray[np.uint32]:
    """Three of each image, none like another."""
    return np.random.default_rng(number).poisson(0.5, (3, *SHAPE)).astype("<u4")


SERIES_DATE = "2026-03-01T12:00:00.125+01:00"


def header(**more: Any) -> bytes:
    described = {
        "channels": NAMES,
        "count_time": 0.1,
        "detector_serial_number": "E-32-0117",
        "detector_translation": [0.1, 0.2, -0.25],
        "flatfield": {name: array(np.full(SHAPE, index + 1, "<f4")) for index, name in enumerate(NAMES)},
        "incident_energy": 12400.0,
        "number_of_images": 4,
        "pixel_mask": {name: compressed(MASK * (index + 1)) for index, name in enumerate(NAMES)},
        "threshold_energy": {"threshold_1": 4000.0, "threshold_2": 9000.0, "difference": 0.0},
    }
    return cbor2.dumps({"type": "start", **IDS, **described, **more})


def image(number: int, names: list[str] = NAMES, **more: Any) -> bytes:
    data = dict(zip(names, map(compressed, pictures(number)), strict=False))
    times = {
        "series_date": cbor2.CBORTag(0, SERIES_DATE),
        "start_time": [number * 3, 50_000_000],
        "stop_time": [number * 3 + 2, 50_000_000],
    }
    return cbor2.dumps({"type": "image", **IDS, "image_id": number, **times, "data": data, **more})


END = cbor2.dumps({"type": "end", **IDS})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    outputs = [{"address": LOOPBACK}, {"name": "second", "address": LOOPBACK, "encoder": "dectris_v2"}]
    rig = Rig(tmp_path, codec="dectris_v2", outputs=outputs)
    yield rig
    rig.close()


def test_three_thresholds_in_the_file_and_at_the_ports(rig: Rig) -> None:
    standard, same = rig.client(0), rig.client(1)
    report = rig.run([[header()], *[[image(number)] for number in range(4)], [END]])

    assert (report.outcome, report.ledger.expected, report.ledger.written) == (Outcome.COMPLETE, 4, 4)
    with h5py.File(str(report.file)) as file:
        data = file["/entry/data/data"]
        assert (data.shape, data.chunks) == ((4, 3, *SHAPE), (1, 1, *SHAPE))
        group = file["/entry/instrument/eiger"]
        for number in range(4):
            np.testing.assert_array_equal(data[number], pictures(number))
        assert group["start_time"][()].tolist() == [0.0, 60e-9, 120e-9, 180e-9]
        assert dict(group["stop_time"].attrs) == {"units": "s", "start": SERIES_DATE}
        assert group["threshold_energy"][()].tolist() == [4000.0, 9000.0, 0.0]
        assert group["threshold_energy"].attrs["units"] == "eV"
        assert group["serial_number"][()] == b"E-32-0117"
        assert group["distance"][()] == 0.25
        assert file["/entry/instrument/beam/incident_energy"][()] == 12400.0
        np.testing.assert_array_equal(group["pixel_mask"][()], [MASK, 2 * MASK, 3 * MASK])
        np.testing.assert_array_equal(group["flatfield"][:, 0, 0], [1, 2, 3])
        assert group["collection/channels"][()].tolist() == [name.encode() for name in NAMES]

    blob = compressed(pictures(2)[1]).value[1].value.value[2]
    got = [standard.next() for _ in range(6)]
    assert frame_numbers([one for one, _ in got]) == [0, 1, 2, 3]
    forwarded, parts = got[3]
    assert (forwarded["shape"], forwarded["chunks"]) == ([3, *SHAPE], [1, *SHAPE])
    assert parts[1] == blob
    messages = [cbor2.loads(same.socket.recv()) for _ in range(6)]
    assert [one["type"] for one in messages] == ["start", *["image"] * 4, "end"]
    assert messages[3]["data"]["threshold_2"].value[1].value.value[2] == blob
    assert list(messages[0]["channels"]) == list(messages[3]["data"]) == NAMES


def test_an_image_without_one_of_its_thresholds_is_counted_and_named(rig: Rig) -> None:
    broken = image(2, NAMES[:2])
    report = rig.run([[header()], [image(0)], [image(1)], [broken], [image(3)], [END]])

    assert report.outcome is Outcome.INCOMPLETE
    assert report.ledger.malformed == {"channel missing": 1}
    assert (report.ledger.written, report.ledger.missing) == (3, 1)
    assert "channel missing" in report.reason
    assert balanced(report.ledger)


def test_messages_that_are_glued_together(rig: Rig) -> None:
    report = rig.run([[header(), image(0)], [image(1), image(2), image(3), END]])

    assert (report.outcome, report.ledger.received, report.ledger.written) == (Outcome.COMPLETE, 4, 4)


def test_large_images_are_not_copied_out_of_the_socket() -> None:
    """What a format of one part sends is no header, however it begins; and its size counts for a batch."""
    large, small = bytes(LARGEST_COPIED + 1), bytes(LARGEST_COPIED)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sender = Sender(LOOPBACK, linger=0)
    source = Source(SourceConfig(endpoints=[sender.address]), context)
    try:
        for part in (large, large, small):
            sender.send([part], PATIENCE)
        taken: list[Any] = []
        until(lambda: taken, lambda: taken.extend(source.take(0, 10, 1)), "a message")
        assert [type(part) for (part,) in taken] == [memoryview]
        until(lambda: len(taken) == 3, lambda: taken.extend(source.take(0, 10, 1 << 30)), "the others")
        assert [type(part) for (part,) in taken] == [memoryview, memoryview, bytes]
        assert [bytes(part) for (part,) in taken] == [large, large, small]
    finally:
        taken.clear()
        sender.close()
        source.close()
        context.term()


@pytest.mark.parametrize("codec", ["dectris_v1", "dectris_v2"])
def test_lz4_alone_is_stored_as_the_filter_has_it(rigs: Callable[..., Rig], codec: str) -> None:
    rig = rigs(codec=codec)
    encoder = CODECS[codec].encoder()
    form = FrameFormat(SHAPE, "<u4", LZ4, SHAPE)
    frames = [Frame(number, None, "3", form, (lz4.encode(pictures(number)[0]),), 0) for number in range(3)]
    messages: list[Message] = [
        encoder.start(SeriesStart("3")),
        *map(encoder.frame, frames),
        encoder.end(SeriesEnd("3")),
    ]
    if codec == "dectris_v1":
        assert messages[1][2] == compress(pictures(0)[0].tobytes(), store_size=False)
    report = rig.run(messages)

    assert report.outcome is Outcome.COMPLETE
    with h5py.File(str(report.file)) as file:
        data = file["/entry/data/data"]
        for number in range(3):
            np.testing.assert_array_equal(data[number], pictures(number)[0])
            stored = data.id.read_direct_chunk((number, 0, 0))[1]
            assert struct.unpack_from(">QI", stored) == (pictures(0)[0].nbytes,) * 2


def test_frames_of_another_format_leave_as_version_2(rigs: Callable[..., Rig]) -> None:
    rig = rigs(codec="stins", outputs=[{"address": LOOPBACK, "encoder": "dectris_v2"}])
    client = rig.client()
    encoder = CODECS["stins"].encoder()
    form = FrameFormat(SHAPE, "<u4", RAW, SHAPE)
    frame = Frame(0, None, None, form, (pictures(0)[0].tobytes(),), 0)
    rig.run([encoder.start(SeriesStart(metadata={"count_time": 0.1})), encoder.frame(frame), encoder.end(SeriesEnd())])

    decoder = CODECS["dectris_v2"].decoder()
    start, got, end = [event for _ in range(3) for event in decoder.decode([client.socket.recv()], 0)]
    assert isinstance(start, SeriesStart) and isinstance(got, Frame) and isinstance(end, SeriesEnd)
    assert start.metadata["count_time"] == 0.1
    assert {start.series, got.series, end.series} == {"1"}
    assert got.format == form
    assert bytes(got.parts[0]) == frame.parts[0]
