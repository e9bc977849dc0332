"""How long work shows itself: a bar on a terminal, a plain line each second elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

LINE_SECONDS = 1.0


class Meter:
    """Use it as a context; call `show` as often as you like.

    unit: of what is counted, such as "frames". total: None when nobody knows.
    """

    def __init__(self, unit: str, total: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._unit = unit
        self._total = total
        self._clock = clock
        self._shown_at = clock()
        self._shown = 0
        self._console = Console()
        self._progress: Progress | None = None

    def show(self, done: int, text: str = "") -> None:
        """So much is done; `text` says what else there is to say."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, text=text)
        elif self._clock() - self._shown_at >= LINE_SECONDS:
            rate = (done - self._shown) / (self._clock() - self._shown_at)
            of = "" if self._total is None else f" of {self._total}"
            print(f"{done}{of} {self._unit}, {rate:.0f}/s  {text}".rstrip(), flush=True)  # noqa: T201
            self._shown_at, self._shown = self._clock(), done

    def __enter__(self) -> Meter:
        if sys.stdout.isatty():
            columns: list[str | ProgressColumn] = [
                TextColumn("{task.completed:.0f} " + self._unit),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}"),
            ]
            self._progress = Progress(*columns, console=self._console)
            self._progress.add_task("", total=self._total, text="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
