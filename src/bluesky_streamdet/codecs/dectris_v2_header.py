"""The start message of DECTRIS' stream version 2, and what we make of it.

Quantities get the names of `core.metadata`; tables come by channel, and are put together in the order of the channels.
What is not listed here goes on under its own name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.codecs.cbor import Tag
from bluesky_streamdet.codecs.codec import LARGEST_FRAME, LARGEST_NUMBER
from bluesky_streamdet.codecs.typedarrays import COLUMN_MAJOR, ROW_MAJOR, TAGS, TYPES, packed, tagged, unpacked
from bluesky_streamdet.core.errors import MalformedMessage, MissingLibrary
from bluesky_streamdet.core.events import SeriesStart

BEFORE_FIRST_FRAME = -1
"""Position of a header, as images count from 0."""

RENAMED = {
    "countrate_correction_enabled": "countrate_correction_applied",
    "detector_description": "description",
    "detector_distance": "distance",
    "detector_serial_number": "serial_number",
    "flatfield_enabled": "flatfield_applied",
    "image_size_x": "x_pixels_in_detector",
    "image_size_y": "y_pixels_in_detector",
    "incident_energy": "photon_energy",
    "incident_wavelength": "wavelength",
    "pixel_mask_enabled": "pixel_mask_applied",
    "pixel_size_x": "x_pixel_size",
    "pixel_size_y": "y_pixel_size",
    "virtual_pixel_interpolation_enabled": "virtual_pixel_interpolation_applied",
}
"""DECTRIS' names that differ from ours."""
ORIGINALS = {ours: theirs for theirs, ours in RENAMED.items()}

TABLES = ("flatfield", "pixel_mask")
"""What comes as a map from channel to array."""
ARRAYS = ("countrate_correction_lookup_table",)
"""What is an array, or nothing that anybody can read."""
OF_THE_MESSAGE = ("type", "series_id", *TABLES, "threshold_energy")
"""Keys that do not go on as they are."""
LEFT_OUT = "left_out"
"""Our name for what a header held and nobody can read."""
LARGEST_NESTED = 1000
"""Elements of an array that lies within something else."""
LONGEST_BYTES = 1 << 20
"""Bytes of a byte string that is no array."""
LONGEST_COMPLAINT = 300
USUAL_CHANNEL = "threshold_1"
PIXEL_TYPE = re.compile(r"u?int(8|16|32|64)")


def series_of(message: Mapping[str, Any]) -> str | None:
    """By which name the frames of a series are known: its number, or what is unique where there is none."""
    number, unique = message.get("series_id"), message.get("series_unique_id")
    if type(number) is int and number >= 0:
        return str(number)
    return unique if isinstance(unique, str) and unique else None


def channels_of(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the channels, in order; none where the header does not say."""
    channels = message.get("channels")
    if isinstance(channels, list) and all(isinstance(one, str) for one in channels):
        return tuple(dict.fromkeys(channels))
    return ()


def series_start(message: Mapping[str, Any]) -> SeriesStart:
    """What a start message says. What it holds and nobody can read is left out, and named."""
    values = _Values(channels_of(message))
    metadata: dict[str, Any] = {}
    for key, value in message.items():
        if key not in OF_THE_MESSAGE:
            metadata[RENAMED.get(key, key)] = values.array(key, value) if key in ARRAYS else values.plain(key, value)
    for name in TABLES:
        if name in message:
            metadata |= values.by_channel(name, message[name])
    metadata |= _energies(message.get("threshold_energy"), values.channels)
    metadata |= _derived(metadata)
    metadata["user_data"] = user_data = _user_data(metadata.get("user_data"))
    metadata[LEFT_OUT] = values.left_out or None
    images = message.get("number_of_images")
    frames = images if type(images) is int and 0 < images < LARGEST_NUMBER else None
    metadata = {name: value for name, value in metadata.items() if value is not None}
    return SeriesStart(series_of(message), BEFORE_FIRST_FRAME, _filename(user_data), frames, metadata)


class _Values:
    """Arrays and other values of one header, without CBOR's tags. left_out: what nobody can read, and why."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.channels = channels
        self.left_out: list[str] = []
        self._room = LARGEST_FRAME  # bytes of all arrays together

    def by_channel(self, name: str, table: Any) -> dict[str, NDArray[Any]]:
        """The tables of all channels as one array; where they are not of all, each under a name of its own."""
        if not isinstance(table, dict):
            self.left_out.append(f"{name}: no map of arrays")
            return {}
        arrays = {channel: array for channel, one in table.items() if (array := self.array(name, one)) is not None}
        channels = self.channels or tuple(arrays)
        if len(arrays) == 1 and len(channels) == 1:
            return {name: next(iter(arrays.values()))}
        if arrays and arrays.keys() == set(channels) and len({one.shape for one in arrays.values()}) == 1:
            return {name: np.stack([arrays[channel] for channel in channels])}
        return {f"{name}_{channel}": array for channel, array in arrays.items()}

    def plain(self, name: str, value: Any, level: int = 0) -> Any:
        """`value` as what it is: an array, or within other things a list; None for what nobody can read."""
        if isinstance(value, Tag):
            if value.number not in TYPES and value.number not in (ROW_MAJOR, COLUMN_MAJOR):
                return self.plain(name, value.value, level)
            array = self.array(name, value, 8 * LARGEST_NESTED if level else LARGEST_FRAME)
            return array.tolist() if level and array is not None else array
        if isinstance(value, dict):
            return {key: self.plain(f"{name}/{key}", one, level + 1) for key, one in value.items()}
        if isinstance(value, list):
            return [self.plain(name, one, level + 1) for one in value]
        if isinstance(value, memoryview):
            if len(value) <= LONGEST_BYTES:
                return bytes(value)
            self.left_out.append(f"{name}: {len(value)} bytes"[:LONGEST_COMPLAINT])
            return None
        # What is beyond 64 bits has no place in files, nor in JSON.
        return float(value) if type(value) is int and value < -(1 << 63) else value

    def array(self, name: str, value: Any, most: int = LARGEST_FRAME) -> NDArray[Any] | None:
        """The array in `value`, of at most so many bytes; None for what nobody can read."""
        try:
            array = unpacked(packed(value), min(most, self._room))
        except (MalformedMessage, MissingLibrary) as error:
            self.left_out.append(f"{name}: {error}"[:LONGEST_COMPLAINT])
            return None
        self._room -= array.nbytes
        return array


def _energies(energies: Any, channels: Sequence[str]) -> dict[str, Any]:
    """The energies of the channels in their order, in eV; and all that the header has, by name."""
    if not isinstance(energies, dict):
        return {"threshold_energy": energies if isinstance(energies, int | float) else None}
    numbers = {name: energy for name, energy in energies.items() if isinstance(energy, int | float)}
    values = [numbers[channel] for channel in channels or numbers if channel in numbers]
    found = {"threshold_energies": numbers} if numbers else {}
    return found | ({"threshold_energy": values[0] if len(values) == 1 else values} if values else {})


def _derived(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the header says in other words: the distance, by where the detector is; bits of a pixel, by its type."""
    found: dict[str, Any] = {}
    match metadata.get("detector_translation"):
        case [_, _, int() | float() as along] if "distance" not in metadata:
            found["distance"] = abs(along)
    if matched := PIXEL_TYPE.fullmatch(str(metadata.get("image_dtype"))):
        found["bit_depth_image"] = int(matched[1])
    return found


def _user_data(value: Any) -> Any:
    """The user's own data: what a JSON text says, or a text that is none, or whatever CBOR it is."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return msgspec.json.decode(value) if value else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return value if isinstance(value, str) else value.decode(errors="replace")


def _filename(user_data: Any) -> str | None:
    """What the user's data propose as a name. Jungfraujoch has another word for it."""
    if isinstance(user_data, dict):
        for key in ("filename", "file_prefix"):
            if isinstance(proposed := user_data.get(key), str):
                return proposed
    return None


def start_message(start: SeriesStart, series: Mapping[str, Any]) -> dict[str, Any]:
    """The start message that says what `start` does; `series` are its entries that name the series."""
    metadata = {name: value for name, value in start.metadata.items() if name != LEFT_OUT}
    channels = [str(one) for one in metadata.get("channels", ())]
    message: dict[str, Any] = {"type": "start", **series}
    message |= _tables_of(metadata, channels)
    message |= _energies_of(metadata, channels)
    message |= {ORIGINALS.get(name, name): _encodable(value) for name, value in metadata.items()}
    if "distance" in metadata:
        message.setdefault("detector_translation", _translation(metadata))
    if isinstance(bits := message.pop("bit_depth_image", None), int):
        message.setdefault("image_dtype", f"uint{bits}")
    if start.frames is not None:
        message["number_of_images"] = start.frames
    if start.filename:
        message.setdefault("user_data", json.dumps({"filename": start.filename}))
    return message


def _tables_of(metadata: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
    """Takes out of `metadata` the tables that a start message has by channel."""
    found: dict[str, Any] = {}
    for name in TABLES:
        if isinstance(table := metadata.get(name), np.ndarray):
            each = table.ndim > 2 and len(table) == len(channels)
            names = channels or [USUAL_CHANNEL]
            found[name] = {one: tagged(table[place] if each else table) for place, one in enumerate(names)}
            del metadata[name]
    return found


def _energies_of(metadata: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
    """Takes out of `metadata` the energies of the thresholds."""
    energies = metadata.pop("threshold_energy", None)
    named = metadata.pop("threshold_energies", None)
    if named is None and energies is not None:
        named = dict(zip(channels or [USUAL_CHANNEL], np.ravel(energies).tolist(), strict=False))
    return {} if named is None else {"threshold_energy": named}


def _translation(metadata: Mapping[str, Any]) -> list[float]:
    """Where the detector is, in m, as DECTRIS says it: the beam's centre on it, and the distance backwards."""
    pixels = [float(metadata.get(f"beam_center_{axis}", 0.0)) for axis in "xy"]
    sizes = [float(metadata.get(f"{axis}_pixel_size", 0.0)) for axis in "xy"]
    return [pixels[0] * sizes[0], pixels[1] * sizes[1], -float(metadata["distance"])]


def _encodable(value: Any) -> Any:
    """`value` as CBOR can say it."""
    if isinstance(value, np.ndarray):
        return tagged(value) if value.dtype.str in TAGS else _encodable(value.tolist())
    if isinstance(value, np.generic):
        return _encodable(value.item())
    if isinstance(value, Mapping):
        return {str(key): _encodable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(one) for one in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value if isinstance(value, str | bytes | int | float | None) else str(value)
