"""When frames begin and how long they count, in clock cycles."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ticks = NDArray[np.int64]

ENDLESS = 1 << 62
"""Number of the frames of a train that does not end by itself."""

ROUNDING = 0.01
"""Clock cycles by which a float of seconds may be wrong."""


class Ticker:
    """Counts clock cycles of `period` seconds, by a clock in seconds; begins at 0."""

    def __init__(self, clock: Callable[[], float], period: float) -> None:
        self._clock = clock
        self._origin = clock()
        self.period = period

    def now(self) -> int:
        return int((self._clock() - self._origin) / self.period + ROUNDING)

    def cycles(self, seconds: float) -> int:
        return round(seconds / self.period)


class Train(NamedTuple):
    """Frames of one length at equal distances: of a burst, or the only one of a trigger."""

    first: int
    start: int
    frames: int
    length: int
    period: int

    def begun(self, now: int) -> int:
        """How many of its frames have begun by `now`."""
        return 0 if now < self.start else min((now - self.start) // self.period + 1, self.frames)

    def ended(self, now: int) -> int:
        end = self.start + self.length
        return 0 if now < end else min((now - end) // self.period + 1, self.frames)


class Timeline:
    """Trains of frames, one after the other: each begins after the one before has ended, and is added when it begins.

    A million frames of a burst are one train; a million triggers take 40 MB.
    """

    def __init__(self) -> None:
        self._columns = tuple(array("q") for _ in Train._fields)
        self.total = 0
        """Frames of all trains."""

    def add(self, start: int, length: int, count: int = 1, period: int = 0) -> None:
        for column, value in zip(self._columns, (self.total, start, count, length, period or length), strict=True):
            column.append(value)
        self.total += count

    @property
    def last(self) -> Train | None:
        return Train(*(column[-1] for column in self._columns)) if self.total else None

    def begun(self, now: int) -> int:
        """Frames that have begun by `now`; the next one to begin has this number."""
        train = self.last
        return 0 if train is None else train.first + train.begun(now)

    def ended(self, now: int) -> int:
        train = self.last
        return 0 if train is None else train.first + train.ended(now)

    def cut(self, now: int) -> bool:
        """Forget what comes after `now`; whether a frame was under way, which ends now."""
        train = self.last
        if train is None or train.ended(now) == train.frames:
            return False
        begun, ended = train.begun(now), train.ended(now)
        self._drop_last()
        if ended:
            self.add(train.start, train.length, ended, train.period)
        start = train.start + ended * train.period
        if begun == ended or start == now:
            return False
        self.add(start, now - start)
        return True

    def shorten(self, total: int) -> None:
        """Forget all frames from number `total` on."""
        while self.total > total:
            train = self.last
            assert train is not None
            self._drop_last()
            if train.first < total:
                self.add(train.start, train.length, total - train.first, train.period)

    def start(self, frame: int) -> int:
        """When a frame begins that has been added."""
        train = self._train_of(frame)
        return train.start + (frame - train.first) * train.period

    def lengths(self, frame: int) -> tuple[int, int]:
        """Length of a frame that has been added, and how many from it on are as long."""
        train = self._train_of(frame)
        return train.length, train.first + train.frames - frame

    def first_after(self, moment: int) -> int:
        """Number of the first frame that begins at `moment` or later."""
        index = bisect_right(self._columns[1], moment - 1) - 1
        if index < 0:
            return 0
        train = self._train(index)
        return train.first + train.begun(moment - 1)

    def _train_of(self, frame: int) -> Train:
        return self._train(bisect_right(self._columns[0], frame) - 1)

    def _train(self, index: int) -> Train:
        return Train(*(column[index] for column in self._columns))

    def _drop_last(self) -> None:
        self.total = self._columns[0][-1]
        for column in self._columns:
            column.pop()
