"""Frames of a series of which other services get the rest: one sender pushes, several pull, and each gets some.

Nobody here can tell a lost frame from one that another service has, so that there are no gaps, and nothing is waited
for. By one connection frames come in the order in which they left; so a number that is no higher than the last one is
the same frame again, or the first one of the next series, whose header another service got.
"""

from __future__ import annotations

from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.resequence import Resequencer, same_payload


class SharedFrames(Resequencer):
    """What comes of a shared series: it goes on at once, with the holes that it has."""

    def __init__(self) -> None:
        super().__init__(None, 0, 0.0)

    @property
    def next(self) -> int | None:
        """None, as nobody knows which frame is due here."""
        return None

    def push(self, frame: Frame, now: float) -> tuple[Frame, ...]:
        """Take a frame, which may go on, unless it has come before."""
        if self._last is not None and frame.number <= self._last.number:
            self.duplicates += 1
            return ()
        self._last = frame
        return (frame,)

    def begins_anew(self, frame: Frame, now: float) -> bool:
        """Whether the frame is of the next series."""
        last = self._last
        if last is None or frame.number > last.number:
            return False
        return frame.number < last.number or not same_payload(frame, last)

    def owed(self, end: int | None) -> int | None:
        """None, as nobody knows who gets the frames before the end."""
        return None

    def close(self, end: int | None) -> None:
        """What lies before the end is missing only if no other service has it."""
