"""Streams of the three kinds there are, and a sink in memory that holds the receiver to its promises."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import StrEnum

from bluesky_streamdet.core.actions import Action, Begin, Deliver, Finish
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.core.series import Series

FORMAT = FrameFormat((4,), "<u2", RAW, (4,))

Message = SeriesStart | Frame | SeriesEnd


class Kind(StrEnum):
    """How a stream says which frame is which."""

    NUMBERED = "numbered"
    """Messages are numbered over all series; frames don't name theirs."""
    NAMED = "named"
    """Frames repeat the name of their series, and their number is their position."""
    BARE = "bare"
    """Frames have their number, and nothing else."""


def frame(number: int, position: int | None = None, series: str | None = None, payload: object = None) -> Frame:
    """A frame of 8 bytes, the same ones for the same number unless `payload` says otherwise."""
    content = f"{number if payload is None else payload}".encode()[-8:].rjust(8)
    return Frame(number, position, series, FORMAT, (content,), 0)


class Sender:
    """A detector that sends series after series. Each of its frames has a payload of its own."""

    _stamps = itertools.count()

    def __init__(self, kind: Kind, position: int = 0, series: int = 0) -> None:
        self.kind = kind
        self._position = position
        self._series = series

    def header(self, frames: int | None = None) -> SeriesStart:
        self._series += 1
        match self.kind:
            case Kind.NUMBERED:
                return SeriesStart(None, self._take(), None, frames)
            case Kind.NAMED:
                return SeriesStart(str(self._series), -1, None, frames)
            case Kind.BARE:
                return SeriesStart(None, None, None, frames)

    def frame(self, number: int) -> Frame:
        stamp = next(self._stamps)
        match self.kind:
            case Kind.NUMBERED:
                return frame(number, self._take(), None, stamp)
            case Kind.NAMED:
                return frame(number, number, str(self._series), stamp)
            case Kind.BARE:
                return frame(number, None, None, stamp)

    def end(self) -> SeriesEnd:
        match self.kind:
            case Kind.NUMBERED:
                return SeriesEnd(None, self._take())
            case Kind.NAMED:
                return SeriesEnd(str(self._series))
            case Kind.BARE:
                return SeriesEnd()

    def series(self, frames: int, announced: int | None = None) -> list[Message]:
        """Header, frames 0 to `frames` - 1, end."""
        return [self.header(announced), *(self.frame(number) for number in range(frames)), self.end()]

    def _take(self) -> int:
        self._position += 1
        return self._position - 1


class Sink:
    """Carries out actions in memory: each frame that is delivered is written at once.

    Fails when a series begins inside another, or anything is delivered to one that is not open.
    """

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.frames: list[list[Frame]] = []
        self.starts: list[SeriesStart | None] = []
        self.open: Series | None = None
        self.finished = 0

    def take(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Begin(series, start):
                    assert self.open is None, "a series begins inside another"
                    assert all(series is not one for one in self.series), "a series begins twice"
                    self.open = series
                    self.series.append(series)
                    self.frames.append([])
                    self.starts.append(start)
                case Deliver(series, frames):
                    assert self.open is series, "frames of a series that isn't open"
                    assert frames
                    self.frames[-1] += frames
                    series.ledger.written += len(frames)
                case Finish(series):
                    assert self.open is series, "a series that isn't open ends"
                    self.open = None
                    self.finished += 1

    @property
    def numbers(self) -> list[list[int]]:
        """Frame numbers of each series, as delivered."""
        return [[one.number for one in frames] for frames in self.frames]
