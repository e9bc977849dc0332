from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cbor2
import h5py
import hdf5plugin
import numpy as np
import pytest
from lz4.block import decompress
from numpy.typing import NDArray

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs import dectris_v1
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import LZ4, Frame, FrameFormat, SeriesStart
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from bluesky_streamdet.transforms import lz4, pixels
from tests.conftest import Recordings
from tests.unit.codecs.buffers import BUFFERS


class TestDectrisVersion1(DecoderContract):
    codec = CODECS["dectris_v1"]
    by_hand = Path(__file__).parents[2] / "data/dectris-v1-by-hand.yaml"
    series = "14"
    dtypes = ("uint8", "uint16", "uint32")
    multipart = False
    appendices = 1
    buffers = BUFFERS


HEADER = b'{"htype":"dheader-1.0","series":1,"header_detail":"%s"}'
TABLE = b'{"htype":"dflatfield-1.0","shape":%s,"type":"%s"}'
IMAGE = b'{"htype":"dimage-1.0","series":1,"frame":0,"hash":""}'
DATA = b'{"htype":"dimage_d-1.0","shape":[2,4],"type":"uint8","encoding":"<","size":8%s}'
TIMES = b'{"htype":"dconfig-1.0","start_time":1,"stop_time":2,"real_time":1}'


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4"])
@pytest.mark.parametrize("framed", [False, True])
def test_lz4_without_a_header_gets_that_of_the_filter(dtype: str, framed: bool) -> None:
    """As the manual has it, "without any additional data like block size"; what has them all the same, keeps them."""
    picture = np.random.default_rng(0).poisson(0.5, (30, 40)).astype(dtype)
    form = FrameFormat((30, 40), dtype, LZ4, (30, 40))
    sent = Frame(0, 0, "1", form, (lz4.encode(picture),), 0)
    parts = dectris_v1.Encoder().frame(sent)
    assert json.loads(bytes(parts[1])) == {
        "htype": "dimage_d-1.0", "shape": [40, 30], "type": np.dtype(dtype).name, "encoding": "lz4<",
        "size": len(parts[2]),
    }  # fmt: skip
    assert decompress(parts[2], uncompressed_size=picture.nbytes) == picture.tobytes()
    if framed:
        parts[1:3] = [bytes(parts[1]).replace(b'"size":%d' % len(parts[2]), b'"size":null'), sent.parts[0]]
    (frame,) = dectris_v1.Decoder().decode(parts, 0)
    assert isinstance(frame, Frame)
    assert (frame.format, [bytes(part) for part in frame.parts]) == (form, [sent.parts[0]])
    np.testing.assert_array_equal(pixels.decode(frame), picture)


def header_all(table: bytes, blob: bytes) -> Message:
    return [HEADER % b"all", b"{}", *[table, blob] * 3]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([IMAGE, DATA % b"", b"12345678"], "wrong number of parts"),
        ([IMAGE, DATA % b"", b"12345678", TIMES, b"{}", b"{}"], "wrong number of parts"),
        ([IMAGE, DATA % b"", b"1234567", TIMES], "payload of another size"),
        ([IMAGE, DATA % b',"size":7', b"1234567", TIMES], "payload too short"),
        ([IMAGE, DATA % b',"size":9', b"123456789", TIMES], "payload too long"),
        ([IMAGE, DATA % b',"encoding":"zstd<"', b"12345678", TIMES], "unknown compression"),
        ([IMAGE, DATA % b',"encoding":"lz4<"', b"12345678", TIMES], "compressed blob does not decode"),
        ([IMAGE, DATA % b',"encoding":"lz4<","size":0', b"", TIMES], "compressed blob cut or too long"),
        ([IMAGE, DATA % b',"shape":[1000000000,1000000000]', b"12345678", TIMES], "shape too large"),
        ([IMAGE, DATA % b"", b"12345678", b'{"start_time":9223372036854775808}'], "header without what it needs"),
        ([IMAGE, DATA % b"", b"12345678", b'{"real_time":-1}'], "header without what it needs"),
        ([b'{"htype":"dimage-1.0","series":1,"frame":-1}', DATA % b"", b"12345678", TIMES], "impossible frame number"),
        ([HEADER % b"all", b"{}"], "wrong number of parts"),
        ([HEADER % b"basic"], "wrong number of parts"),
        ([HEADER % b"basic", b"{}", b"{}", b"{}"], "wrong number of parts"),
        ([HEADER % b"some", b"{}"], "unknown header detail"),
        (header_all(TABLE % (b"[2,4]", b"uint8"), b"1234567"), "table of another size in the header"),
        (header_all(TABLE % (b"[1000000000,1000000000]", b"uint8"), b""), "shape too large"),
        (header_all(TABLE % (b"[2,4]", b"object"), b"12345678"), "unknown pixel type"),
        (header_all(TABLE % (b"[]", b"uint8"), b"1"), "impossible shape"),
        ([b'{"htype":"dseries_end-1.0","series":1}', b"{}"], "wrong number of parts"),
        ([b'{"htype":"dheader-2.0","series":1}'], "header without what it needs"),
        ([], "empty message"),
    ],
)
def test_each_fault_has_its_reason(parts: Message, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        dectris_v1.Decoder().decode(parts, 0)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("appendix", "kept", "filename"),
    [
        (b"", None, None),
        (b"plain words", "plain words", None),
        (b"\xff\xfe", None, None),
        (b'{"filename": 3}', {"filename": 3}, None),
        (b'{"filename": "x"}', {"filename": "x"}, "x"),
        (b"[" * 100_000, "[" * 100_000, None),
        (b"9" * 5000, "9" * 5000, None),
    ],
)
def test_an_appendix_may_hold_anything(appendix: bytes, kept: Any, filename: str | None) -> None:
    (start,) = dectris_v1.Decoder().decode([HEADER % b"basic", b"{}", appendix], 0)
    assert isinstance(start, SeriesStart)
    assert (start.metadata.get("header_appendix"), start.filename) == (kept, filename)


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"nimages": 10, "ntrigger": 3}, 30),
        ({"nimages": 10}, 10),
        ({"nimages": 0}, None),
        ({"nimages": "10"}, None),
        ({"nimages": 2**40, "ntrigger": 2**40}, None),
        ({}, None),
    ],
)
def test_how_many_frames_are_announced(settings: dict[str, Any], frames: int | None) -> None:
    (start,) = dectris_v1.Decoder().decode([HEADER % b"basic", json.dumps(settings).encode()], 0)
    assert isinstance(start, SeriesStart) and start.frames == frames


def test_tables_survive_the_round_trip() -> None:
    flatfield = np.linspace(0, 1, 6, dtype="<f4").reshape(2, 3)
    tables = {
        "flatfield": flatfield,
        "pixel_mask": np.arange(6, dtype="<u4").reshape(2, 3),
        "countrate_correction_table": np.ones((2, 5), "<f4"),
    }
    start = SeriesStart("3", None, None, None, {**tables, "count_time": np.float64(0.5), "header_appendix": {"a": 1}})
    (after,) = dectris_v1.Decoder().decode(dectris_v1.Encoder().start(start), 0)
    assert isinstance(after, SeriesStart)
    assert (after.metadata["count_time"], after.metadata["header_appendix"]) == (0.5, {"a": 1})
    for name, table in tables.items():
        np.testing.assert_array_equal(after.metadata[name], table)
        assert after.metadata[name].dtype == table.dtype


def recorded(path: Path) -> Iterator[list[bytes]]:
    """The messages of a recording: tag 42877 (number, {name: tag 42878 (type, parts)}), one CBOR item each."""
    with zipfile.ZipFile(path) as archive:
        stream = BytesIO(archive.read(archive.namelist()[0]))
    decoder = cbor2.CBORDecoder(stream)
    while stream.tell() < len(stream.getbuffer()):
        _, sources = decoder.decode().value
        (source,) = sources.values()
        yield source.value[1]


def decoded_by_hdf5(blob: bytes, shape: tuple[int, int], dtype: str) -> NDArray[Any]:
    """The pixels in `blob` as another library reads them: HDF5, with the filter of hdf5plugin."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        bitshuffle = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        dataset = file.create_dataset("data", shape, dtype, chunks=shape, **bitshuffle)
        dataset.id.write_direct_chunk((0, 0), blob)
        return dataset[()]


def test_the_recording_of_a_real_detector(test_data: Recordings) -> None:
    header, *images = recorded(test_data / "eiger1/eiger1-1M-9frames.cbors.zip")
    decoder = dectris_v1.Decoder()
    (start,) = decoder.decode(header, 0)
    assert isinstance(start, SeriesStart)
    assert (start.series, start.filename, start.frames) == ("14", "", 100_000)
    assert start.metadata["serial_number"] == "E-02-0153"
    assert start.metadata["photon_energy"] == 8000
    assert start.metadata["flatfield"].shape == start.metadata["pixel_mask"].shape == (1065, 1030)
    assert np.count_nonzero(start.metadata["pixel_mask"]) == 38129
    assert start.metadata["countrate_correction_table"].shape == (2, 4000)
    assert len(images) == 9
    for number, parts in enumerate(images):
        (frame,) = decoder.decode(parts, 0)
        assert isinstance(frame, Frame)
        assert (frame.number, frame.position, frame.series) == (number, number, "14")
        assert (frame.format.shape, frame.format.dtype) == ((1065, 1030), "<u4")
        assert struct.unpack_from(">QI", parts[2]) == (1065 * 1030 * 4, 8192)
        np.testing.assert_array_equal(pixels.decode(frame), decoded_by_hdf5(parts[2], (1065, 1030), "<u4"))
