"""A process that looks for peaks in one frame after another, and what it and its owner tell each other.

Both write MessagePack, each message behind its length, to the pipes at standard input and output. Pixels lie in memory
that they share. It ends when its owner has closed the pipe, or is gone.
"""

from __future__ import annotations

import mmap
import signal
import struct
import sys
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.geometry import described
from bluesky_streamdet.transforms.peaks import PeakFinder, Peaks, Search

LENGTH = struct.Struct("<I")
UNIT = 1.0
"""Size of a pixel where only distances in pixels matter."""


class SetUp(msgspec.Struct, tag=True, frozen=True):
    """What frames are like from now on.

    shape: (rows, columns) or (modules, rows, columns). places: what the detector's header says of beam and modules.
    beam: instead of that. masked: whether the shared memory holds a mask, a byte for each pixel.
    """

    shape: tuple[int, ...]
    search: Search
    places: dict[str, Any]
    beam: tuple[float, float] | None = None
    masked: bool = False


class Look(msgspec.Struct, tag=True, frozen=True):
    """A frame is in the shared memory."""

    dtype: str


class Answer(msgspec.Struct, frozen=True):
    """Its peaks, columns of `Peaks` as bytes; or why there are none."""

    columns: tuple[bytes, ...] = ()
    problem: str = ""

    @property
    def peaks(self) -> Peaks:
        fs, ss, intensity, snr = (np.frombuffer(column) for column in self.columns[:4])
        return Peaks(fs, ss, intensity, snr, np.frombuffer(self.columns[4], np.int64))


def write(pipe: BinaryIO, message: msgspec.Struct) -> None:
    body = msgspec.msgpack.encode(message)
    pipe.write(LENGTH.pack(len(body)) + body)
    pipe.flush()


def read(pipe: BinaryIO) -> bytes | None:
    """The next message; None when there will be none."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = pipe.read(length)
    return body if len(body) == length else None


class _Searcher:
    """Carries out what is asked. memory: file descriptor of what is shared."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._map = mmap.mmap(-1, 1)
        self._shape: tuple[int, ...] = ()
        self._finder: PeakFinder | str = "no frame was described"

    def obey(self, asked: SetUp | Look) -> Answer:
        try:
            if isinstance(asked, SetUp):
                self._shape = asked.shape
                self._finder = self._finder_of(asked)
                return Answer()
            if isinstance(self._finder, str):
                return Answer(problem=self._finder)
            image = self._pixels(np.dtype(asked.dtype))
            found = self._finder.find(image.reshape(self._finder.shape))
            return Answer(tuple(np.ascontiguousarray(column).tobytes() for column in found))
        except (ValueError, MemoryError) as error:
            return Answer(problem=str(error))

    def _finder_of(self, asked: SetUp) -> PeakFinder | str:
        try:
            geometry = described(asked.places, asked.shape, pixel=UNIT, beam=asked.beam)
        except StreamdetError as error:
            return str(error)
        return PeakFinder.of(geometry, asked.search, self._pixels(np.dtype(np.bool_)) if asked.masked else None)

    def _pixels(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        count = int(np.prod(self._shape))
        if len(self._map) < count * dtype.itemsize:
            self._map = mmap.mmap(self._memory, 0)
        return np.frombuffer(self._map, dtype, count)


def main() -> int:
    # Ctrl-C reaches the whole process group; the owner decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    searcher = _Searcher(int(sys.argv[1]))
    decoder = msgspec.msgpack.Decoder(SetUp | Look)
    while (body := read(sys.stdin.buffer)) is not None:
        write(sys.stdout.buffer, searcher.obey(decoder.decode(body)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
