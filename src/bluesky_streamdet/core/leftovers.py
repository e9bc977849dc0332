"""Tells late frames of a series that ended from those of a new one whose header was lost.

Where frames repeat the detector's name of their series, the name tells. Elsewhere it is whether a frame goes on where
the last one stopped: at the next position, or with the number that belongs to its position. What is in doubt is taken
for a new series, so that it is written.
"""

from __future__ import annotations

from collections import deque

from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.series import Series

REMEMBERED_KEYS = 64
"""So many series are remembered by the detector's name of them."""


class Leftovers:
    """What may still come of series that ended, or that nobody wanted."""

    def __init__(self) -> None:
        self._keys: deque[str] = deque(maxlen=REMEMBERED_KEYS)
        # Of the last series: its key, number and position of its last frame, position of its end, and whether it only
        # fell silent, so that the detector may go on with it.
        self._key: str | None = None
        self._last: tuple[int, int | None] | None = None
        self._end: int | None = None
        self._silent = False

    def ended(self, series: Series, *, silent: bool) -> None:
        """`series` is closed; `silent` if only because nothing came any more."""
        last = series.frames.last
        if series.key is not None:
            self._add_key(series.key)
        self._key, self._end, self._silent = series.key, series.end_position, silent
        for_good = series.end_seen and series.end_position is None
        self._last = None if last is None or for_good else (last.number, last.position)

    def refused(self, event: Frame | SeriesStart) -> None:
        """Nobody wanted this event; so nobody wants what follows it."""
        if event.series is not None:
            self._add_key(event.series)
        elif type(event) is SeriesStart:
            self._key, self._last, self._end, self._silent = None, (-1, event.position), None, False
        elif type(event) is Frame and not self._is_behind(event.position):
            self._key, self._last, self._silent = None, (event.number, event.position), False

    def header_came(self) -> None:
        self._last, self._end, self._silent = None, None, False

    def end_came(self, end: SeriesEnd) -> None:
        """An end came while no series runs."""
        if end.series is None and end.position is None:
            self._last = None
        elif end.series is None and not self._is_behind(end.position):
            self._end = end.position

    def named(self, key: str) -> bool:
        """Whether the series that the detector calls `key` ended."""
        return key in self._keys

    def has(self, frame: Frame, *, armed: bool) -> bool:
        """Whether `frame` is not to begin a series. One that fell silent may go on, unless another is armed."""
        if frame.series is not None:
            known = self.named(frame.series)
            return known and (armed or not self._silent or frame.series != self._key)
        return self._goes_on(frame) and (armed or not self._silent)

    def counts_on(self, frame: Frame) -> bool:
        """Whether `frame`, of a stream without headers, is of the series that ended last, or of one before it."""
        if frame.series is not None and frame.series != self._key:
            return self.named(frame.series)
        return self._last is not None and frame.number > self._last[0] and not self._silent

    def resumed_at(self, frame: Frame) -> int | None:
        """The position after the last of the series that fell silent, if `frame` goes on with it."""
        if not self._silent or self._last is None or self._last[1] is None or not self._goes_on(frame):
            return None
        return self._last[1] + 1

    def _goes_on(self, frame: Frame) -> bool:
        if self._last is None or frame.series != self._key:
            return False
        number, position = self._last
        if frame.position is None or position is None:
            return frame.number > number
        if self._end is not None and frame.position >= self._end:
            return False
        return frame.position == position + 1 or frame.number - frame.position == number - position

    def _is_behind(self, position: int | None) -> bool:
        last = self._last[1] if self._last is not None else None
        return position is not None and last is not None and position <= last

    def _add_key(self, key: str) -> None:
        if key not in self._keys:
            self._keys.append(key)
