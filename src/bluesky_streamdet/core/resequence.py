"""Frames of one series in their order, whatever the network did to them; bounded in bytes and in time.

A frame has a position: its place in the stream, which counts headers too. Frames leave in order of position. One that
is missing holds up those behind it, until it comes, or `seconds` pass, or what is held exceeds `limit` bytes; then the
gap is noted and the stream goes on. A frame that comes after its gap was given up leaves at once, as late: nothing is
thrown away but true duplicates.

What is a duplicate, and what is a new pass of the same numbers under one header (real streams do that), is decided as
docs/explanations/decisions/0003 says: by position where the format has one, otherwise by order.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from bluesky_streamdet.core.events import Frame, payload_bytes

LISTED_GAPS = 1000
REMEMBERED_OFFSETS = 64


@dataclass(slots=True)
class Gaps:
    """Positions that were given up, as ordered ranges; what exceeds `LISTED_GAPS` ranges is only counted."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    unlisted_from: int | None = None
    count: int = 0

    def add(self, first: int, last: int) -> None:
        self.count += last - first + 1
        if len(self.ranges) < LISTED_GAPS:
            self.ranges.append((first, last))
        elif self.unlisted_from is None:
            self.unlisted_from = first

    def fill(self, position: int) -> bool:
        """Take `position` out of the gaps. False when it is in none, so that it came before."""
        index = bisect_right(self.ranges, (position, 1 << 63)) - 1
        if index >= 0:
            first, last = self.ranges[index]
            if first <= position <= last:
                halves = [(first, position - 1), (position + 1, last)]
                self.ranges[index : index + 1] = [half for half in halves if half[0] <= half[1]]
                self.count -= 1
                return True
        if self.unlisted_from is not None and position >= self.unlisted_from and self.count > 0:
            self.count -= 1
            return True
        return False


class Resequencer:
    """Puts the frames of one series in order.

    first: position of the first frame, None when nobody knows (the header was lost, or messages aren't numbered).
    limit: bytes of payload that may be held back. seconds: how long a gap may hold them back.

    `push`, `tick` and `flush` return the frames that may go on, in order; `duplicates`, `late`, `passes` and `gaps` say
    what was met.
    """

    def __init__(self, first: int | None, limit: int, seconds: float) -> None:
        self.gaps = Gaps()
        self.duplicates = 0
        self.late = 0
        self.passes = 1
        self.held_bytes = 0
        self._limit = limit
        self._seconds = seconds
        self._known = first is not None
        self._first = self._next = first or 0
        self._held: dict[int, Frame] = {}
        self._waiting_since = 0.0
        self._offset = -self._first
        self._offsets: set[int] = set()
        self._last: Frame | None = None

    @property
    def held(self) -> int:
        """Frames that wait for an earlier one."""
        return len(self._held)

    def push(self, frame: Frame, now: float) -> tuple[Frame, ...]:
        """Take a frame; return those that may go on: none when it has to wait or is a duplicate."""
        position = frame.position
        if position is None:
            return self._push_unnumbered(frame, now)
        if position == self._next and self._known:
            self._advance(frame, position)
            return (frame,) if not self._held else (frame, *self._release(now))
        return self._push_at(frame, position, now)

    def tick(self, now: float) -> tuple[Frame, ...]:
        """Give up a gap that has lasted too long; return what it held back."""
        if self._held and now - self._waiting_since >= self._seconds:
            return tuple(self._skip_gap(now))
        return ()

    def flush(self) -> tuple[Frame, ...]:
        """Give up every gap; return all that is held, in order."""
        released: list[Frame] = []
        while self._held:
            released += self._skip_gap(self._waiting_since)
        return tuple(released)

    def owed(self, end: int | None) -> int | None:
        """How many frames have not come before the end message at position `end`; None when nobody can know."""
        if end is None or not self._known:
            return None
        return max(end - self._next - len(self._held), 0) + self.gaps.count

    def close(self, end: int | None) -> None:
        """Note as missing what lies between the last frame and the end message at position `end`."""
        if end is not None and self._known and end > self._next:
            self.gaps.add(self._next, end - 1)
            self._next = end

    def missing_numbers(self) -> list[tuple[int, int]]:
        """The gaps as ranges of frame numbers, by the numbering of the last pass."""
        return [(first + self._offset, last + self._offset) for first, last in self.gaps.ranges]

    def _push_at(self, frame: Frame, position: int, now: float) -> tuple[Frame, ...]:
        if not self._known:
            self._known, self._first, self._next = True, position, position
            self._advance(frame, position)
            return (frame,)
        if position < self._next:
            return self._behind(frame, position)
        return self._ahead(frame, position, now)

    def _push_unnumbered(self, frame: Frame, now: float) -> tuple[Frame, ...]:
        """A frame of a stream that numbers no messages: its number and what came before give its position."""
        last = self._last
        position = frame.number - self._offset
        if last is None:
            return self._push_at(frame, frame.number, now)
        if frame.number > last.number:
            if position == self._next:
                self._advance(frame, position)
                return (frame, *self._release(now))
            return self._ahead(frame, position, now)
        if frame.number == last.number and _same_payload(frame, last):
            self.duplicates += 1
            return ()
        if position < self._first or self.gaps.fill(position):
            self.late += 1
            return (frame,)
        # The numbers step back to one that came before: a new pass, which nothing of the old one can follow.
        released = self.flush()
        self._advance(frame, self._next)
        return (*released, frame)

    def _advance(self, frame: Frame, position: int) -> None:
        self._next = position + 1
        offset = frame.number - position
        if self._last is None or offset != self._offset:
            self._renumber(frame, offset)
        self._last = frame

    def _renumber(self, frame: Frame, offset: int) -> None:
        if self._last is not None and frame.number <= self._last.number:
            self.passes += 1
        self._offset = offset
        if len(self._offsets) < REMEMBERED_OFFSETS:
            self._offsets.add(offset)

    def _release(self, now: float) -> list[Frame]:
        self._waiting_since = now
        released = []
        while (frame := self._held.pop(self._next, None)) is not None:
            self.held_bytes -= payload_bytes(frame)
            released.append(frame)
            self._advance(frame, self._next)
        return released

    def _skip_gap(self, now: float) -> list[Frame]:
        first_held = min(self._held)
        if first_held > self._next:
            self.gaps.add(self._next, first_held - 1)
        self._next = first_held
        return self._release(now)

    def _ahead(self, frame: Frame, position: int, now: float) -> tuple[Frame, ...]:
        other = self._held.get(position)
        if other is not None:
            if other.number == frame.number:
                self.duplicates += 1
                return ()
            self.late += 1
            return (frame,)
        if not self._held:
            self._waiting_since = now
        self._held[position] = frame
        self.held_bytes += payload_bytes(frame)
        released: list[Frame] = []
        while self.held_bytes > self._limit:
            released += self._skip_gap(now)
        return tuple(released)

    def _behind(self, frame: Frame, position: int) -> tuple[Frame, ...]:
        """A frame at a position that was passed: late, a duplicate, or of a sender that counts anew."""
        came_before = position >= self._first and frame.number - position in self._offsets
        if not self.gaps.fill(position) and came_before:
            self.duplicates += 1
            return ()
        self.late += 1
        return (frame,)


def _same_payload(one: Frame, other: Frame) -> bool:
    pairs = zip(one.parts, other.parts, strict=False)
    return len(one.parts) == len(other.parts) and all(memoryview(a) == memoryview(b) for a, b in pairs)
