"""Bluesky's documents as bytes, and back: msgpack, of plain values and NumPy's arrays. Nothing that is received is run.

What comes from outside is checked: its size, how deep it goes, that it is a document of a known kind with what each of
this kind has, and that arrays are as long as they say. An array travels as an extension of msgpack, number 1:
[type, shape, bytes], the type NumPy's, of booleans, numbers or text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage

ARRAY = 1
"""Number of the extension."""
LARGEST = 64 << 20
"""Bytes of a document; whoever has more to say has it in a file."""
ARRAY_TYPE = re.compile(r"[<|][biufcU][1-9][0-9]{0,5}")
MOST_AXES = 32


class Start(TypedDict):
    uid: str
    time: float


class Stop(TypedDict):
    uid: str
    run_start: str
    time: float
    exit_status: str


class Descriptor(TypedDict):
    uid: str
    run_start: str
    time: float
    data_keys: dict[str, dict[str, Any]]
    configuration: NotRequired[dict[str, dict[str, Any]]]
    object_keys: NotRequired[dict[str, list[str]]]


class Event(TypedDict):
    uid: str
    descriptor: str
    time: float
    seq_num: int
    data: dict[str, Any]
    timestamps: dict[str, Any]


class EventPage(TypedDict):
    uid: list[str]
    descriptor: str
    time: list[float]
    seq_num: list[int]
    data: dict[str, list[Any]]
    timestamps: dict[str, list[Any]]


class Resource(TypedDict):
    uid: str
    spec: str
    root: str
    resource_path: str
    resource_kwargs: dict[str, Any]


class Datum(TypedDict):
    resource: str
    datum_id: str
    datum_kwargs: dict[str, Any]


class DatumPage(TypedDict):
    resource: str
    datum_id: list[str]
    datum_kwargs: dict[str, list[Any]]


class StreamResource(TypedDict):
    uid: str
    data_key: str
    mimetype: str
    uri: str
    parameters: dict[str, Any]


class Range(TypedDict):
    start: int
    stop: int


class StreamDatum(TypedDict):
    uid: str
    stream_resource: str
    descriptor: str
    indices: Range
    seq_nums: Range


KINDS: dict[str, Any] = {
    "start": Start,
    "stop": Stop,
    "descriptor": Descriptor,
    "event": Event,
    "event_page": EventPage,
    "resource": Resource,
    "datum": Datum,
    "datum_page": DatumPage,
    "stream_resource": StreamResource,
    "stream_datum": StreamDatum,
}
"""What documents there are, and what each has at least. Source: the schemas of event-model 1.24."""


def encode(document: Mapping[str, Any]) -> bytes:
    """As bytes. NumPy's numbers become plain ones, sets lists, and what nobody else would understand its text.

    Raises `MalformedMessage` for what is too large, too deep, or has a name that is no text.
    """
    try:
        data = _ENCODER.encode(document)
        if len(data) > LARGEST:
            raise MalformedMessage("document too large", f"{len(data)} bytes")
    except (RecursionError, OverflowError, TypeError, ValueError) as error:
        raise MalformedMessage("not a document", str(error)) from error
    return data


def decode(name: str, data: Buffer) -> dict[str, Any]:
    """The document of the kind `name`. Raises `MalformedMessage`, and nothing else."""
    kind = KINDS.get(name)
    if kind is None:
        raise MalformedMessage("document of no known kind", name[:40])
    if memoryview(data).nbytes > LARGEST:
        raise MalformedMessage("document too large", f"{memoryview(data).nbytes} bytes")
    try:
        document = _DECODER.decode(data)
        # Checked, and kept with all that it has besides.
        msgspec.convert(document, kind)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise MalformedMessage("not a document", f"{name}: {error}") from error
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not ARRAY_TYPE.fullmatch(value.dtype.newbyteorder("<").str):
            return value.tolist()
        value = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
        return msgspec.msgpack.Ext(ARRAY, _ARRAY_ENCODER.encode([value.dtype.str, value.shape, value.tobytes()]))
    if isinstance(value, np.generic):
        plain = value.item()
        return str(plain) if isinstance(plain, np.generic) else plain
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _array(code: int, data: memoryview) -> Any:
    if code != ARRAY:
        raise ValueError(f"extension {code}")
    dtype_name, shape, content = _ARRAY_DECODER.decode(data)
    if not ARRAY_TYPE.fullmatch(dtype_name):
        raise ValueError(f"array of {dtype_name[:40]!r}")
    dtype = np.dtype(dtype_name)
    if len(shape) > MOST_AXES or any(length < 0 for length in shape):
        raise ValueError(f"array of shape {shape[:MOST_AXES]}")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"array of {len(content)} bytes and shape {shape}")
    # Of its own memory, and writable, as of any other document.
    return np.frombuffer(content, dtype).reshape(shape).copy()


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_DECODER = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=_array)
_ARRAY_ENCODER = msgspec.msgpack.Encoder()
_ARRAY_DECODER = msgspec.msgpack.Decoder(tuple[str, list[int], bytes])
