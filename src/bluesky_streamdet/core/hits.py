"""How many of the frames are hits: of all, and of the last ones."""

from __future__ import annotations

from collections import deque

RECENT = 500
"""Frames that make up the moving rate."""


class HitRate:
    """Counts frames and hits. recent: of how many frames the moving rate is."""

    def __init__(self, recent: int = RECENT) -> None:
        self.frames = self.hits = 0
        self._last: deque[bool] = deque(maxlen=recent)
        self._hits_of_last = 0

    def add(self, hit: bool) -> None:
        if len(self._last) == self._last.maxlen:
            self._hits_of_last -= self._last[0]
        self._last.append(hit)
        self._hits_of_last += hit
        self.frames += 1
        self.hits += hit

    @property
    def total(self) -> float | None:
        """Share of all frames that were hits; None before the first."""
        return self.hits / self.frames if self.frames else None

    @property
    def recent(self) -> float | None:
        """Share of the last frames that were hits; None before the first."""
        return self._hits_of_last / len(self._last) if self._last else None
