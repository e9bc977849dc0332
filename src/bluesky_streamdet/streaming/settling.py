"""The account of a series whose writer died, from what it had said last and from what is on disk."""

from __future__ import annotations

from bluesky_streamdet.streaming.status import LedgerReport

LOST = "not written when the data plane died"


def settled(ledger: LedgerReport, readable: int) -> LedgerReport:
    """The account with what is on disk as written, and what was on its way as failed; its sums hold."""
    others = readable + ledger.live_only + sum(ledger.discarded.values()) + sum(ledger.failed.values())
    # The file may be ahead of the last news of it.
    unique = max(ledger.unique, others)
    lost = unique - others
    failed = {**ledger.failed, LOST: lost} if lost else ledger.failed
    refused = ledger.duplicate + sum(ledger.foreign.values()) + sum(ledger.malformed.values())
    missing = ledger.missing if ledger.expected is None else max(0, ledger.expected - unique)
    return ledger.model_copy(
        update={
            "written": readable,
            "unique": unique,
            "received": unique + refused,
            "failed": failed,
            "missing": missing,
            "pending": 0,
        }
    )
