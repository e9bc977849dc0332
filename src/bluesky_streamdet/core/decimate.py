"""Which frames an output sends: each rule a small object that decides by frame number, time or what comes with a frame.

A rule belongs to one output, and no output's rule knows of another's. Those by number remember nothing, so that a loss
shifts nothing, and any first number is right. Sources: the stream repeater's description, and its successor's live
streams (`batch`, `periodic`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Decimation(Protocol):
    """Decides frame by frame, in the order in which they leave."""

    def wants(self, number: int, now: float, values: Mapping[str, Any]) -> bool:
        """Whether to send the frame. now: seconds, monotonic. values: what came with it, by name."""
        ...


@dataclass(frozen=True)
class EveryNth:
    """Frames whose number is a multiple of `n`."""

    n: int

    def wants(self, number: int, now: float, values: Mapping[str, Any]) -> bool:
        return number % self.n == 0


@dataclass(frozen=True)
class FramesOf:
    """The first `frames` of each `of` frames."""

    frames: int
    of: int

    def wants(self, number: int, now: float, values: Mapping[str, Any]) -> bool:
        return number % self.of < self.frames


@dataclass(frozen=True)
class Strides:
    """`n` frames, and not the next `n`."""

    n: int

    def wants(self, number: int, now: float, values: Mapping[str, Any]) -> bool:
        return number // self.n % 2 == 0


@dataclass
class EverySeconds:
    """The first frame, and then the first that comes `seconds` after the last one that was sent, or later."""

    seconds: float
    _sent: float = field(default=-math.inf, init=False)

    def wants(self, number: int, now: float, values: Mapping[str, Any]) -> bool:
        if now - self._sent < self.seconds:
            return False
        self._sent = now
        return True


@dataclass
class Bursts:
    """`frames` frames that follow one another, `rate` times a second; the first burst begins with the first frame.

    Bursts begin on a grid in time, so that late frames do not make them fewer.
    """

    frames: int
    rate: float
    _left: int = field(default=0, init=False)
    _next: float = field(default=-math.inf, init=False)

    def wants(self, number: int, now: float, values: Mapping[str, Any]) -> bool:
        if self._left == 0 and now >= self._next:
            period = 1 / self.rate
            late = math.isinf(self._next) or now - self._next >= period
            self._next = now + period if late else self._next + period
            self._left = self.frames
        if self._left == 0:
            return False
        self._left -= 1
        return True


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Where:
    """Frames whose value `name` compares so with `value`, such as `laser_on == True`; not those that have none."""

    name: str
    comparison: str
    value: bool | float | str

    def wants(self, number: int, now: float, values: Mapping[str, Any]) -> bool:
        if self.name not in values:
            return False
        try:
            return bool(COMPARISONS[self.comparison](values[self.name], self.value))
        except TypeError:
            return False
