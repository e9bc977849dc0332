"""Messages of DECTRIS' stream version 2, as cbor2 and HDF5's filters write them."""

from __future__ import annotations

from typing import Any

import cbor2
import h5py
import hdf5plugin
import numpy as np
from cbor2 import CBORTag
from numpy.typing import NDArray

from bluesky_streamdet.codecs import dectris_v2
from bluesky_streamdet.core.events import Event, Frame, SeriesStart
from tests.unit.codecs.test_typedarrays import TAGS_BY_RFC, type_by_rfc

TAG_OF = {type_by_rfc(tag): tag for tag in reversed(TAGS_BY_RFC)}


def array(values: NDArray[Any]) -> CBORTag:
    return CBORTag(40, [list(values.shape), CBORTag(TAG_OF[values.dtype.str], values.tobytes())])


def compressed(values: NDArray[Any], algorithm: str = "bslz4") -> CBORTag:
    """As HDF5's own filters compress it."""
    filters = {"bslz4": hdf5plugin.Bitshuffle(cname="lz4"), "lz4": hdf5plugin.LZ4()}
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("data", values.shape, values.dtype, chunks=values.shape, **filters[algorithm])
        data[()] = values
        data.flush()
        blob = data.id.read_direct_chunk((0,) * values.ndim)[1]
    element = values.itemsize if algorithm == "bslz4" else 0
    return CBORTag(
        40, [list(values.shape), CBORTag(TAG_OF[values.dtype.str], CBORTag(56500, [algorithm, element, blob]))]
    )


PICTURE = np.arange(6, dtype="<u2").reshape(2, 3)
IDS = {"series_id": 3, "series_unique_id": "abc"}


def start(**more: Any) -> bytes:
    return cbor2.dumps({"type": "start", **IDS, **more})


def image(number: int = 0, **more: Any) -> bytes:
    return cbor2.dumps({"type": "image", **IDS, "image_id": number, "data": {"threshold_1": array(PICTURE)}, **more})


END = cbor2.dumps({"type": "end", **IDS})


def decode(*messages: bytes) -> list[Event]:
    decoder = dectris_v2.Decoder()
    return [event for message in messages for event in decoder.decode([message], 0)]


def frame_of(message: bytes) -> Frame:
    (frame,) = decode(message)
    assert isinstance(frame, Frame)
    return frame


def start_of(message: bytes) -> SeriesStart:
    (event,) = decode(message)
    assert isinstance(event, SeriesStart)
    return event
