"""Places for pictures in tests: one that keeps them, one that holds the plot up until it is told otherwise."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

PATIENCE = 10.0


class Kept:
    """Keeps what it is shown, in `pictures`; each is drawn once, so that what can't be drawn shows."""

    def __init__(self) -> None:
        self.pictures: list[Any] = []
        self.begun = 0
        self._news = threading.Condition()

    def begin(self) -> None:
        self.begun += 1

    def show(self, picture: Any) -> None:
        picture.draw(Figure(figsize=picture.size))
        with self._news:
            self.pictures.append(picture)
            self._news.notify_all()

    def wait(self, count: int) -> None:
        """Until it has so many."""
        self.wait_for(lambda: len(self.pictures) >= count)

    def wait_for(self, shown: Callable[[], bool]) -> None:
        """Until what it has been shown is what is waited for."""
        with self._news:
            assert self._news.wait_for(lambda: bool(self.pictures) and shown(), PATIENCE)

    @property
    def titles(self) -> list[str]:
        return [one.title for one in self.pictures]


class Held(Kept):
    """Holds the plot up in its first picture until `release`."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self._released = threading.Event()

    def show(self, picture: Any) -> None:
        self.entered.set()
        assert self._released.wait(PATIENCE)
        super().show(picture)

    def release(self) -> None:
        self._released.set()
