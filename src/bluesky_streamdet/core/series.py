"""One series: what was asked of it, where it stands, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from bluesky_streamdet.core.events import SeriesStart
from bluesky_streamdet.core.ledger import Ledger
from bluesky_streamdet.core.resequence import Resequencer


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


class Limits(msgspec.Struct, frozen=True):
    """How long, and with how much memory, a series waits for frames that should have come.

    gap_seconds, gap_bytes: how long, and with how many bytes held back, a missing frame holds up those behind it.
    finish_seconds: how long a finished series waits for frames that are known to be owed.
    settle_seconds: how long it waits when nobody can know whether any are.
    """

    gap_seconds: float = 1.0
    gap_bytes: int = 64 << 20
    finish_seconds: float = 2.0
    settle_seconds: float = 0.2


@dataclass(slots=True)
class Series:
    """The account of one series while it lives. `key` is the detector's own name of it, as its frames repeat it."""

    order: Order
    start: SeriesStart | None
    key: str | None
    frames: Resequencer
    ledger: Ledger = field(default_factory=Ledger)
    end_position: int | None = None
    end_seen: bool = False
    reason: str = ""
    aborted: bool = False

    @property
    def id(self) -> str:
        return self.order.id

    def settle(self) -> None:
        """Bring into the ledger what the resequencer has met."""
        ledger, frames = self.ledger, self.frames
        ledger.duplicate = frames.duplicates
        ledger.late = frames.late
        ledger.passes = frames.passes
        ledger.gaps = frames.gaps.count
        if frames.gaps.ranges or ledger.missing_ranges:
            ledger.missing_ranges = frames.missing_numbers()

    def outcome(self) -> tuple[Outcome, str]:
        """The verdict on a closed series, and why, in words."""
        shortfalls = self.ledger.shortfalls()
        if self.aborted:
            return Outcome.ABORTED, "; ".join([self.reason, *shortfalls])
        if shortfalls:
            return Outcome.INCOMPLETE, "; ".join([self.reason, *shortfalls])
        return Outcome.COMPLETE, self.reason
