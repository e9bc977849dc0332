"""How fast something is counted."""

from __future__ import annotations

from collections.abc import Callable

SPAN = 1.0
"""Seconds over which rates are taken."""


class Rate:
    """How fast a count grows, over the last second or so."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since, self._count, self._rate = clock(), 0, 0.0

    def __call__(self, count: int) -> float:
        """Per second."""
        passed = self._clock() - self._since
        if passed >= SPAN:
            self._rate = (count - self._count) / passed
            self._since, self._count = self._clock(), count
        return self._rate
