"""How commands speak while they work: a bar on a terminal, a plain line each second elsewhere; and how they are
stopped.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import typer

from bluesky_streamdet.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 1.0
"""Seconds between two plain lines."""
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


class Ticker:
    """Shows how far a long work is: `total` steps, or nobody knows how many.

    On a terminal it is a bar with a text; elsewhere the text is printed once a second.
    """

    def __init__(self, total: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + EVERY
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if sys.stdout.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("", total=total)
            self._bar.start()

    def show(self, done: int, text: Callable[[], str]) -> None:
        """`done` steps are behind; `text` is called when it is time to say something."""
        now = self._clock()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=text())
        elif now >= self._next:
            self._next = now + EVERY
            say(text())

    def __enter__(self) -> Ticker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar() -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(BarColumn(), TextColumn("{task.description}", markup=False), transient=True)


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
