"""Watching a monitor port: asking for the latest frame, now and then."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from bluesky_streamdet.cli.console import Speed, printable, say
from bluesky_streamdet.service.progress import EVERY

if TYPE_CHECKING:
    from bluesky_streamdet.cli.latest import LatestPictures
    from bluesky_streamdet.core.events import Frame
    from bluesky_streamdet.streaming.asking import MonitorClient

TURN = 0.1
ASK_EVERY = 0.5
"""Seconds between two questions."""


class End:
    """When to end by itself: after so many seconds or frames, None for never."""

    def __init__(self, seconds: float | None, frames: int | None) -> None:
        self._ends = None if seconds is None else time.monotonic() + seconds
        self._frames = frames

    def has_come(self, now: float, frames: int) -> bool:
        return (self._ends is not None and now >= self._ends) or (self._frames is not None and frames >= self._frames)


def watch_monitor(client: MonitorClient, pictures: LatestPictures, stop: threading.Event, end: End) -> None:
    """Say once a second which frame is the latest. Raises `MalformedMessage` for a port that is no monitor."""
    frame: Frame | None = None
    count, speed = 0, Speed()
    ask = tell = now = time.monotonic()
    while not stop.is_set() and not end.has_come(now, count + (_shown(frame) is not None)) and pictures.wanted:
        if now < ask:
            stop.wait(min(TURN, ask - now))
        elif (answer := client.ask(TURN)) is not None:
            count += 0 if frame is None else _steps(frame, answer)
            frame, ask = answer, time.monotonic() + ASK_EVERY
        now = time.monotonic()
        pictures.keep(_shown(frame), client.axis, now)
        if now >= tell:
            tell = now + EVERY
            say(_line(client, frame, speed(count, 0)))
    pictures.keep(_shown(frame), client.axis)
    say(_line(client, frame, speed(count, 0)))


def _steps(before: Frame, now: Frame) -> int:
    """How many frames there have been since. Their numbers begin anew with each series."""
    latest = 0 if before.series != now.series else before.number
    return now.number - latest if now.number >= latest else now.number


def _shown(frame: Frame | None) -> Frame | None:
    """The frame, unless it is the empty one that stands for none."""
    return frame if frame is not None and frame.number else None


def _line(client: MonitorClient, frame: Frame | None, speed: str) -> str:
    from bluesky_streamdet.cli.spectra import in_words, spectra_of

    if frame is None:
        return f"no answer from {client.address} yet"
    if not frame.number:
        return "no frame yet"
    of = "" if frame.series is None else f"series {printable(frame.series)}: "
    return f"{of}frame {frame.number}, {speed.partition(',')[0]}; {in_words(spectra_of(frame))}"
