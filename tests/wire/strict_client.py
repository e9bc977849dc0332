"""A client that takes messages as CrystFEL's indexamajig does, but complains where that goes wrong without a word.

It asks by REQ and waits, for as long as it takes; a reply of at most 15 bytes is no frame, and it asks again at once; a
reply of several parts ends it. In a map, the first key counts that the wanted name begins with. What indexamajig would
log and lose, or misread silently, raises `Refused`.
"""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import dataclass, field
from typing import Any

import h5py
import msgpack
import numpy as np
import zmq
from numpy.typing import NDArray

SHORT = 15
DATA, PEAKS = "detector_data", "peak_list"
TYPES = {"<i4", "<f4"}


class Refused(AssertionError):
    """indexamajig would lose the frame, or take it for another one."""


@dataclass
class Got:
    """One frame as indexamajig has it: (ss, fs), headers by name, peaks (3, peaks) if it was asked for them."""

    image: NDArray[Any] | None
    headers: dict[str, int | float | str]
    peaks: NDArray[np.float64] | None = None

    @property
    def number(self) -> int:
        return int(self.headers["frame_number"])


@dataclass
class Reader:
    """What the command line asks for. panels: rows and columns that the geometry needs at least."""

    panels: tuple[int, int] = (1, 1)
    copy: list[str] = field(default_factory=lambda: ["frame_number"])
    energy: str | None = None
    distance: str | None = None
    image: bool = True
    peaks: bool = False

    def read(self, message: bytes) -> Got:
        pairs = _map(message)
        for index, (key, _) in enumerate(pairs):
            for other, _ in pairs[index + 1 :]:
                if key.startswith(other) or other.startswith(key):
                    raise Refused(f"one of the keys {key!r} and {other!r} is taken for the other")
        headers = {name: _header(_find(pairs, name), name) for name in self.copy}
        for name in (self.energy, self.distance):
            if name is not None and not (isinstance(_find(pairs, name), float) and float(_find(pairs, name)) > 0):
                raise Refused(f"{name} is {_find(pairs, name)!r}")
        image = self._image(_find(pairs, DATA)) if self.image else None
        return Got(image, headers, _peaks(_find(pairs, PEAKS)) if self.peaks else None)

    def _image(self, pairs: Any) -> NDArray[Any]:
        kind, shape, data = (_find(pairs, name) for name in ("type", "shape", "data"))
        if not isinstance(kind, str) or kind not in TYPES:
            raise Refused(f"the type is {kind!r}; the pixels of the frame before would be taken")
        if len(shape) != 2 or not all(type(one) is int for one in shape):
            raise Refused(f"the shape is {shape!r}")
        if not isinstance(data, bytes) or len(data) != shape[0] * shape[1] * 4:
            raise Refused(f"{len(data)} bytes of {type(data).__name__} for {shape}; it would read out of bounds")
        if shape[0] < self.panels[0] or shape[1] < self.panels[1]:
            raise Refused(f"panels of {self.panels} are outside of {shape}")
        return np.frombuffer(data, kind).reshape(shape)


def read_hdf5(message: bytes, data: str = "/entry/data/data", copy: tuple[str, ...] = ("/entry/frame_number",)) -> Got:
    """A whole file, as with `--data-format=hdf5`; headers by the last part of their paths."""
    with h5py.File(io.BytesIO(message)) as file:
        image = file[data][()]  # type: ignore[index]
        if image.ndim != 2:
            raise Refused(f"{image.shape} needs another geometry")
        if file[data].id.get_create_plist().get_nfilters():  # type: ignore[union-attr]
            raise Refused("a filter; the worker would end")
        values = {path.rpartition("/")[2]: file[path][()] for path in copy}  # type: ignore[index]
    return Got(image, {name: one.decode() if isinstance(one, bytes) else one.item() for name, one in values.items()})


def _map(message: bytes) -> list[tuple[str, Any]]:
    unpacker = msgpack.Unpacker(object_pairs_hook=list, max_buffer_size=0, strict_map_key=True)
    unpacker.feed(message)
    pairs = unpacker.unpack()
    if not isinstance(pairs, list) or not all(isinstance(one, tuple) for one in pairs):
        raise Refused("the first object is no map")
    return pairs


def _find(pairs: Any, name: str) -> Any:
    """What its reader finds: it compares over the length of the key in the map, and takes the first that fits."""
    if not isinstance(pairs, list):
        raise Refused(f"no map to find {name!r} in")
    for key, value in pairs:
        if not isinstance(key, str | bytes):
            raise Refused(f"the key {key!r}")
        key = key.decode() if isinstance(key, bytes) else key
        if name.startswith(key):
            if key != name:
                raise Refused(f"{key!r} is taken for {name!r}")
            return value
    raise Refused(f"couldn't find {name!r}")


def _header(value: Any, name: str) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refused(f"unrecognised type of {name}: {value!r}")
    if isinstance(value, str) and (not value or "\n" in value or len(value.encode()) > 16 << 10):
        raise Refused(f"the text of {name} can't be in a stream file")
    return value


def _peaks(pairs: Any) -> NDArray[np.float64]:
    columns = [_find(pairs, name) for name in ("fs", "ss", "intensity")]
    if not all(isinstance(column, list) for column in columns):
        raise Refused("peak list has wrong structure")
    if len({len(column) for column in columns}) > 1:
        raise Refused("peak list arrays do not have equal size")
    if not all(type(one) is float and math.isfinite(one) for column in columns for one in column):
        raise Refused("peaks that are no floats; their bits would be taken")
    return np.array(columns, np.float64)


class StrictClient:
    """One worker. poll: seconds after which it waits for the same request again (3 in indexamajig)."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        reader: Reader | None = None,
        poll: float = 0.02,
        text: bytes = b"next",
    ) -> None:
        self.reader = reader or Reader()
        self.skipped = self.timeouts = 0
        self._poll = poll
        self._text = text
        self._asked = False
        self.socket = context.socket(zmq.REQ)
        self.socket.linger = 0
        self.socket.connect(address)

    def ask(self) -> None:
        """Ask, unless it waits for an answer already."""
        if not self._asked:
            self.socket.send(self._text)
            self._asked = True

    def take(self) -> bytes | None:
        """One turn of its loop: a frame, or nothing."""
        self.ask()
        if not self.socket.poll(self._poll * 1000):
            self.timeouts += 1
            return None
        message = self.socket.recv()
        if self.socket.rcvmore:
            raise Refused("a reply of several parts; this worker would never ask again")
        self._asked = False
        if len(message) <= SHORT:
            self.skipped += 1
            self.ask()
            return None
        return message

    def next(self) -> Got | None:
        message = self.take()
        return None if message is None else self.reader.read(message)

    def close(self) -> None:
        self.socket.close()


def work(address: str, most: int) -> None:
    """A worker's process: prints the number of each frame when it has it, and never gives back the last of so many."""
    with zmq.Context() as context:
        worker = StrictClient(context, address, poll=0.2)
        try:
            print(json.dumps("ready"), flush=True)
            while most:
                got = worker.next()
                if got is not None:
                    print(json.dumps(got.number), flush=True)
                    most -= 1
            sys.stdin.read()
        finally:
            worker.close()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
