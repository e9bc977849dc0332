"""What every codec is made of, and the checks that they share.

A decoder takes the parts of one message and gives the events in it: usually one, none while a frame is incomplete. It
raises `MalformedMessage`, and nothing else, for whatever a peer may send; and it allocates nothing that a peer asks for
before the size has been checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import (
    BSLZ4,
    CBF,
    LZ4,
    MONO12P,
    RAW,
    Event,
    Frame,
    FrameFormat,
    SeriesEnd,
    SeriesStart,
)
from bluesky_streamdet.transforms import bslz4, cbf, lz4, mono12p

Message = list[Buffer]

LARGEST_FRAME = 1 << 30
"""Bytes of a decoded frame beyond which a header is taken for an error."""
LARGEST_HEADER = 16 << 20
"""Bytes of JSON beyond which nothing reads it: decoded, it takes ten times the memory."""
PYTHONS_NUMBERS = (b"NaN", b"Infinity")
MOST_DIMENSIONS = 4
LARGEST_NUMBER = 1 << 53
"""JSON's safe integers end here, so that no honest counter exceeds it."""

DTYPES = {
    name: np.dtype(name).newbyteorder("<").str
    for name in (
        *("int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
}
"""Names of pixel types on the wire, and NumPy's little-endian type string of each."""


class Decoder(Protocol):
    """Message parts to events. One decoder serves one stream, as it may remember what a header said."""

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        """The events of one message that was read at `received` (ns since 1970). Raises `MalformedMessage`."""
        ...


class Encoder(Protocol):
    """Events to messages, as the detector would send them.

    A message without parts is not sent: the format has no word for that event.
    """

    def start(self, start: SeriesStart) -> Message: ...

    def frame(self, frame: Frame) -> Message: ...

    def end(self, end: SeriesEnd) -> Message: ...


class FormatChecker:
    """Turns what a header says of a frame into a `FrameFormat`, once for each way of saying it."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], FrameFormat] = {}

    def __call__(self, shape: tuple[int, ...], dtype: str, encoding: str, chunk: tuple[int, ...] | None) -> FrameFormat:
        """The format, checked. Raises `MalformedMessage`."""
        key = (shape, dtype, encoding, chunk)
        form = self._known.get(key)
        if form is None:
            if len(self._known) > 100:
                self._known.clear()
            form = self._known[key] = checked_format(*key)
        return form


def checked_format(
    shape: tuple[int, ...], dtype: str, encoding: str = RAW, chunk: tuple[int, ...] | None = None
) -> FrameFormat:
    """What a header says of a frame, or of a table in it, as a format. Raises `MalformedMessage`."""
    if not 1 <= len(shape) <= MOST_DIMENSIONS or not all(1 <= size <= LARGEST_NUMBER for size in shape):
        raise MalformedMessage("impossible shape", f"{shape[: MOST_DIMENSIONS + 1]}")
    if dtype not in DTYPES:
        raise MalformedMessage("unknown pixel type", f"{dtype!r}; known are {', '.join(DTYPES)}")
    if encoding not in PAYLOAD_CHECKS:
        raise MalformedMessage("unknown compression", f"{encoding!r}; known are {', '.join(PAYLOAD_CHECKS)}")
    type_string = DTYPES[dtype]
    nbytes = math.prod(shape) * np.dtype(type_string).itemsize
    if nbytes > LARGEST_FRAME:
        raise MalformedMessage("shape too large", f"{shape} of {dtype} is {nbytes} bytes, the limit {LARGEST_FRAME}")
    return FrameFormat(shape, type_string, encoding, _chunk(shape, chunk))


def _chunk(shape: tuple[int, ...], chunk: tuple[int, ...] | None) -> tuple[int, ...]:
    if chunk is None or chunk == shape:
        return shape
    # Parts follow one another along the first axis, so that a chunk is whole in all others.
    if len(chunk) != len(shape) or chunk[1:] != shape[1:] or chunk[0] < 1 or shape[0] % chunk[0]:
        raise MalformedMessage("impossible chunks", f"{chunk[: MOST_DIMENSIONS + 1]} of {shape}")
    return chunk


def check_payload(form: FrameFormat, parts: Sequence[Buffer]) -> None:
    """Check number and lengths of the payload parts. Raises `MalformedMessage`."""
    if len(parts) != form.parts:
        raise MalformedMessage("wrong number of parts", f"{len(parts)} of payload instead of {form.parts}")
    wanted, itemsize, check = form.nbytes // form.parts, int(form.dtype[2:]), PAYLOAD_CHECKS[form.encoding]
    for part in parts:
        check(part, wanted, itemsize)


def _is_whole(part: Buffer, nbytes: int, itemsize: int) -> None:
    if (size := memoryview(part).nbytes) != nbytes:
        raise MalformedMessage(
            "payload too short" if size < nbytes else "payload too long", f"{size} of {nbytes} bytes"
        )


PAYLOAD_CHECKS: dict[str, Callable[[Buffer, int, int], None]] = {
    RAW: _is_whole,
    BSLZ4: bslz4.verify,
    LZ4: lz4.verify,
    CBF: cbf.verify,
    MONO12P: mono12p.verify,
}
"""For each encoding: raises `MalformedMessage` if a part can't be so many decoded bytes, of items of so many bytes."""


def check_number(number: int, what: str) -> int:
    """A frame or message number in its sane range. Raises `MalformedMessage`."""
    if not 0 <= number < LARGEST_NUMBER:
        raise MalformedMessage(f"impossible {what}", f"{number}")
    return number


def plain(value: Any) -> Any:
    """`value` as JSON can say it: arrays become nested lists, NumPy's scalars Python's."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def json_of(decoder: msgspec.json.Decoder[Any], part: Buffer) -> Any:
    """What `decoder` reads in `part`. Raises `MalformedMessage` for anything that it cannot read."""
    if (size := memoryview(part).nbytes) > LARGEST_HEADER:
        raise MalformedMessage("header too large", f"{size} bytes")
    try:
        try:
            return decoder.decode(part)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return _of_python(decoder, bytes(part))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        reason = "header without what it needs" if isinstance(error, msgspec.ValidationError) else "header is no JSON"
        raise MalformedMessage(reason, str(error)[:200]) from error


def _of_python(decoder: msgspec.json.Decoder[Any], part: bytes) -> Any:
    """The same where numbers are NaN or Infinity, which is no JSON, but what Python's own encoder writes of them."""
    if not any(word in part for word in PYTHONS_NUMBERS):
        return decoder.decode(part)
    try:
        value = json.loads(part.decode())
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error
    msgspec.json.encode(value)  # Half a surrogate pair, which no file and no output could hold, is refused by this.
    return msgspec.convert(value, decoder.type)
