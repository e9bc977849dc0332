"""Messages that were assembled by hand from a vendor's description, with what they should be decoded to.

A capture is a YAML file: a list of messages, each with a title, its parts, and its events.

    - title: the second frame, two rows of three pixels
      parts:
        - text: '{"htype": "image", "frame": 1, "shape": [2, 3], "type": "uint16", "compression": "none"}'
        - hex: 0100 0200 0300 0400 0500 0600
      events:
        - {is: frame, number: 1, position: null, shape: [2, 3], dtype: <u2, pixels: [[1, 2, 3], [4, 5, 6]]}

A part is text, or hex, or cbor: hex with what is 'text' in single quotes.

An event says what it `is` (start, frame, or end) and any of its fields; those that it leaves out are not compared. Of
a frame, `shape`, `dtype`, `encoding` and `chunk` are those of its format, `pixels` are its decoded values, and
`scalars` the values that come with it, by name. The metadata of a start need not be complete either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bluesky_streamdet.core.events import Event, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.status import scalars_of, values_of
from bluesky_streamdet.transforms import pixels

KINDS = {SeriesStart: "start", Frame: "frame", SeriesEnd: "end"}


@dataclass(frozen=True)
class ByHand:
    """One message, and its events as the capture has them."""

    title: str
    parts: list[bytes]
    events: list[dict[str, Any]]


def read(path: Path) -> list[ByHand]:
    """The messages in the capture at `path`."""
    with path.open(encoding="utf-8") as file:
        entries = yaml.safe_load(file)
    return [ByHand(one["title"], [_part(part) for part in one["parts"]], one["events"]) for one in entries]


def _part(part: dict[str, str]) -> bytes:
    ((form, content),) = part.items()
    return {"text": str.encode, "hex": bytes.fromhex, "cbor": _mixed}[form](str(content))


def _mixed(content: str) -> bytes:
    return bytes.fromhex(re.sub("'([^']*)'", lambda text: text[1].encode().hex(), content))


def described(event: Event, like: dict[str, Any]) -> dict[str, Any]:
    """What `event` says of the fields that `like` has, in the same form."""
    return {name: _field(event, name, like[name]) for name in like}


def _field(event: Event, name: str, wanted: Any) -> Any:
    if name == "is":
        return KINDS[type(event)]
    if name == "pixels" and isinstance(event, Frame):
        return pixels.decode(event).tolist()
    if name == "scalars" and isinstance(event, Frame):
        values = values_of(scalars_of(event.format), bytes(event.scalars or b""))
        return {name: value.tolist() for name, value in values.items()}
    if name == "metadata" and isinstance(event, SeriesStart):
        return {key: _value(event.metadata.get(key)) for key in wanted}
    if name in {"shape", "dtype", "encoding", "chunk"} and isinstance(event, Frame):
        return _value(getattr(event.format, name))
    return _value(getattr(event, name))


def _value(value: Any) -> Any:
    """`value` as YAML would have it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
