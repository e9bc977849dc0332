"""One series: what was asked of it, where it stands, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.core.events import SeriesStart
from bluesky_streamdet.core.ledger import LISTED_RANGES, Ledger
from bluesky_streamdet.core.resequence import Resequencer

MOST_DIGITS = 20
"""Of a number by which a detector calls a series; longer ones are names like any other."""

SHARE = "other services have the rest of it, and only all of them together tell what is missing"
"""What has to be said of a series that this service shares."""

HEADER_FIELDS = ("series", "position", "filename", "frames", "save")


class Outcome(StrEnum):
    """How a series ended."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    """Frames are missing, failed or malformed; the ledger says which."""
    ABORTED = "aborted"
    INTERRUPTED = "interrupted"
    """The service died while the series ran; the file holds what had been written."""


class Order(msgspec.Struct, frozen=True):
    """What is asked of a series.

    id: unique among all series of the service.
    expected: how many frames must come; None leaves it to what the stream announces.
    open_ended: go on until `stop`, whatever the stream announces, as a step scan needs that nobody knows the length of.
    quiet: seconds without data after which the series ends; None leaves it to whoever armed it.
    """

    id: str
    expected: int | None = None
    open_ended: bool = False
    quiet: float | None = None

    def expected_of(self, start: SeriesStart | None) -> int | None:
        """How many frames must come of a series that `start` announces; None when nobody said."""
        if self.expected is not None or self.open_ended or start is None:
            return self.expected
        return start.frames


class Limits(msgspec.Struct, frozen=True):
    """How long, and with how much memory, a series waits for frames that should have come.

    gap_seconds, gap_bytes: how long, and with how many bytes held back, a missing frame holds up those behind it, a
    missing header its frames, and one series the next.
    finish_seconds: how long a finished series waits for frames that are known to be owed.
    settle_seconds: how long it waits when nobody can know whether any are; without headers, the first frames too.
    quiet_seconds: without headers: the silence after which what comes is no rest of the series before.
    """

    gap_seconds: float = 1.0
    gap_bytes: int = 64 << 20
    finish_seconds: float = 2.0
    settle_seconds: float = 0.2
    quiet_seconds: float = 30.0

    @property
    def of_gaps(self) -> tuple[int, float]:
        return self.gap_bytes, self.gap_seconds


@dataclass(slots=True)
class Series:
    """The account of one series while it lives.

    key: the detector's own name of it, as its frames repeat it. end_position: of the message that its frames end
    before, be it its end or the next header. end_message: what said the end, if it is kept. promised: somebody said,
    at the end, how many frames there are. fault: why the detector had to end it before its time.
    """

    order: Order
    start: SeriesStart | None
    key: str | None
    frames: Resequencer
    ledger: Ledger = field(default_factory=Ledger)
    end_position: int | None = None
    end_seen: bool = False
    end_message: Sequence[Buffer] | None = None
    promised: bool = False
    reason: str = ""
    fault: str = ""
    aborted: bool = False
    _gap_changes: int = 0

    @property
    def id(self) -> str:
        return self.order.id

    def repeats(self, start: SeriesStart) -> bool:
        """Whether `start` is the header that began the series, once more, before any frame."""
        first = self.start
        if first is None or self.ledger.received or first.metadata.keys() != start.metadata.keys():
            return False
        pairs = [(getattr(first, name), getattr(start, name)) for name in HEADER_FIELDS]
        pairs += [(value, start.metadata[name]) for name, value in first.metadata.items()]
        return all(_equal(*pair) for pair in pairs)

    @property
    def enough_came(self) -> bool:
        """Whether as many frames as expected have come; one that is held back may be of the next series."""
        return self.ledger.expected is not None and self.ledger.unique >= self.ledger.expected

    @property
    def all_came(self) -> bool:
        """Whether as many frames as expected are there."""
        return self.enough_came and not self.frames.held

    def owed(self) -> int | None:
        """How many frames are still to come, as far as the end has told; None when nobody can know."""
        if self.all_came:
            return 0
        ledger = self.ledger
        owed = self.frames.owed(self.end_position)
        if owed is None and ledger.expected is not None and (self.promised or self.end_seen):
            return max(ledger.expected - ledger.unique, 0)
        return owed

    def settle(self) -> None:
        """Bring into the ledger what the resequencer has met."""
        ledger, frames = self.ledger, self.frames
        ledger.duplicate = frames.duplicates
        ledger.late = frames.late
        ledger.passes = frames.passes
        if self._gap_changes != frames.gaps.changes:
            self._gap_changes = frames.gaps.changes
            ledger.gaps = frames.gaps.count
            ledger.missing_ranges = frames.gaps.numbers(LISTED_RANGES)

    def outcome(self) -> tuple[Outcome, str]:
        """The verdict on a closed series, and why, in words."""
        shortfalls = self.ledger.shortfalls()
        share = SHARE if self.ledger.shared else ""
        reason = "; ".join(one for one in (self.fault, self.reason, *shortfalls, share) if one)
        if self.aborted:
            return Outcome.ABORTED, reason
        return (Outcome.INCOMPLETE if shortfalls or self.fault else Outcome.COMPLETE), reason


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    return type(one) is type(other) and one == other


def differ(one: str | None, other: str | None) -> bool:
    """Whether two of a detector's names of series are certain to be of different ones."""
    return one is not None and other is not None and one != other


def is_later(one: str, other: str) -> bool:
    """Whether a detector that counts its series has begun `one` after `other`."""
    if not (one.isdecimal() and other.isdecimal()) or max(len(one), len(other)) > MOST_DIGITS:
        return False
    return int(one) > int(other)
