"""From what the service answers to the arrays that Tango attributes have. Pure.

C is the number of channels. Spectra with auxiliary axes are laid out as (C * aux, bins), as Tango knows two axes only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bluesky_streamdet.core.errors import RequestRefused
from bluesky_streamdet.streaming.status import LatestFrame
from bluesky_streamdet.xspress3.tango_state import View

FACTOR = "dead_time_correction"
MISSING = -1
"""In place of a count of a frame that is not there."""


def spectra(frame: LatestFrame | None, view: View) -> NDArray[np.uint32]:
    """The spectra of a frame; zeros (C, bins) before the first."""
    if frame is None:
        return np.zeros((view.count("channels"), view.count("bins")), np.uint32)
    return flat(frame.pixels).astype(np.uint32, copy=False)


def scalar(frame: LatestFrame | None, view: View, name: str) -> NDArray[Any]:
    """Numbers (C,) of a frame, or (2, C) for the windows; zeros before the first. Raises `RequestRefused`."""
    if frame is None:
        shape = (2, view.count("channels")) if name == "window_counts" else (view.count("channels"),)
        return np.zeros(shape, np.float64)
    if name not in frame.scalars:
        raise RequestRefused(f"The frames have no {name}; they have {', '.join(frame.scalars) or 'no scalars'}.")
    return frame.scalars[name]


def corrected_spectra(frame: LatestFrame | None, view: View) -> NDArray[np.float64]:
    """The spectra of a frame times its dead-time factors."""
    if frame is None:
        return np.zeros((view.count("channels"), view.count("bins")))
    return flat(corrected(frame.pixels, scalar(frame, view, FACTOR)))


def window(frame: LatestFrame | None, view: View, *, number: int, correct: bool = False) -> NDArray[Any]:
    """The counts (C,) of window 0 or 1."""
    counts = scalar(frame, view, "window_counts")[number]
    return corrected(counts, scalar(frame, view, FACTOR)) if correct else counts.astype(np.uint32)


def counter(frame: LatestFrame | None, view: View, *, name: str) -> NDArray[np.uint32]:
    """A scalar (C,) that counts something."""
    return scalar(frame, view, name).astype(np.uint32)


def number(frame: LatestFrame | None, view: View, *, name: str) -> NDArray[np.float64]:
    """A scalar (C,) that is any number."""
    return finite(scalar(frame, view, name))


def corrected(counts: ArrayLike, factors: ArrayLike) -> NDArray[np.float64]:
    """Counts times the dead-time factors of their channels, the leading axis; 0 where there is no factor."""
    counts, factors = np.asarray(counts), finite(factors)
    return counts * factors.reshape(factors.shape + (1,) * (counts.ndim - factors.ndim))


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """Numbers with 0 in place of what is none, which not every client of Tango survives."""
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def flat(values: ArrayLike) -> NDArray[Any]:
    """Spectra as an image: rows of bins."""
    array = np.asarray(values)
    return np.ascontiguousarray(array.reshape(-1, array.shape[-1]))


def wanted_frames(argument: ArrayLike, channels: int) -> tuple[int, int, int]:
    """Channel, first and last frame counted from 0, of an argument [channel, first, last] that counts frames from 1.

    Raises `RequestRefused`.
    """
    values = [int(one) for one in np.ravel(argument)]
    if len(values) != 3:
        raise RequestRefused(f"{len(values)} numbers were given.", "Give channel, first frame and last frame.")
    channel, first, last = values
    checked_channel(channel, channels)
    first = max(first, 1)
    if last < first:
        raise RequestRefused(
            f"There are no frames from {first} to {last}.", "Count from 1, and give the last not before the first."
        )
    return channel, first - 1, last - 1


def checked_channel(channel: int, channels: int) -> int:
    """A channel that exists, counted from 0. Raises `RequestRefused`."""
    if not 0 <= channel < channels:
        raise RequestRefused(f"There is no channel {channel}.", f"The channels are 0 to {channels - 1}.")
    return channel


def counts_of(answer: Mapping[str, Any], *, correct: bool) -> NDArray[np.float64]:
    """Counts of a window, one for each frame, -1 for one that is not there.

    answer: {"counts": [..], "factors": [..]}, as the service says it.
    """
    counts = np.asarray(answer["counts"], np.float64)
    return np.where(counts < 0, MISSING, counts * finite(answer["factors"])) if correct else counts


def spectrum_of(answer: Mapping[str, Any]) -> tuple[NDArray[np.uint32], float]:
    """The spectrum in the answer about one channel of one frame, and its dead-time factor."""
    spectrum = np.asarray(answer["spectra"], np.uint32)
    return spectrum.reshape(-1), float(finite(answer["scalars"][FACTOR]).reshape(-1)[0])


def pair(argument: ArrayLike) -> tuple[float, float]:
    """Two numbers. Raises `RequestRefused` when there are more or fewer."""
    values = [float(one) for one in np.ravel(argument)]
    if len(values) != 2:
        raise RequestRefused(f"{len(values)} numbers were given, and two are wanted.")
    return values[0], values[1]


def window_of(argument: ArrayLike) -> tuple[int, int]:
    """First and last bin of a window. Raises `RequestRefused` when the first lies above the last."""
    low, high = (int(one) for one in pair(argument))
    if low > high:
        raise RequestRefused(f"The window from {low} to {high} is empty.", "Give the lower bin first.")
    return low, high


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object. Raises `RequestRefused`."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise RequestRefused(f"{text[:60]!r} is no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise RequestRefused(f"{text[:60]!r} is no JSON object.", 'Write it as {"channel": 0, ...}.')
    return values
