"""Where frames were in the stream: positions that were given up, and frames that have come. Both bounded in memory."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from operator import itemgetter

REMEMBERED = 10_000
"""Gaps, runs and single frames that a series remembers; hundreds of them are a hopeless series already."""

_first = itemgetter(0)


@dataclass(slots=True)
class Gaps:
    """Positions that were given up.

    ranges: (first, last, offset) in order of position; a position's frame number is position + offset. Past
    `REMEMBERED` of them, gaps are counted only. count: positions in all of them. changes: grows with each change.
    """

    ranges: list[tuple[int, int, int]] = field(default_factory=list)
    count: int = 0
    changes: int = 0

    def add(self, first: int, last: int, offset: int) -> None:
        self.changes += 1
        self.count += last - first + 1
        if len(self.ranges) < REMEMBERED:
            self.ranges.append((first, last, offset))

    def has(self, position: int) -> bool:
        index = bisect_right(self.ranges, position, key=_first) - 1
        return index >= 0 and position <= self.ranges[index][1]

    def fill(self, position: int) -> bool:
        """Take `position` out of the gaps. False when it is in none."""
        if not self.has(position):
            return False
        index = bisect_right(self.ranges, position, key=_first) - 1
        first, last, offset = self.ranges[index]
        self.changes += 1
        self.count -= 1
        halves = [one for one in ((first, position - 1, offset), (position + 1, last, offset)) if one[0] <= one[1]]
        if len(halves) < 2 or len(self.ranges) < REMEMBERED:
            self.ranges[index : index + 1] = halves
        return True

    def numbers(self, most: int) -> list[tuple[int, int]]:
        """The first `most` gaps as ranges of frame numbers."""
        return [(first + offset, last + offset) for first, last, offset in self.ranges[:most]]


class Seen:
    """Which frames have come, by position and number: runs of consecutive ones, and single ones out of order.

    Bounded: past `REMEMBERED` of either kind the oldest are forgotten, so that what is in here has come for certain,
    and what is not has most likely not.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, int]] = []
        self._single: dict[tuple[int, int], None] = {}

    def add_run(self, first: int, last: int, offset: int) -> None:
        """Positions `first` to `last`, behind those of earlier runs; number = position + `offset`."""
        if len(self._runs) >= REMEMBERED:
            del self._runs[: REMEMBERED // 2]
        self._runs.append((first, last, offset))

    def add(self, position: int, number: int) -> None:
        if len(self._single) >= REMEMBERED:
            del self._single[next(iter(self._single))]
        self._single[position, number] = None

    def has(self, position: int, number: int) -> bool:
        if (position, number) in self._single:
            return True
        index = bisect_right(self._runs, position, key=_first) - 1
        if index < 0:
            return False
        _, last, offset = self._runs[index]
        return position <= last and number == position + offset
