"""Files that a writer left, as the account that it would give of them."""

from __future__ import annotations

from pathlib import Path

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport


def report_of(path: Path) -> SeriesReport:
    """What a file says of its last series; of one that was not closed, as far as can be read. Raises `NotOurFile`."""
    said = inspect(path)
    read = LedgerReport(received=said.readable, unique=said.readable, written=said.readable)
    return SeriesReport(
        id=said.series,
        detector=said.detector,
        file=str(path.absolute()),
        layout=said.layout,
        started_at=said.started_at,
        ended_at=said.ended_at,
        outcome=said.outcome or Outcome.INTERRUPTED,
        reason=said.reason,
        ledger=said.ledger if said.outcome is not None and said.ledger is not None else read,
    )
