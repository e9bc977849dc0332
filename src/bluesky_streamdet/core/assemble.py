"""Whole frames of the parts that a detector's modules send each by a socket of its own.

Modules count their messages alike, so that parts with the same position belong together, and in each lane they come in
order. So everything is passed on when every lane has gone past it, and a part that is missing then never comes. What
waits when nothing comes any more is given up, and what comes of it later is late. A module whose sender was started
anew counts from 0 again, and the others get in step with it at their next headers.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import Event, Frame, FrameFormat, SeriesEnd, SeriesStart, payload_bytes

OWN = frozenset({"x", "y", "z", "rotation"})
"""Settings that each module has for itself: they are listed by module, even where all are equal."""


SERIES = 1 << 54
"""Where nobody numbers messages, each series has so many places, by frame number."""
HEADER_BYTES = 1 << 20
"""What a header that waits counts for, as its settings may be large."""
MOST_WAITING = 4096
"""Messages that wait at most, however small they are."""


class _Parts:
    """What has come of one message, by lane: headers, parts of a frame, or ends."""

    def __init__(self, modules: int) -> None:
        self.events: list[Event | None] = [None] * modules
        self.refused: MalformedMessage | None = None
        self.nbytes = 0

    @property
    def first(self) -> Event:
        return next(one for one in self.events if one is not None)

    def missing(self) -> list[int]:
        return [lane for lane, one in enumerate(self.events) if one is None]


class Assembler:
    """Puts the messages of `modules` lanes together. limit: bytes of parts that wait for others at most."""

    def __init__(self, modules: int, limit: int) -> None:
        self._modules = modules
        self._limit = limit
        self._waiting: dict[int, _Parts] = {}
        self._order: list[int] = []  # a heap of the same keys
        self._nbytes = 0
        self._given = -1
        self._formats: dict[FrameFormat, FrameFormat] = {}
        self._reached = [-1] * modules
        self._shifts = [0] * modules
        self._series = [0] * modules
        self._place = [-1] * modules
        self._out_of_step: set[int] = set()
        self._anew = 0  # module that was started anew, and how far the others were seen to go on without it
        self._lost = -1

    @property
    def waiting(self) -> bool:
        """Whether something has come of which other modules still owe their parts."""
        return bool(self._waiting)

    def owed(self) -> list[int]:
        """How many messages wait for the part of each lane."""
        counts = Counter(lane for parts in self._waiting.values() for lane in parts.missing())
        return [counts[lane] for lane in range(self._modules)]

    def give_up(self) -> Iterator[Event | MalformedMessage]:
        """Nothing has come for long: give what waits, as what is missing never comes, and let all begin alike."""
        yield from self._settle(max(self._waiting, default=-1))
        self._series = [max(self._series) + 1] * self._modules
        self._place = [-1] * self._modules

    def add(self, lane: int, event: Event) -> Iterator[Event | MalformedMessage]:
        """Take an event of one lane; gives, in order, what is complete by it and what never will be.

        Positions are those of the first lane's messages, as long as no module counts anew.
        """
        key = self._key(lane, event)
        if type(event) is SeriesStart and event.position is not None:
            mates = self._mates(lane) if lane in self._out_of_step or key <= self._reached[lane] else key
            if mates is None:
                yield from self._begin_anew(lane, key)
            else:
                self._shifts[lane] += mates - key
                self._out_of_step.discard(lane)
                key = mates
        if lane in self._out_of_step:
            if type(event) is Frame and key > self._lost:
                self._lost = key
                yield MalformedMessage(f"module {self._anew + 1} is missing", f"{_in_words(event)}, as it began anew")
            return
        self._reached[lane] = max(key, self._reached[lane])
        if key <= self._given:
            if type(event) is Frame:
                yield MalformedMessage("part of a module came too late", f"module {lane + 1}: {_in_words(event)}")
            return
        yield from self._put(lane, key, event)
        yield from self._settle(min(self._reached))
        while self._nbytes > self._limit or len(self._waiting) > MOST_WAITING:
            yield from self._settle(self._order[0])

    def _key(self, lane: int, event: Event) -> int:
        """The place of an event among all, the same for what belongs together."""
        if event.position is not None:
            return event.position + self._shifts[lane]
        if type(event) is SeriesEnd:
            self._series[lane] += 1
            self._place[lane] = -1
            return self._series[lane] * SERIES - 1
        place = event.number + 1 if type(event) is Frame else 0
        if place <= self._place[lane]:
            self._series[lane] += 1  # The end of the one before was lost.
        self._place[lane] = place
        return self._series[lane] * SERIES + place

    def _mates(self, lane: int) -> int | None:
        """Where the headers are that wait for that of `lane`; None when no other module has sent one yet."""
        waiting = (key for key, one in self._waiting.items() if type(one.first) is SeriesStart)
        return max((key for key in waiting if self._waiting[key].events[lane] is None), default=None)

    def _begin_anew(self, lane: int, key: int) -> Iterator[Event | MalformedMessage]:
        """A module counts its messages anew: the others get in step with it at their next headers."""
        yield from self._settle(max(self._waiting, default=-1))
        self._reached = [key - 1] * self._modules
        self._given = key - 1
        self._out_of_step = set(range(self._modules)) - {lane}
        self._anew, self._lost = lane, -1

    def _put(self, lane: int, key: int, event: Event) -> Iterator[MalformedMessage]:
        parts = self._waiting.get(key)
        if parts is None:
            parts = self._waiting[key] = _Parts(self._modules)
            heapq.heappush(self._order, key)
        if parts.events[lane] is not None:
            yield MalformedMessage("part of a module came twice", f"module {lane + 1}")
            return
        if len(parts.missing()) < self._modules and not parts.refused and not _belong_together(parts.first, event):
            # Said when its turn comes: until then it may be that no series has begun to which it could count.
            parts.refused = MalformedMessage(
                "modules disagree", f"module {lane + 1} sends {_in_words(event)}, another {_in_words(parts.first)}"
            )
        parts.events[lane] = event
        size = payload_bytes(event) if type(event) is Frame else HEADER_BYTES if type(event) is SeriesStart else 0
        parts.nbytes += size
        self._nbytes += size

    def _settle(self, floor: int) -> Iterator[Event | MalformedMessage]:
        """Give what every lane has gone past, or all up to `floor` when there is no more room."""
        while self._order and self._order[0] <= floor:
            self._given = key = heapq.heappop(self._order)
            parts = self._waiting.pop(key)
            self._nbytes -= parts.nbytes
            first = parts.first
            if parts.refused is not None:
                yield parts.refused
                continue
            if type(first) is SeriesStart:
                yield _announced(key, [one for one in parts.events if type(one) is SeriesStart])
            elif type(first) is SeriesEnd:
                yield msgspec.structs.replace(first, position=None if first.position is None else key)
            elif missing := parts.missing():
                names = ", ".join(str(lane + 1) for lane in missing)
                yield MalformedMessage(f"module {names} is missing", _in_words(first))
            else:
                yield self._whole(key, [one for one in parts.events if type(one) is Frame])

    def _whole(self, key: int, frames: list[Frame]) -> Frame:
        first = frames[0]
        form = self._formats.get(first.format)
        if form is None:
            shape = first.format.shape
            module = shape[1:] if shape[0] == 1 else shape
            form = replace(first.format, shape=(self._modules, *module), chunk=(1, *module))
            self._formats = {first.format: form}
        return Frame(
            first.number,
            None if first.position is None else key,
            first.series,
            form,
            tuple(part for frame in frames for part in frame.parts),
            max(frame.received for frame in frames),
            first.detail,
            any(frame.discard for frame in frames),
        )


def _belong_together(one: Event, other: Event) -> bool:
    if type(one) is not type(other) or one.series != other.series:
        return False
    if type(one) is Frame and type(other) is Frame:
        return (one.number, one.format) == (other.number, other.format)
    return True


def _in_words(event: Event) -> str:
    if type(event) is Frame:
        return f"frame {event.number}, {event.format.shape} of {event.format.dtype}"
    return "a header" if type(event) is SeriesStart else "an end of series"


def _announced(key: int, starts: list[SeriesStart]) -> SeriesStart:
    """What the headers of all modules, or of those that were not lost, say together."""
    first = starts[0]
    return SeriesStart(
        first.series,
        None if first.position is None else key,
        next((one.filename for one in starts if one.filename), None),
        first.frames,
        _merged([one.metadata for one in starts]),
        all(one.save for one in starts),
    )


def _merged(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Settings of all modules: one value where they agree, a list by module where they don't, and of `OWN` always."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in settings for name in one):
        values = [one.get(name) for one in settings]
        agreed = name not in OWN and all(_same(value, values[0]) for value in values)
        merged[name] = values[0] if agreed else values
    return merged


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other))
    return bool(one == other)
