"""The cable: pulses and levels at the trigger input, as a beamline would send them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bluesky_streamdet.core.errors import RequestRefused
from bluesky_streamdet.xspress3.simulation.timeline import Ticker

PULSE_WIDTH = 10e-6
"""Seconds; longer than the longest debounce, which is 255 clock cycles."""


class Change(NamedTuple):
    """The input goes high or low, at a clock cycle."""

    moment: int
    high: bool


class Pulses(NamedTuple):
    start: int
    number: int
    period: int
    width: int


class Inputs:
    """TTL_IN(1), which takes triggers and gates. Usable from any thread; low in the beginning.

    Pulses that are asked for while others are still to come, come after them.
    """

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._lock = threading.Lock()
        self._coming: deque[Change | Pulses] = deque()
        self._free = 0
        self._high = False

    def pulse(self, count: int = 1, period: float = 0.0, width: float = PULSE_WIDTH) -> None:
        """Send `count` pulses of `width` seconds, `period` seconds from one rising edge to the next.

        A period of 0 is twice the width, the shortest that is taken for granted. Raises `RequestRefused` when pulses
        would touch, or are none.
        """
        high = self._ticker.cycles(width)
        distance = self._ticker.cycles(period) if period else 2 * high
        if count < 1 or high < 1 or distance <= high:
            raise RequestRefused(
                f"{count} pulses of {width} s each {period} s are no pulses.",
                "Ask for at least one, of at least a clock cycle, and a period that is longer than the pulse.",
            )
        with self._lock:
            start = max(self._ticker.now(), self._free)
            self._coming.append(Pulses(start, count, distance, high))
            # As long as a pulse in between, or a debounce would take it for the same one.
            self._free = start + (count - 1) * distance + high + self._ticker.cycles(PULSE_WIDTH)

    def gate(self, seconds: float, count: int = 1, period: float = 0.0) -> None:
        """Hold the input high for `seconds`; a gate is a long pulse."""
        self.pulse(count, period, seconds)

    def level(self, high: bool) -> None:
        """Hold the input high or low from now on. Pulses that are still to come, don't."""
        with self._lock:
            now = self._ticker.now()
            passed = list(self._changes(now))
            self._coming = deque([*passed, Change(now, high)])
            self._free = now + 1

    def taken(self, until: int) -> Iterator[Change]:
        """Changes up to a clock cycle, each of them once."""
        with self._lock:
            changes = list(self._changes(until))
            self._high = changes[-1].high if changes else self._high
        yield from changes

    def settled(self, now: int) -> bool:
        """Whether the input is high now; forgets what happened before."""
        for _ in self.taken(now):
            pass
        return self._high

    def _changes(self, until: int) -> Iterator[Change]:
        while self._coming:
            one = self._coming[0]
            if isinstance(one, Change):
                if one.moment > until:
                    return
                self._coming.popleft()
                yield one
            elif one.start > until:
                return
            else:
                self._coming.popleft()
                yield Change(one.start, True)
                if one.number > 1:
                    self._coming.appendleft(one._replace(start=one.start + one.period, number=one.number - 1))
                self._coming.appendleft(Change(one.start + one.width, False))


class Debounce:
    """Lets a level through that has held for `cycles`, that much later; shorter ones are dropped."""

    def __init__(self, cycles: int, inverted: bool) -> None:
        self._cycles = cycles
        self._inverted = inverted
        self._raw = False
        self._pending: Change | None = None
        self.high = inverted
        """What comes through."""

    def settle(self, raw: bool) -> None:
        """Take a level for one that has been there for long."""
        self._raw = raw
        self.high = raw != self._inverted
        self._pending = None

    def change(self, raw: Change) -> Iterator[Change]:
        """What comes through until the input changes, which is that it does now."""
        yield from self.passed(raw.moment)
        if raw.high == self._raw:
            return
        self._raw = raw.high
        self._pending = None
        high = raw.high != self._inverted
        if high != self.high:
            self._pending = Change(raw.moment, high)
            if self._cycles == 0:
                yield from self.passed(raw.moment)

    def passed(self, now: int) -> Iterator[Change]:
        """The change that has held for long enough by `now`, if there is one."""
        pending = self._pending
        if pending is not None and now >= pending.moment + self._cycles:
            self._pending, self.high = None, pending.high
            yield Change(pending.moment + self._cycles, pending.high)
