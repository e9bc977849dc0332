from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.records import SeriesRecords, interrupted, tally
from bluesky_streamdet.streaming.files.paths import RECORDS
from bluesky_streamdet.streaming.settling import LOST
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport


@dataclass
class Disk:
    series: str = "a"
    outcome: Outcome | None = None
    reason: str = ""
    written: int = 0
    ledger: LedgerReport | None = None


def report(id: str = "a", detector: str = "eiger", **values: object) -> SeriesReport:
    return SeriesReport.model_validate({"id": id, "detector": detector, **values})


def loaded(directory: Path, detector: str = "eiger", kept: int = 100) -> SeriesRecords:
    records = SeriesRecords(directory, detector, kept)
    records.load()
    return records


def test_outlives_the_service(tmp_path: Path) -> None:
    records = loaded(tmp_path)
    records.note(report("a", ledger=LedgerReport(received=5)))
    records.save(report("a", ledger=LedgerReport(received=5)))

    again = loaded(tmp_path).get("a")
    assert again is not None
    assert again.ledger.received == 5


def test_keeps_to_its_own_detector(tmp_path: Path) -> None:
    loaded(tmp_path).save(report("a"))

    assert loaded(tmp_path, "other").newest_first() == []


def test_series_of_the_same_id_are_kept_apart(tmp_path: Path) -> None:
    """A script arms all cameras of a beamline with one id, and they share a data directory."""
    for detector, count in (("eiger", 5), ("pco", 7)):
        loaded(tmp_path, detector).save(report("a", detector, ledger=LedgerReport(received=count)))

    for detector, count in (("eiger", 5), ("pco", 7)):
        found = loaded(tmp_path, detector).get("a")
        assert found is not None
        assert found.ledger.received == count


def test_a_record_of_the_version_before_is_found_and_replaced(tmp_path: Path) -> None:
    loaded(tmp_path)
    (tmp_path / RECORDS / "a.json").write_text(report("a").model_dump_json())
    records = loaded(tmp_path)
    assert [one.id for one in records.unfinished()] == ["a"]
    records.save(report("a", outcome="complete"))

    assert loaded(tmp_path).unfinished() == []
    assert [file.name for file in (tmp_path / RECORDS).iterdir()] == ["eiger.a.json"]


def test_keeps_the_newest(tmp_path: Path) -> None:
    records = loaded(tmp_path, kept=2)
    for id in "abc":
        records.note(report(id))
        records.save(report(id))

    assert [one.id for one in records.newest_first()] == ["c", "b"]
    assert sorted(file.stem for file in (tmp_path / RECORDS).glob("*.json")) == ["eiger.b", "eiger.c"]


def test_tells_news_from_counts(tmp_path: Path) -> None:
    records = loaded(tmp_path)

    assert records.note(report())
    assert not records.note(report(ledger=LedgerReport(received=1)))
    assert records.note(report(ledger=LedgerReport(received=1), outcome="complete"))


def test_unfinished(tmp_path: Path) -> None:
    records = loaded(tmp_path)
    records.note(report("a"))
    records.note(report("b", outcome="complete"))

    assert [one.id for one in records.unfinished()] == ["a"]


def test_a_broken_record_is_left_alone(tmp_path: Path) -> None:
    loaded(tmp_path).save(report("a"))
    broken = tmp_path / RECORDS / "b.json"
    broken.write_text('{"id": "b", "det')

    assert [one.id for one in loaded(tmp_path).newest_first()] == ["a"]
    assert broken.exists()


def test_after_a_restart_they_are_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    """Also when more was said of an older one since, as a hook does; and no more are kept than before."""
    records = loaded(tmp_path)
    for number, id in enumerate("dbca"):
        records.note(begun := report(id, armed_at=f"2026-01-01T00:00:0{number}Z"))
        records.save(begun)
    records.save(report("d", armed_at="2026-01-01T00:00:00Z", hook={"code": 1}))

    assert [one.id for one in loaded(tmp_path).newest_first()] == ["a", "c", "b", "d"]
    again = loaded(tmp_path, kept=3)
    assert [one.id for one in again.newest_first()] == ["a", "c", "b"]
    again.save(report("a"))
    assert "eiger.d.json" not in {file.name for file in (tmp_path / RECORDS).iterdir()}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"id": "another", "detector": "eiger"}',
        '{"id": "../../b", "detector": "eiger"}',
        '{"id": "b", "detector": "eiger", "armed_at": "0001-01-01T00:00:00"}',
        "\udcff",
    ],
)
def test_records_that_somebody_has_changed(tmp_path: Path, text: str) -> None:
    loaded(tmp_path).save(report("a"))
    changed = tmp_path / RECORDS / "b.json"
    changed.write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / RECORDS / "folder.json").mkdir()
    (tmp_path / RECORDS / "nowhere.json").symlink_to(tmp_path / "nowhere")

    records = loaded(tmp_path, kept=1)
    assert [one.id for one in records.newest_first()] in (["a"], ["b"])
    assert "a" in loaded(tmp_path)
    records.note(report("c"))
    records.save(report("c"))
    assert sorted(tmp_path.glob("*.json")) == []


def test_statistics_are_counts_and_no_news(tmp_path: Path) -> None:
    records = loaded(tmp_path)
    records.note(report())

    assert not records.note(report(statistics={"bytes_received": 5, "received_per_second": 1.5}))


def test_a_directory_that_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    with pytest.raises(ConfigError, match="can't be used"):
        loaded(tmp_path / "data")


def test_what_had_not_reached_the_disk_is_lost_by_name() -> None:
    ledger = LedgerReport(expected=10, received=8, unique=7, duplicate=1, written=4, missing=3, pending=3)

    final = interrupted(report(ledger=ledger), Disk(written=5), "it died")

    assert (final.outcome, final.reason) == (Outcome.INTERRUPTED, "it died")
    assert final.ended_at is not None
    assert final.ledger == LedgerReport(
        expected=10, received=8, unique=7, duplicate=1, written=5, failed={LOST: 2}, missing=3, pending=0
    )


def test_the_file_may_be_ahead_of_the_last_news() -> None:
    ledger = LedgerReport(expected=10, received=3, unique=3, written=3, missing=7)

    final = interrupted(report(ledger=ledger), Disk(written=6), "it died").ledger

    assert (final.received, final.unique, final.written, final.missing) == (6, 6, 6, 4)


def test_a_file_that_was_closed_with_all_its_frames_has_the_last_word() -> None:
    ledger = LedgerReport(expected=9, received=9, unique=9, written=9)
    disk = Disk(outcome=Outcome.COMPLETE, written=9, ledger=ledger)

    final = interrupted(report(), disk, "it died")

    assert (final.outcome, final.reason, final.ledger) == (Outcome.COMPLETE, "", ledger)


def test_a_file_that_was_closed_for_want_of_a_service() -> None:
    ledger = LedgerReport(received=9, unique=9, written=9)
    disk = Disk(outcome=Outcome.COMPLETE, reason="stopped", written=9, ledger=ledger)

    final = interrupted(report(), disk, "it died")

    assert (final.outcome, final.ledger) == (Outcome.INTERRUPTED, ledger)
    assert final.reason == "it died; its file was closed as complete: stopped"


counts = st.integers(0, 50)
reasons = st.dictionaries(st.sampled_from(["one", "two"]), counts)


@given(counts, counts, counts, reasons, reasons, reasons, reasons, counts, st.none() | counts)
def test_the_sums_hold_whatever_died(
    written: int,
    live_only: int,
    pending: int,
    discarded: dict[str, int],
    failed: dict[str, int],
    foreign: dict[str, int],
    malformed: dict[str, int],
    readable: int,
    expected: int | None,
) -> None:
    unique = written + live_only + sum(discarded.values()) + sum(failed.values()) + pending
    ledger = LedgerReport(
        expected=expected,
        received=unique + sum(foreign.values()) + sum(malformed.values()),
        unique=unique,
        foreign=foreign,
        malformed=malformed,
        written=written,
        live_only=live_only,
        discarded=discarded,
        failed=failed,
        pending=pending,
    )

    final = interrupted(report(ledger=ledger), Disk(written=written + readable), "it died").ledger

    assert final.received == final.unique + sum(final.foreign.values()) + sum(final.malformed.values())
    assert final.unique == final.written + final.live_only + sum(final.discarded.values()) + sum(final.failed.values())
    assert final.pending == 0
    assert final.expected is None or final.missing == max(0, final.expected - final.unique)


def test_tally() -> None:
    ledger = LedgerReport(expected=9, received=3, written=2, discarded={"x": 1})

    assert {key: count for key, count in tally(ledger).items() if count} == {
        ("received", ""): 3,
        ("written", ""): 2,
        ("discarded", "x"): 1,
    }
