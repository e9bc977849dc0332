"""How commands speak while they work, and how they are stopped; `service.progress` shows how far they are."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.progress import EVERY

LONGEST_VALUE = 80


def say(text: str) -> None:
    """A line for the user, at once, also where the output is a file."""
    typer.echo(text)
    sys.stdout.flush()


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second Ctrl-C ends the program on the spot."""
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Speed:
    """Frames and bytes per second, over the last second or so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since, self._counted = clock(), (0, 0)
        self._rates = (0.0, 0.0)

    def __call__(self, frames: int, nbytes: int) -> str:
        """Such as "98.7/s, 85.2 MB/s", from the totals until now."""
        elapsed = self._clock() - self._since
        if elapsed >= EVERY or not any(self._rates):
            if elapsed > 0:
                self._rates = ((frames - self._counted[0]) / elapsed, (nbytes - self._counted[1]) / elapsed / 1e6)
            if elapsed >= EVERY:
                self._since, self._counted = self._clock(), (frames, nbytes)
        return f"{self._rates[0]:.1f}/s, {self._rates[1]:.1f} MB/s"


def pair_of(text: str, what: str) -> tuple[int, int]:
    """Read "1065x1030" as two positive numbers. Raises `ConfigError`."""
    first, cross, second = text.lower().partition("x")
    if not (cross and first.isdecimal() and second.isdecimal() and int(first) and int(second)):
        raise ConfigError(f"{text!r} is no {what}.", "Write it as ROWSxCOLUMNS, such as 1065x1030.")
    return int(first), int(second)


def megabytes(nbytes: float) -> str:
    return f"{nbytes / 1e6:.1f} MB"


def printable(value: object, longest: int = LONGEST_VALUE) -> str:
    """What came over the wire, short, and without what a terminal would take for commands."""
    text = str(value)[:longest]
    return "".join(character if character.isprintable() else "?" for character in text)
