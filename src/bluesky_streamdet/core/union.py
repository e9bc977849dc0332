"""Several services, or several files, that have one series between them: its account as a whole, and its order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.ledger import LISTED_RANGES, Ledger

Numbers = NDArray[np.integer[Any]]


def united(ledgers: Sequence[Ledger], numbers: Numbers, expected: int | None = None) -> Ledger:
    """The account of all shares together, which have ended.

    numbers: of all frames that are in files, in any order; one that is there twice counts as a duplicate, unless a
    sender began its numbers anew. expected: how many frames were asked for or announced; None when nobody knows, so
    that only numbers in between can be missing.
    """
    whole = Ledger(expected=expected, passes=max((one.passes for one in ledgers), default=1))
    for one in ledgers:
        whole.received += one.received
        whole.duplicate += one.duplicate
        whole.live_only += one.live_only
        whole.late += one.late
        for sums, counts in _by_reason(whole, one):
            sums.update(counts)
    distinct = _distinct(numbers) if whole.passes == 1 else numbers
    whole.written = len(distinct)
    whole.duplicate += len(numbers) - len(distinct)
    apart = whole.live_only + whole.discarded.total() + whole.failed.total()
    pending = sum(max(one.pending, 0) for one in ledgers)
    whole.unique = whole.written + apart + pending
    if whole.passes == 1:
        _note_gaps(whole, distinct, apart + pending)
    # What a crash has taken was received, and nobody knows more of it.
    seen = whole.unique + whole.duplicate + whole.foreign.total() + whole.malformed.total()
    whole.received = max(whole.received, seen)
    whole.end()
    return whole


def _distinct(numbers: Numbers) -> Numbers:
    """Sorted, each once."""
    numbers = np.sort(numbers)
    return numbers[np.diff(numbers, prepend=numbers[:1]).astype(bool) | (np.arange(len(numbers)) == 0)]


def _by_reason(whole: Ledger, one: Ledger) -> Sequence[tuple[Counter[str], Counter[str]]]:
    return (
        (whole.foreign, one.foreign),
        (whole.malformed, one.malformed),
        (whole.discarded, one.discarded),
        (whole.failed, one.failed),
    )


def _note_gaps(whole: Ledger, numbers: Numbers, apart: int) -> None:
    """Holes in the sorted numbers; `apart` frames have come and are in no file, so that some holes may be theirs."""
    steps = np.diff(numbers)
    holes = np.flatnonzero(steps > 1)
    ranges = [(int(numbers[one]) + 1, int(numbers[one + 1]) - 1) for one in holes]
    count = sum(last - first + 1 for first, last in ranges)
    whole.gaps = max(count - apart, 0)
    whole.missing_ranges = ranges[:LISTED_RANGES] if whole.gaps else []


class Stretch(NamedTuple):
    """`length` rows of a part, from row `first` on, that go to every `step`-th row of the whole from `place` on."""

    first: int
    place: int
    step: int
    length: int


def in_order(shares: Sequence[Numbers]) -> list[NDArray[np.int64]]:
    """For each share, the row of each of its frames in the whole, where frames are in the order of their numbers.

    -1 for a number that came before, in this share or another.
    """
    numbers = np.concatenate([np.asarray(one) for one in shares]) if shares else np.empty(0, np.int64)
    order = np.argsort(numbers, kind="stable")
    sorted_numbers = numbers[order]
    fresh = np.ones(len(numbers), bool)
    fresh[1:] = sorted_numbers[1:] != sorted_numbers[:-1]
    rows = np.empty(len(numbers), np.int64)
    rows[order] = np.where(fresh, np.cumsum(fresh) - 1, -1)
    return np.split(rows, np.cumsum([len(one) for one in shares])[:-1]) if shares else []


def stretches(rows: NDArray[np.int64], most: int) -> list[Stretch] | None:
    """The rows of a share as few stretches; None when these are more than `most`. Rows of -1 are left out."""
    found: list[Stretch] = []
    steps = np.diff(rows)
    changes = np.flatnonzero(steps[1:] != steps[:-1]) + 1
    ends = [*changes.tolist(), len(steps)]  # each is the row that a run of equal steps ends with
    start = run = 0
    while start < len(rows):
        if rows[start] < 0:
            start += 1
            continue
        while run < len(ends) and ends[run] <= start:
            run += 1
        step = int(steps[start]) if start < len(steps) else 0
        last = ends[run] if step > 0 else start
        found.append(Stretch(start, int(rows[start]), max(step, 1), last - start + 1))
        if len(found) > most:
            return None
        start = last + 1
    return found
