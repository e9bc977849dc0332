"""The sums of a ledger, and what it says of a series in words."""

from __future__ import annotations

from collections import Counter

from bluesky_streamdet.core.ledger import Ledger


def test_a_ledger_in_order() -> None:
    ledger = Ledger(
        expected=10,
        received=14,
        unique=9,
        duplicate=2,
        foreign=Counter(other=1),
        malformed=Counter(noise=2),
        written=4,
        live_only=1,
        discarded=Counter(aborted=1),
        failed=Counter(disk=1),
        gaps=1,
    )
    assert ledger.imbalance() == []
    assert (ledger.missing, ledger.pending) == (1, 2)


def test_sums_that_do_not_hold_are_named() -> None:
    ledger = Ledger(received=3, unique=1, written=2)
    assert ledger.imbalance() == [
        "received 3 is not unique + duplicate + foreign + malformed = 1",
        "1 more frames were settled than the 1 unique ones",
    ]


def test_missing_is_counted_by_gaps_while_nobody_said_how_many_come() -> None:
    assert Ledger(received=4, unique=4, gaps=2).missing == 2


def test_what_was_expected_besides_is_missing_once_the_series_has_ended() -> None:
    ledger = Ledger(expected=10, received=4, unique=4, gaps=2)
    assert ledger.missing == 2
    ledger.end()
    assert ledger.missing == 6


def test_a_complete_series_has_no_shortfalls() -> None:
    assert Ledger(expected=3, received=4, unique=3, duplicate=1, written=3).shortfalls() == []


def test_shortfalls_say_what_is_missing_and_where() -> None:
    ledger = Ledger(expected=10, ended=True, received=4, unique=4, written=3, missing_ranges=[(1, 1), (4, 8)])
    assert ledger.shortfalls() == ["6 of 10 frames are missing (numbers 1, 4-8)", "1 frames were never settled"]


def test_shortfalls_list_few_ranges() -> None:
    ledger = Ledger(gaps=6, missing_ranges=[(number, number) for number in range(0, 12, 2)])
    assert ledger.shortfalls() == ["6 frames are missing (numbers 0, 2, 4, 6, 8, …)"]


def test_a_gap_that_others_made_up_for_in_number_is_told() -> None:
    """Ten frames came, but not the ten that were meant: data and positions would be out of step."""
    ledger = Ledger(expected=10, ended=True, received=10, unique=10, written=10, gaps=1, missing_ranges=[(5, 5)])
    assert ledger.imbalance() == []
    assert ledger.shortfalls() == ["1 frames are missing in between (numbers 5), though as many came as expected"]


def test_more_frames_than_expected_are_the_new_measure() -> None:
    ledger = Ledger(expected=5, received=6, unique=6, written=6)
    ledger.end()
    assert (ledger.expected, ledger.missing, ledger.imbalance(), ledger.shortfalls()) == (6, 0, [], [])


def test_failed_and_malformed_ones_are_told_with_their_reasons() -> None:
    ledger = Ledger(received=3, unique=2, malformed=Counter(noise=1), written=1, failed=Counter(write_failed=1))
    assert ledger.shortfalls() == ["1 frames failed (write_failed)", "1 malformed messages (noise)"]


def test_a_report_has_plain_values() -> None:
    ledger = Ledger(expected=3, ended=True, received=2, unique=1, foreign=Counter(other=1), missing_ranges=[(1, 2)])
    report = ledger.report()
    assert report["missing"] == 2
    assert report["missing_ranges"] == [[1, 2]]
    assert type(report["foreign"]) is dict
    assert report.keys() >= {"expected", "received", "unique", "duplicate", "written", "pending", "late", "passes"}
