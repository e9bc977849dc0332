"""What came of the next series while the one that runs waits for frames that it is owed.

With several sockets, the header of the next may come before the last frames of this one.
"""

from __future__ import annotations

from bluesky_streamdet.core.events import Event, Frame, SeriesStart, payload_bytes
from bluesky_streamdet.core.resequence import BOOKKEEPING


class Upcoming:
    """events: in the order in which they came, and when; a text is the reason why a message is malformed. nbytes: of
    memory that they take.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self.events: list[tuple[Event | str, float]] = []
        self._keys: set[str | None] = set()

    def add(self, event: Event | str, now: float) -> None:
        self.events.append((event, now))
        if type(event) is SeriesStart:
            self._keys.add(event.series)
        self.nbytes += BOOKKEEPING + (payload_bytes(event) if type(event) is Frame else 0)

    def has_header_of(self, key: str | None) -> bool:
        """Whether a series that the detector calls `key` has begun among them."""
        return key in self._keys

    def take(self) -> list[tuple[Event | str, float]]:
        """All of them; then there are none."""
        events, self.events, self.nbytes = self.events, [], 0
        self._keys.clear()
        return events
