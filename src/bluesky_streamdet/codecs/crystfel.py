"""Frames as CrystFEL's indexamajig reads them from ZeroMQ, with `--data-format=msgpack`.

A message is one MessagePack map:

    {"frame_number": 17, "series_id": "run7", …,
     "peak_list": {"fs": [float, …], "ss": [float, …], "intensity": [float, …]},
     "detector_data": {"type": "<i4" | "<f4", "shape": [ss, fs], "data": <bin>}}

Its reader compares names only over the length of the key in the map, so that "beam" is found by who asks for
"beam_energy"; it takes the bits of an integer for those of a float in peaks; and it compares no length with the shape.
So all of this is checked here. Source: CrystFEL, libcrystfel/src/image-msgpack.c, of June 2026.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.transforms.masks import masked

PixelType = Literal["i4", "f4"]
Header = int | float | str

DATA, PEAKS = "detector_data", "peak_list"
ENERGY, DISTANCE = "beam_energy", "detector_distance"
"""Photon energy in eV, and distance from sample to detector in mm."""
NUMBER, SERIES, EVENT, TIME = "frame_number", "series_id", "event_id", "timestamp"
RESERVED = (DATA, PEAKS, ENERGY, DISTANCE, NUMBER, SERIES, EVENT, TIME)
"""Names that mean something; what else goes into a message must not look like one of them."""
FLAG = -1
"""What a pixel without counts is among integers."""
LONGEST_TEXT = 16 << 10
"""Bytes of a text that can be copied into a stream file."""
MOST_HEADERS = 300
SHORT = 15
"""A message of at most so many bytes is no frame, and is asked for again at once."""
LARGEST = (1 << 32) - 1
"""Bytes of pixels in one message."""
ALIGNMENT = 64
BEFORE = ("", "_", "__", "x_")
"""What may stand before a name that would be taken for another one."""

_encode = msgspec.msgpack.Encoder().encode


class PeakList(NamedTuple):
    """Peaks of one frame: pixels from its left and upper edge as the message has it, and counts; equal lengths."""

    fs: Sequence[float] | NDArray[Any]
    ss: Sequence[float] | NDArray[Any]
    intensity: Sequence[float] | NDArray[Any]


def headers_of(metadata: Mapping[str, Any]) -> dict[str, Header]:
    """What of `metadata` can be copied into a stream file, by names that are no beginnings of each other.

    Numbers and texts are; truths become 0 and 1, maps one name for each of their values ("sample.name"), and the rest
    is left out: lists, arrays, empty texts, numbers that are none.
    """
    plain: dict[str, Header] = {}
    for name, value in _flattened(metadata, ""):
        if len(plain) == MOST_HEADERS:
            break
        if (header := _header(value)) is not None:
            plain[name] = header
    names = apart(tuple(plain))
    return {names[name]: value for name, value in plain.items() if name in names}


@lru_cache(maxsize=64)
def apart(names: tuple[str, ...], others: tuple[str, ...] = RESERVED) -> dict[str, str]:
    """A name for each of `names` of which none is the beginning of another, or of one of `others`, or the reverse.

    What begins with another name, or is the beginning of one of `others`, gets "_" before it; where that does not help,
    it is left out.
    """
    chosen: dict[str, str] = {}
    taken = set(others)
    # The shortest first: of a motor and its setpoint, one wants to find the motor.
    for name in sorted(names, key=len):
        free = (new for new in (before + name for before in BEFORE) if not any(_collide(new, one) for one in taken))
        if (new := next(free, None)) is not None:
            taken.add(new)
            chosen[name] = new
    return chosen


def slab(
    image: NDArray[Any],
    kind: PixelType,
    flag: int = FLAG,
    saturation: float | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The picture as integers or floats of 32 bits, (ss, fs).

    image: of any number of dimensions and type; modules lie one below another. Pixels that hold no counts (see
    `transforms.masks`), and those of more than `saturation` counts, are `flag` or NaN. Counts that an integer of 32
    bits can't hold are the highest that it can. out: where to put it, of that shape and type.
    """
    image = image.reshape(shape_of(image.shape))
    if out is None:
        out = np.empty(image.shape, f"<{kind}")
    bad = masked(image) if image.dtype.kind in "iuf" else None
    if saturation is not None:
        # Compared as what pixels are: to make floats of them would take longer than all the rest.
        above = image > (saturation if image.dtype.kind == "f" else math.floor(saturation))
        bad = above if bad is None else np.logical_or(bad, above, out=bad)
    if kind == "i4" and (image.dtype.kind == "f" or image.dtype.itemsize > 4 or image.dtype == np.uint32):
        image = _clipped(image)
    with np.errstate(invalid="ignore", over="ignore"):
        np.copyto(out, image, casting="unsafe")
    if bad is not None and bad.any():
        np.copyto(out, flag if kind == "i4" else np.nan, where=bad)
    return out


def shape_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """(ss, fs) of a picture of any dimensions: modules, or rows of anything else, lie one below another."""
    if len(shape) < 2:
        return 1, math.prod(shape)
    return math.prod(shape[:-1]), shape[-1]


def message(
    image: NDArray[Any] | None,
    headers: Mapping[str, Header],
    peaks: PeakList | None = None,
    *,
    kind: PixelType = "i4",
    flag: int = FLAG,
    saturation: float | None = None,
    allocate: Callable[[int], NDArray[np.uint8]] = lambda nbytes: np.empty(nbytes, np.uint8),
) -> memoryview:
    """One frame as one map. image: left out for `--no-image-data`; otherwise as `slab` takes it. allocate: gives the
    memory that the message is made in, for so many bytes or more.

    Raises `ValueError` for keys of which one is the beginning of another, for an empty one, for peaks of unequal
    numbers, and for a picture that is too large.
    """
    names = (*headers, *((PEAKS,) if peaks is not None else ()), *((DATA,) if image is not None else ()))
    _check(names)
    head = bytearray(_map(len(names)))
    for name, value in headers.items():
        head += _encode(name) + _encode(value)
    if peaks is not None:
        head += _encode(PEAKS) + _encode(_checked(peaks))
    if image is None:
        return memoryview(bytes(head))
    ss, fs = shape_of(image.shape)
    nbytes = ss * fs * 4
    if not 0 < nbytes <= LARGEST:
        raise ValueError(f"a picture of {ss} x {fs} pixels has {nbytes} bytes; a message has at most {LARGEST}")
    head += _encode(DATA) + _map(3) + _encode("type") + _encode(f"<{kind}") + _encode("shape") + _encode([ss, fs])
    head += _encode("data") + struct.pack(">BI", 0xC6, nbytes)
    # The pixels are converted where they leave from, and lie where the processor likes it.
    begin = -len(head) % ALIGNMENT
    end = begin + len(head) + nbytes
    buffer = allocate(end)
    buffer[begin : begin + len(head)] = np.frombuffer(head, np.uint8)
    slab(image, kind, flag, saturation, buffer[begin + len(head) : end].view(f"<{kind}").reshape(ss, fs))
    return memoryview(buffer)[begin:end]


def _check(names: tuple[str, ...]) -> None:
    for name, following in _pairs(names):
        if not name:
            raise ValueError("a message can't have an empty key; it would be taken for each of the others")
        if following is not None and following.startswith(name):
            raise ValueError(f"the key {name!r} is the beginning of {following!r}, and would be taken for it")


@lru_cache(maxsize=64)
def _pairs(names: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """Each name and the next one in their order, which begins with it if any does."""
    ordered = sorted(names)
    return list(zip(ordered, [*ordered[1:], None], strict=True))


def _checked(peaks: PeakList) -> dict[str, list[float]]:
    columns = [np.asarray(column, np.float64).ravel() for column in peaks]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"peaks of {', '.join(str(len(column)) for column in columns)} fs, ss and intensities")
    known = np.isfinite(columns[0]) & np.isfinite(columns[1]) & np.isfinite(columns[2])
    return {name: column[known].tolist() for name, column in zip(PeakList._fields, columns, strict=True)}


def _map(size: int) -> bytes:
    return struct.pack(">B", 0x80 | size) if size < 16 else struct.pack(">BH", 0xDE, size)


def _clipped(image: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers that an integer of 32 bits can hold."""
    limits = np.iinfo(np.int32)
    if image.dtype.kind != "f":
        low = limits.min if image.dtype.kind == "i" else 0
        return np.clip(image, low, limits.max)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.clip(np.rint(image.astype(np.float64)), limits.min, limits.max), nan=0.0)


def _collide(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _flattened(metadata: Mapping[Any, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, value in metadata.items():
        name = before + "".join(one if one.isascii() and (one.isalnum() or one in "_.-") else "_" for one in str(key))
        if isinstance(value, Mapping):
            if len(before) < 200:
                yield from _flattened(value, f"{name}.")
        elif name:
            yield name, value


def _header(value: Any) -> Header | None:
    """A value as a stream file can have it; None for what it can't."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        text = "".join(one if one.isprintable() else " " for one in value).strip()
        return text.encode()[:LONGEST_TEXT].decode(errors="ignore") or None
    return None


def positive(*values: Any) -> float | None:
    """The first of these that is a positive number, as an energy and a distance have to be; its reader takes any."""
    numbers: Iterable[Any] = (value.item() if isinstance(value, np.generic) else value for value in values)
    for value in numbers:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return float(value)
    return None
