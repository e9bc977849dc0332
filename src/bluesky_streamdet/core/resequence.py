"""Frames of one series in their order, whatever the network did to them; bounded in bytes and in time.

A frame has a position: its place in the stream, which counts headers too. Frames leave in order of position. One that
is missing holds up those behind it, until it comes, or `seconds` pass, or what is held exceeds `limit` bytes; then the
gap is noted and the stream goes on. A frame that comes after its gap was given up leaves at once, as late: nothing is
thrown away but true duplicates.

What is a duplicate, and what is a new pass of the same numbers under one header (real streams do that), is decided as
docs/explanations/decisions/0003 says: by position where the format has one, otherwise by order.
"""

from __future__ import annotations

from heapq import heappop, heappush

from bluesky_streamdet.core.events import Frame, payload_bytes
from bluesky_streamdet.core.positions import Gaps, Seen

BOOKKEEPING = 500
"""Bytes that a frame which is held costs beside its payload, so that a million of empty ones count too."""


class Resequencer:
    """Puts the frames of one series in order.

    first: position of the first frame, None when nobody knows (the header was lost, or messages aren't numbered).
    limit: bytes of payload that may be held back. seconds: how long a gap may hold them back. wait: with `first`
    unknown, hold numbered frames back as if behind a gap, as the header may still come. settle: seconds for which the
    first frames of messages that aren't numbered are held back, as one before them may come by another socket.

    `push`, `tick`, `start_at` and `flush` return the frames that may go on, in order; `duplicates`, `late`, `passes`
    and `gaps` say what was met.
    """

    def __init__(
        self, first: int | None, limit: int, seconds: float, *, wait: bool = False, settle: float = 0.0
    ) -> None:
        self.gaps = Gaps()
        self.duplicates = 0
        self.late = 0
        self.passes = 1
        self.held_bytes = 0
        self._limit = limit
        self._seconds = seconds
        self._wait = wait
        self._settle = settle
        self._since = 0.0  # when the first frame came that was to settle
        self._numbered = True
        self._next: int | None = None
        # Frames that are held and when they came, by position, oldest first; and their positions, as a heap.
        self._held: dict[int, tuple[Frame, float]] = {}
        self._waiting: list[int] = []
        self._seen = Seen()
        self._last: Frame | None = None
        self._start(first or 0)
        if first is None:
            self._next = None

    @property
    def held(self) -> int:
        """Frames that wait for an earlier one."""
        return len(self._held)

    @property
    def first(self) -> int | None:
        """Position of the first frame as far as anybody knows, None before there is one."""
        if self._next is not None:
            return self._first
        return self._waiting[0] if self._waiting else None

    @property
    def next(self) -> int | None:
        """Position of the frame that is due; None when nobody knows."""
        return self._next if self._numbered else None

    @property
    def last(self) -> Frame | None:
        """The frame that was the last in order so far."""
        return self._last

    def push(self, frame: Frame, now: float) -> tuple[Frame, ...]:
        """Take a frame; return those that may go on: none when it has to wait or is a duplicate."""
        position = frame.position
        if position is None:
            return self._push_unnumbered(frame, now)
        if self._next is None and not self._wait:
            self._start(position)
        if position == self._next:
            self._advance(frame, position)
            return (frame,) if not self._held else (frame, *self._release())
        return self._push_apart(frame, position, now)

    def tick(self, now: float) -> tuple[Frame, ...]:
        """Give up the gaps that have lasted too long; return what they held back."""
        released: list[Frame] = []
        while self._held and now - self._oldest() >= (self._seconds if self._begun else self._settle):
            released += self._skip_gap()
        return tuple(released)

    def start_at(self, first: int) -> tuple[Frame, ...]:
        """The header has come after all: the first frame is at `first`."""
        self._start(first)
        return tuple(self._release())

    def follows(self, header: int) -> bool:
        """Whether the frames that are held are numbered from the one behind a header at position `header`."""
        return bool(self._waiting) and self._begins_at(self._waiting[0]) == header + 1

    def settled(self) -> tuple[Frame, ...]:
        """Nothing else is expected: if the first frames are all that is held, without a gap, they may go on."""
        if self._begun or max(self._held) - self._waiting[0] >= len(self._held):
            return ()
        return self.flush()

    def begins_anew(self, frame: Frame, now: float) -> bool:
        """Whether a frame without position has a number that came before, or one below the first and no longer late."""
        last, number = self._last, frame.number
        if last is not None and number <= last.number:
            if number == last.number and same_payload(frame, last):
                return False
            position = number - self._offset
            late = position < self._first and now - self._since < self._seconds
            return not late and not self.gaps.has(position)
        held = self._held.get(number - self._offset) if self._held else None
        return held is not None and not same_payload(frame, held[0])

    def flush(self) -> tuple[Frame, ...]:
        """Give up every gap; return all that is held, in order."""
        released: list[Frame] = []
        while self._held:
            released += self._skip_gap()
        return tuple(released)

    def take_from(self, position: int) -> list[Frame]:
        """Take out what is held at or behind `position`, as it belongs to another series."""
        beyond = sorted(one for one in self._held if one >= position)
        frames = [self._held.pop(one)[0] for one in beyond]
        self.held_bytes -= sum(payload_bytes(frame) + BOOKKEEPING for frame in frames)
        self._waiting = sorted(self._held)
        return frames

    def owed(self, end: int | None) -> int | None:
        """How many frames have not come before the message at position `end`; None when nobody can know."""
        due = self.next
        if end is None or due is None:
            return None
        return max(end - due - len(self._held), 0) + self.gaps.count

    def close(self, end: int | None) -> None:
        """Note as missing what lies between the last frame and the message at position `end`."""
        due = self.next
        if end is not None and due is not None and end > due:
            self.gaps.add(due, end - 1, self._offset)
            self._next = end

    @property
    def _begun(self) -> bool:
        """Whether it is known which frame is the first, or only a header could tell."""
        return self._next is not None or self._numbered

    def _start(self, first: int) -> None:
        self._first = self._pass = self._run = self._next = first
        self._offset = -first

    def _begins_at(self, position: int) -> int:
        """Where the frame of number 0 would be, for the one that is held at `position`."""
        return position - self._held[position][0].number

    def _oldest(self) -> float:
        return next(iter(self._held.values()))[1]

    # Frames with a position.

    def _push_apart(self, frame: Frame, position: int, now: float) -> tuple[Frame, ...]:
        if self._has(frame, position):
            self.duplicates += 1
            return ()
        if position in self._held or (self._next is not None and position < self._next):
            # Late, or of a sender that counts anew. It goes on at once, as nobody can say what it waits for.
            self.late += 1
            self.gaps.fill(position)
            self._seen.add(position, frame.number)
            return (frame,)
        return self._hold(frame, position, now)

    def _has(self, frame: Frame, position: int) -> bool:
        held = self._held.get(position)
        if held is not None and held[0].number == frame.number:
            return True
        if self._next is not None and self._run <= position < self._next and frame.number == position + self._offset:
            return True
        return self._seen.has(position, frame.number)

    # Frames without one: their numbers, and what came before, give it.

    def _push_unnumbered(self, frame: Frame, now: float) -> tuple[Frame, ...]:
        last, number = self._last, frame.number
        if last is None:
            self._numbered = False
            if self._settle:
                return self._push_first(frame, now)
            self._start(number)
            self._advance(frame, number)
            return (frame,)
        position = number - self._offset
        if number > last.number:
            if position == self._next:
                self._advance(frame, position)
                return (frame, *self._release())
            held = self._held.get(position)
            if held is None:
                return self._hold(frame, position, now)
            last = held[0]
        if number == last.number and same_payload(frame, last):
            self.duplicates += 1
            return ()
        if number < last.number and (position < self._pass or self.gaps.fill(position)):
            self.late += 1
            return (frame,)
        return self._pass_anew(frame)

    def _push_first(self, frame: Frame, now: float) -> tuple[Frame, ...]:
        if not self._held:
            self._since = now
        held = self._held.get(frame.number)
        if held is None:
            return self._hold(frame, frame.number, now)
        if same_payload(frame, held[0]):
            self.duplicates += 1
            return ()
        return self._pass_anew(frame)

    def _pass_anew(self, frame: Frame) -> tuple[Frame, ...]:
        """The numbers step back to one that came before: a new pass, which nothing of the old one can follow."""
        released = self.flush()
        assert self._next is not None
        self._pass = self._next
        self._advance(frame, self._next)
        return (*released, frame)

    # What both have in common.

    def _advance(self, frame: Frame, position: int) -> None:
        if frame.number - position != self._offset:
            self._renumber(frame, position)
        self._next = position + 1
        self._last = frame

    def _renumber(self, frame: Frame, position: int) -> None:
        self._end_run(position)
        self._offset = frame.number - position
        if self._last is not None and frame.number <= self._last.number:
            self.passes += 1

    def _end_run(self, following: int) -> None:
        assert self._next is not None
        if self._run < self._next:
            self._seen.add_run(self._run, self._next - 1, self._offset)
        self._run = following

    def _hold(self, frame: Frame, position: int, now: float) -> tuple[Frame, ...]:
        self._held[position] = (frame, now)
        heappush(self._waiting, position)
        self.held_bytes += payload_bytes(frame) + BOOKKEEPING
        released: list[Frame] = []
        while self.held_bytes > self._limit:
            released += self._skip_gap()
        return tuple(released)

    def _release(self) -> list[Frame]:
        released = []
        while self._waiting and self._waiting[0] == self._next:
            position = heappop(self._waiting)
            frame, _ = self._held.pop(position)
            self.held_bytes -= payload_bytes(frame) + BOOKKEEPING
            released.append(frame)
            self._advance(frame, position)
        return released

    def _skip_gap(self) -> list[Frame]:
        lowest = self._waiting[0]
        if self._next is None:
            # Frames count from 0, so that the number of the first one tells how many were lost with the header.
            self._start(self._begins_at(lowest) if self._numbered else lowest)
            assert self._next is not None
        if lowest > self._next:
            self.gaps.add(self._next, lowest - 1, self._offset)
        self._end_run(lowest)
        self._next = lowest
        return self._release()


def same_payload(one: Frame, other: Frame) -> bool:
    """Whether two frames have the same pixels."""
    pairs = zip(one.parts, other.parts, strict=False)
    return len(one.parts) == len(other.parts) and all(memoryview(a) == memoryview(b) for a, b in pairs)
