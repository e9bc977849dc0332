"""The account of a series: where every frame went.

Kept in whole frames, and true at every moment (`pending` is what was received and is on its way):

    received = unique + duplicate + foreign + malformed
    unique   = written + live_only + discarded + failed + pending
    expected = unique + missing           once the series has ended, if somebody said how many to expect

A message that nobody can decode counts as one malformed frame, as nobody can tell what it was.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LISTED_RANGES = 1000
"""Missing frames are listed as ranges up to this many; past it they are counted only."""


@dataclass(slots=True)
class Ledger:
    """Counts of one series. Whoever sees a frame's fate adds to it.

    expected: frames that the request or the stream announced; None when nobody said. ended: no more will come.
    gaps: frames known to be missing from their positions in the stream.
    late: frames that came after their gap was given up, written after the others. passes: how often the frame numbers
    began anew under one header. shared: other services have the rest of the series, so that nobody here can tell what
    is missing; see `core.union`.
    """

    expected: int | None = None
    ended: bool = False
    received: int = 0
    unique: int = 0
    duplicate: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    malformed: Counter[str] = field(default_factory=Counter)
    written: int = 0
    live_only: int = 0
    discarded: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    late: int = 0
    passes: int = 1
    shared: bool = False
    missing_ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Frames that did not come: those that left a gap, and at the end all that were expected besides."""
        if self.expected is None or not self.ended:
            return self.gaps
        return max(self.expected - self.unique, 0)

    @property
    def pending(self) -> int:
        """Frames received and neither readable on disk nor counted elsewhere yet."""
        return self.unique - self.written - self.live_only - self.discarded.total() - self.failed.total()

    def end(self) -> None:
        """No more frames will come. If more came than were expected, they are the new measure: all of them are kept."""
        self.ended = True
        if self.expected is not None:
            self.expected = max(self.expected, self.unique)

    def imbalance(self) -> list[str]:
        """The sums that do not hold, in words. Empty for a ledger in order."""
        faults = []
        seen = self.unique + self.duplicate + self.foreign.total() + self.malformed.total()
        if self.received != seen:
            faults.append(f"received {self.received} is not unique + duplicate + foreign + malformed = {seen}")
        if self.pending < 0:
            faults.append(f"{-self.pending} more frames were settled than the {self.unique} unique ones")
        if self.ended and self.expected is not None and self.expected != self.unique + self.missing:
            faults.append(f"expected {self.expected} is not unique {self.unique} + missing {self.missing}")
        return faults

    def shortfalls(self) -> list[str]:
        """Why a finished series is not complete, in words. Empty when every frame is where it belongs."""
        reasons = self.imbalance()
        if self.missing:
            of = "" if self.expected is None else f" of {self.expected}"
            reasons.append(f"{self.missing}{of} frames are missing{self._where()}")
        elif self.gaps:
            reasons.append(f"{self.gaps} frames are missing in between{self._where()}, though as many came as expected")
        reasons += [f"{count} frames failed ({why})" for why, count in self.failed.items()]
        reasons += [f"{count} malformed messages ({why})" for why, count in self.malformed.items()]
        if self.pending > 0:
            reasons.append(f"{self.pending} frames were never settled")
        return reasons

    def _where(self) -> str:
        shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in self.missing_ranges[:5]]
        more = ", …" if len(self.missing_ranges) > 5 else ""
        return f" (numbers {', '.join(shown)}{more})" if shown else ""

    def report(self) -> dict[str, object]:
        """The whole account as plain values, for status, file, metrics and documents."""
        return {
            "expected": self.expected,
            "received": self.received,
            "unique": self.unique,
            "duplicate": self.duplicate,
            "foreign": dict(self.foreign),
            "malformed": dict(self.malformed),
            "written": self.written,
            "live_only": self.live_only,
            "discarded": dict(self.discarded),
            "failed": dict(self.failed),
            "missing": self.missing,
            "missing_ranges": [list(one) for one in self.missing_ranges],
            "pending": self.pending,
            "late": self.late,
            "passes": self.passes,
            "shared": self.shared,
        }
