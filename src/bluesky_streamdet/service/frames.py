"""The latest frame in the forms that clients ask for: a picture, an array, or numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.events import Frame, FrameFormat
from bluesky_streamdet.service.picture import as_png
from bluesky_streamdet.service.problems import Refusal
from bluesky_streamdet.streaming.status import FrameReport, FrameTotal, values_of
from bluesky_streamdet.transforms import pixels
from bluesky_streamdet.transforms.masks import counts

MOST_NUMBERS = 1_000_000
"""Pixels of a frame that is sent as JSON; more would take a browser, and us, too long."""


class Latest(NamedTuple):
    """A frame to be sent: which it is, its pixels, and the record of its scalars."""

    report: FrameReport
    pixels: NDArray[Any]
    record: bytes


def _png(frame: Latest, factor: int) -> bytes:
    return as_png(frame.pixels, factor)


def _raw(frame: Latest, factor: int) -> bytes:
    return np.ascontiguousarray(_smaller(frame.pixels, factor)).tobytes()


def _npy(frame: Latest, factor: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, _smaller(frame.pixels, factor), allow_pickle=False)
    return buffer.getvalue()


def _json(frame: Latest, factor: int) -> bytes:
    array = _smaller(frame.pixels, factor)
    if array.size > MOST_NUMBERS:
        raise Refusal(
            413,
            "too_large",
            f"A frame of {array.size} pixels is too large for JSON; the limit is {MOST_NUMBERS}.",
            "Ask for ?downsample=N, or for application/x-npy.",
        )
    scalars = {name: value.tolist() for name, value in values_of(frame.report.scalars, frame.record).items()}
    # What is no number becomes null, as JSON has no word for it.
    return msgspec.json.encode(_description(frame.report, array) | {"data": array.tolist(), "scalars": scalars})


def _msgpack(frame: Latest, factor: int) -> bytes:
    array = np.ascontiguousarray(_smaller(frame.pixels, factor))
    scalars = [one.model_dump() for one in frame.report.scalars]
    values = {"data": array.tobytes(), "scalars": scalars, "record": frame.record}
    return msgspec.msgpack.encode(_description(frame.report, array) | values)


class Form(NamedTuple):
    """A way to send a frame."""

    media_type: str
    encode: Callable[[Latest, int], bytes]


FORMS: dict[str, Form] = {
    "png": Form("image/png", _png),
    "npy": Form("application/x-npy", _npy),
    "raw": Form("application/octet-stream", _raw),
    "json": Form("application/json", _json),
    "msgpack": Form("application/msgpack", _msgpack),
}
"""The first is what those get who take anything."""


def choose(accept: str) -> str:
    """The key of the form that an Accept header prefers. Raises `Refusal` when it takes none."""
    for wanted in _by_preference(accept):
        kind, _, subtype = wanted.partition("/")
        for name, form in FORMS.items():
            if wanted in {form.media_type, "*/*"} or (subtype == "*" and form.media_type.startswith(f"{kind}/")):
                return name
    offered = ", ".join(form.media_type for form in FORMS.values())
    raise Refusal(406, "not_acceptable", f"A frame can't be sent as {accept!r}.", f"Accept one of {offered}.")


def encode(name: str, report: FrameReport, parts: Sequence[bytes], factor: int) -> bytes:
    """A frame in the form `name`, blocks of `factor` x `factor` pixels taken together: means, of a picture maxima.

    Takes some milliseconds, so not in an event loop. Raises `Refusal`, `MalformedMessage` or `MissingLibrary`.
    """
    return FORMS[name].encode(_decoded(report, parts), factor)


def total_of(report: FrameReport, parts: Sequence[bytes]) -> FrameTotal:
    """Counts of a frame. Takes some milliseconds, so not in an event loop. Raises as `encode`."""
    return FrameTotal(series=report.series, number=report.number, total=counts(_decoded(report, parts).pixels))


def pixels_of(report: FrameReport, parts: Sequence[bytes], factor: int) -> NDArray[Any]:
    """The pixels of a frame, means of blocks of `factor` x `factor`. Raises `MalformedMessage` or `MissingLibrary`."""
    return _smaller(_decoded(report, parts).pixels, factor)


def _decoded(report: FrameReport, parts: Sequence[bytes]) -> Latest:
    record = b""
    if report.scalars:
        *parts, record = parts
    form = FrameFormat(report.shape, report.dtype, report.encoding, report.chunk)
    frame = Frame(report.number, None, report.series, form, tuple(parts), report.received)
    return Latest(report, pixels.decode(frame), record)


def headers_of(report: FrameReport, factor: int = 1) -> dict[str, str]:
    """Which frame it is and what its pixels are, for forms that can't say so themselves."""
    shape, dtype = report.shape, report.dtype
    if factor > 1:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        shape, dtype = (-(-rows // factor), -(-columns // factor)), "<f8"
    return {
        "X-Streamdet-Series": report.series or "",
        "X-Streamdet-Frame": str(report.number),
        "X-Streamdet-Received": str(report.received),
        "X-Streamdet-Shape": ",".join(map(str, shape)),
        "X-Streamdet-Dtype": dtype,
        "Cache-Control": "no-store",
    }


def _smaller(array: NDArray[Any], factor: int) -> NDArray[Any]:
    if factor == 1:
        return array
    return pixels.downsample(array.reshape(-1, array.shape[-1]) if array.ndim != 2 else array, factor)


def _description(report: FrameReport, array: NDArray[Any]) -> dict[str, Any]:
    return {
        "series": report.series,
        "number": report.number,
        "received": report.received,
        "shape": array.shape,
        "dtype": array.dtype.str,
    }


def _by_preference(accept: str) -> list[str]:
    """The media types of an Accept header, the most wanted first; those of quality 0 are left out."""
    wanted: list[tuple[float, str]] = []
    for one in accept.split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        quality = next((text.removeprefix("q=") for text in parameters if text.startswith("q=")), "1")
        try:
            wanted.append((float(quality), kind.lower()))
        except ValueError:
            wanted.append((0.0, kind.lower()))
    return [kind for quality, kind in sorted(wanted, key=lambda pair: -pair[0]) if quality > 0]
