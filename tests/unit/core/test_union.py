"""Several services that share a series: whatever each got, the whole is right."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.ledger import Ledger
from bluesky_streamdet.core.union import Stretch, in_order, stretches, united

repeatable = settings(max_examples=200, derandomize=True)

FATES = st.lists(st.tuples(st.sampled_from(["lost", "failed", "written"]), st.integers(0, 3)), max_size=40)
"""What became of each frame, and which service had it."""


def share(numbers: list[int], failed: int = 0) -> Ledger:
    ledger = Ledger(received=len(numbers) + failed, unique=len(numbers) + failed, written=len(numbers), shared=True)
    if failed:
        ledger.failed["disk full"] = failed
    return ledger


def shared_among(fates: list[tuple[str, int]]) -> tuple[list[list[int]], list[int]]:
    """The numbers that each of four services has written, and how many it couldn't."""
    written: list[list[int]] = [[], [], [], []]
    failed = [0, 0, 0, 0]
    for number, (fate, service) in enumerate(fates):
        if fate == "written":
            written[service].append(number)
        failed[service] += fate == "failed"
    return written, failed


@repeatable
@given(FATES)
def test_whoever_got_what_the_sum_tells_what_is_missing(fates: list[tuple[str, int]]) -> None:
    written, failed = shared_among(fates)
    ledgers = [share(*one) for one in zip(written, failed, strict=True)]
    whole = united(ledgers, np.array([number for one in written for number in one], np.int64), len(fates))
    lost = sum(fate == "lost" for fate, _ in fates)
    assert whole.imbalance() == []
    assert (whole.written, whole.failed.total(), whole.missing) == (sum(map(len, written)), sum(failed), lost)
    assert not whole.shared
    # Where nobody said how many there are, holes may be of frames that came and could not be written.
    assert united(ledgers, np.array([number for one in written for number in one], np.int64)).missing <= lost
    assert bool(whole.shortfalls()) == bool(lost or sum(failed))


@repeatable
@given(st.lists(st.lists(st.integers(0, 60), unique=True), max_size=4))
def test_every_number_has_one_row_in_order(shares: list[list[int]]) -> None:
    numbers = [np.array(sorted(one), np.uint64) for one in shares]
    whole = sorted({number for one in shares for number in one})
    found = [-1] * len(whole)
    for own, rows in zip(numbers, in_order(numbers), strict=True):
        assert len(own) == len(rows)
        for number, row in zip(own, rows, strict=True):
            if row >= 0:
                assert found[row] == -1
                found[row] = int(number)
    assert found == whole


@repeatable
@given(st.lists(st.integers(-1, 40), max_size=40, unique_by=lambda row: row if row >= 0 else object()))
def test_stretches_are_the_rows(rows: list[int]) -> None:
    found = stretches(np.array(rows, np.int64), 1000)
    assert found is not None
    mapped = {one.first + index: one.place + index * one.step for one in found for index in range(one.length)}
    assert mapped == {index: row for index, row in enumerate(rows) if row >= 0}


def test_taking_turns_is_one_stretch_for_each() -> None:
    for services in (2, 4):
        shares = [np.arange(one, 1000, services) for one in range(services)]
        for index, rows in enumerate(in_order(shares)):
            assert stretches(rows, 1) == [Stretch(0, index, services, 1000 // services)]


def test_more_stretches_than_are_sensible_are_none() -> None:
    rows = np.random.default_rng(1).permutation(1000)
    assert stretches(rows, 100) is None


def test_a_frame_that_two_have_is_a_duplicate() -> None:
    shares = [[0, 1, 2], [2, 3]]
    whole = united([share(one) for one in shares], np.concatenate(shares), 4)
    assert (whole.written, whole.duplicate, whole.missing, whole.imbalance()) == (4, 1, 0, [])
    assert [one.tolist() for one in in_order([np.array(one) for one in shares])] == [[0, 1, 2], [-1, 3]]


def test_holes_are_listed_though_nobody_said_how_many_there_are() -> None:
    whole = united([share([375, 377]), share([376, 380])], np.array([375, 377, 376, 380]))
    assert (whole.expected, whole.missing, whole.missing_ranges) == (None, 2, [(378, 379)])


def test_numbers_that_began_anew_are_no_duplicates() -> None:
    again = share([0, 1, 0, 1])
    again.passes = 2
    whole = united([again], np.array([0, 1, 0, 1]), 4)
    assert (whole.written, whole.duplicate, whole.shortfalls()) == (4, 0, [])
