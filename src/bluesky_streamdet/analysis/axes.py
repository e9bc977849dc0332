"""What the axes of a run's arrays mean: where the motors were, when it was, which energy a bin holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.analysis.runs import Run, Stream
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.described import Described
from bluesky_streamdet.devices.xspress3.maps import SEPARATORS

EVENT = "event"
POSITIONS = "positions"
"""The stream in which a fly scan says where its stage was."""
RECEIVED = "receive_time"
MOTOR = "_motor"
"""What comes after the name of a motor that an axis has, too, as of an energy scan."""
Coordinate = tuple[str | tuple[str, str], NDArray[Any], dict[str, str]]
"""Names of its axes, values, attributes."""


def frame_keys(stream: Stream) -> list[str]:
    """Data keys of frames, and not of what comes beside them."""
    arrays = [key for key in stream.external if len(stream.data_keys[key]["shape"]) >= 1]
    return [key for key in arrays if not any(_is_beside(stream, key, other) for other in arrays)]


def _is_beside(stream: Stream, key: str, other: str) -> bool:
    return key != other and key.startswith(other) and owner(stream, key) == owner(stream, other)


def owner(stream: Stream, key: str) -> str:
    """The device that a data key is of."""
    return stream.data_keys[key].get("object_name", key)


def the_detector(stream: Stream, wanted: str | None, *, spectra: bool) -> str:
    """The device whose frames are meant: `wanted`, the only one, or the only one with spectra, or with images.

    Raises `ConfigError`.
    """
    owners = list(dict.fromkeys(owner(stream, key) for key in frame_keys(stream)))
    found = owners if wanted is None else [one for one in owners if one == wanted]
    if wanted is None and len(owners) > 1:
        found = [one for one in owners if described_in(stream, one).calibrated is spectra]
    if len(found) == 1:
        return found[0]
    if not owners:
        raise ConfigError("The run has no frames.", "Were any taken, and is it the right stream?")
    which = f"no frames of {wanted!r}" if wanted else "frames of several detectors"
    raise ConfigError(f"The run has {which}.", f"Give detector=…, one of {', '.join(owners)}.")


def described_in(stream: Stream, device: str) -> Described:
    """What the descriptor says of an Xspress3: its energies and regions."""
    return Described(stream.metadata.get("configuration", {}).get(device, {}).get("data", {}), device)


def event_axis(run: Run, stream: Stream, length: int, device: str, axes: Collection[str] = ()) -> dict[str, Coordinate]:
    """Coordinates of the events: `time` (when each was), `receive_time` (when its frame came), motors by their keys.

    Positions that a run which was cut short does not have are nan. axes: of the array, for a motor to be called
    otherwise that has the name of one.
    """
    coordinates: dict[str, Coordinate] = {}
    if (times := stream.times) is not None:
        coordinates["time"] = _along(moments(np.rint(np.asarray(times) * 1e9)), length, {})
    if (received := column(stream, device, RECEIVED)) is not None:
        coordinates[RECEIVED] = _along(moments(stream.read(received)), length, {})
    for key, values, attributes in positions(run, stream):
        coordinates[f"{key}{MOTOR}" if key in axes else key] = _along(values, length, attributes)
    return coordinates


def positions(run: Run, stream: Stream) -> list[tuple[str, NDArray[Any], dict[str, str]]]:
    """Where the motors of a run were at each event: data keys, numbers, attributes.

    Of a motor that hints at what matters, such as its readback, that alone.
    """
    motors = set(run.start.get("motors") or ())
    streams = [stream, *([run[POSITIONS]] if POSITIONS in run else [])]
    return [
        (key, one.read(key), attributes_of(one, key)) for one in streams for key in one if _places(one, key, motors)
    ]


def _places(stream: Stream, key: str, motors: Collection[str]) -> bool:
    device = owner(stream, key)
    hinted = stream.metadata.get("hints", {}).get(device, {}).get("fields")
    return device in motors and not stream.data_keys[key]["shape"] and (not hinted or key in hinted)


def column(stream: Stream, device: str, name: str) -> str | None:
    """The data key of what a device says beside its frames, in either face's spelling."""
    return next((key for one in SEPARATORS if (key := f"{device}{one}{name}") in stream), None)


def dims_of(stream: Stream, key: str, ndim: int) -> list[str]:
    """Names of the axes of an array, the first of which is that of the events."""
    dims: Sequence[str] = stream.data_keys[key].get("dims") or ()
    return [EVENT, *(dims if len(dims) == ndim - 1 else [f"{key}_{axis}" for axis in range(ndim - 1)])]


def attributes_of(stream: Stream, key: str) -> dict[str, str]:
    """Its unit, if it has one."""
    units = stream.data_keys[key].get("units")
    return {"units": units} if units else {}


def moments(nanoseconds: NDArray[Any]) -> NDArray[np.datetime64]:
    """Times from numbers of ns since 1970."""
    return np.asarray(nanoseconds, np.int64).astype("datetime64[ns]")


def _along(values: NDArray[Any], length: int, attributes: dict[str, str]) -> Coordinate:
    if len(values) < length:
        empty = np.datetime64("NaT") if values.dtype.kind == "M" else np.nan
        values = np.concatenate([values, np.full((length - len(values), *values.shape[1:]), empty)])
    # Of several frames an event, each came at a time of its own.
    return EVENT if values.ndim == 1 else (EVENT, "frame"), values[:length], attributes
