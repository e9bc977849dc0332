"""How far a long work is: a bar on a terminal or in a notebook, a plain line each second elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 1.0
"""Seconds between two plain lines."""
REDRAW = 0.2
"""Seconds between two pictures of the bar in a notebook, each of which is a message to the browser."""

Text = Callable[[], str]


class _Face(Protocol):
    def show(self, done: int, text: Text) -> None: ...

    def close(self) -> None: ...


class Ticker:
    """Shows how far a long work is: `total` steps, or nobody knows how many. Use it in a `with`."""

    def __init__(self, total: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._face: _Face
        if sys.stdout.isatty():
            self._face = _Terminal(total)
        elif _in_notebook():
            self._face = _Notebook(total, clock)
        else:
            self._face = _Lines(clock)

    def show(self, done: int, text: Text) -> None:
        """`done` steps are behind; `text` is called when it is time to say something."""
        self._face.show(done, text)

    def __enter__(self) -> Ticker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._face.close()


class _Terminal:
    def __init__(self, total: int | None) -> None:
        self._bar = _bar()
        self._task = self._bar.add_task("", total=total)
        self._bar.start()

    def show(self, done: int, text: Text) -> None:
        self._bar.update(self._task, completed=done, description=text())

    def close(self) -> None:
        self._bar.stop()


class _Notebook:
    """One line in the output of the cell, which stays with what was shown last."""

    def __init__(self, total: int | None, clock: Callable[[], float]) -> None:
        self._total = total
        self._clock = clock
        self._next = clock()
        self._shown: Any = None
        self._last: tuple[int, Text] | None = None

    def show(self, done: int, text: Text) -> None:
        self._last = (done, text)
        if self._clock() >= self._next:
            self._next = self._clock() + REDRAW
            self._draw(done, text())

    def close(self) -> None:
        if self._last is not None:
            self._draw(self._last[0], self._last[1]())

    def _draw(self, done: int, text: str) -> None:
        from IPython.display import display

        bar = f'<progress value="{done}" max="{self._total}"></progress> ' if self._total else ""
        content = {"text/plain": text, "text/html": f"{bar}{escape(text)}"}
        if self._shown is None:
            self._shown = display(content, raw=True, display_id=True)
        else:
            self._shown.update(content, raw=True)


class _Lines:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = clock() + EVERY

    def show(self, done: int, text: Text) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + EVERY
            # At once, also where the output is a file.
            sys.stdout.write(f"{text()}\n")
            sys.stdout.flush()

    def close(self) -> None: ...


def _bar() -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(BarColumn(), TextColumn("{task.description}", markup=False), transient=True)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; never imports IPython, which then is there already."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
