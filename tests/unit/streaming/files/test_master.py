"""Masters of files that were written at the same time, or by somebody who died: what they show, in every layout."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.errors import FileTaken, WriteFailed
from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.reader import open_to_read, read_frames
from bluesky_streamdet.streaming.files.several import master
from bluesky_streamdet.streaming.files.several.naming import Name
from bluesky_streamdet.streaming.files.several.parts import Part
from bluesky_streamdet.streaming.files.several.rolling import Rolling, RollingFile
from bluesky_streamdet.streaming.files.several.whole import restore_master, write_together
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.files.laid_out import SHIPPED, STARTED, shipped
from tests.unit.streaming.frames import frame, pictures
from tests.unit.streaming.spectra import counts, spectra

each = pytest.mark.parametrize("layout", SHIPPED)


def report(path: Path, id: str, frames: int, outcome: Outcome = Outcome.COMPLETE) -> SeriesReport:
    ledger = LedgerReport(received=frames, unique=frames, written=frames, shared=True)
    return SeriesReport(id=id, detector="eiger", file=str(path), outcome=outcome, ledger=ledger, ended_at=STARTED)


def share(path: Path, numbers: Sequence[int], layout: str = "nexus", **way: Any) -> SeriesReport:
    """A file of its own with these frames, of a series named like it."""
    file = SeriesFile(path, "eiger", path.stem, layout=shipped(layout))
    frames = [frame(number, **way) for number in numbers]
    file.open(frames[0], STARTED, {"count_time": 0.5})
    file.write(frames)
    said = report(path, path.stem, len(numbers))
    file.close(said, {})
    return said


def shown_numbers(path: Path) -> list[int]:
    with open_to_read(path) as file:
        return file[places.read(file).columns["sequence_number"]][()].reshape(-1).tolist()


@each
@pytest.mark.parametrize("services", [1, 2, 4])
def test_shares_of_several_services_are_one_series_in_order(tmp_path: Path, layout: str, services: int) -> None:
    reports = [share(tmp_path / f"s{one}.h5", range(one, 50, services), layout) for one in range(services)]
    whole = write_together(tmp_path / "all.h5", reports, series="all", expected=50)

    assert (whole.outcome, whole.ledger.written, whole.ledger.missing) == (Outcome.COMPLETE, 50, 0)
    assert np.array_equal(read_frames(tmp_path / "all.h5"), pictures(range(50)))
    assert shown_numbers(tmp_path / "all.h5") == list(range(50))
    said = inspect(tmp_path / "all.h5")
    assert (said.complete, said.series, said.layout, said.ledger) == (True, "all", layout, whole.ledger)
    assert [(one.file, one.series) for one in said.parts] == [(f"s{one}.h5", f"s{one}") for one in range(services)]
    with h5py.File(tmp_path / "all.h5") as file:
        assert len(file[said.data].virtual_sources()) == services


def test_shares_that_are_dealt_unevenly_are_in_order_with_what_is_missing(tmp_path: Path) -> None:
    dealt = np.random.default_rng(7).integers(0, 3, 200)
    numbers = [
        [number for number in range(200) if dealt[number] == one and number not in (17, 18, 90)] for one in range(3)
    ]
    reports = [share(tmp_path / f"s{one}.h5", numbers[one], encoding=BSLZ4) for one in range(3)]
    whole = write_together(tmp_path / "all.h5", reports, series="all", expected=200)

    left = [number for number in range(200) if number not in (17, 18, 90)]
    assert (whole.outcome, whole.ledger.missing, whole.ledger.missing_ranges) == (
        Outcome.INCOMPLETE,
        3,
        [(17, 18), (90, 90)],
    )
    assert "3 of 200 frames are missing (numbers 17-18, 90)" in whole.reason
    assert np.array_equal(read_frames(tmp_path / "all.h5"), pictures(left))


def test_too_many_stretches_leave_the_order_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master, "MOST_STRETCHES", 10)
    dealt = np.random.default_rng(7).integers(0, 2, 60)
    numbers = [np.flatnonzero(dealt == one).tolist() for one in range(2)]
    reports = [share(tmp_path / f"s{one}.h5", numbers[one]) for one in range(2)]
    whole = write_together(tmp_path / "all.h5", reports, series="all", expected=60)

    assert whole.outcome is Outcome.COMPLETE
    assert "in the order of the files" in whole.reason
    assert shown_numbers(tmp_path / "all.h5") == numbers[0] + numbers[1]
    assert np.array_equal(read_frames(tmp_path / "all.h5"), pictures(numbers[0] + numbers[1]))


def test_a_frame_that_two_services_have_is_shown_once_and_counted(tmp_path: Path) -> None:
    reports = [share(tmp_path / "a.h5", [0, 1, 2, 4]), share(tmp_path / "b.h5", [2, 3, 5])]
    whole = write_together(tmp_path / "all.h5", reports, series="all", expected=6)

    assert (whole.outcome, whole.ledger.duplicate, whole.ledger.written) == (Outcome.COMPLETE, 1, 6)
    assert "came twice" in whole.reason
    assert np.array_equal(read_frames(tmp_path / "all.h5"), pictures(range(6)))


def test_numbers_that_began_anew_hide_no_frame(tmp_path: Path) -> None:
    reports = [share(tmp_path / "a.h5", [0, 1, 0, 1]), share(tmp_path / "b.h5", [2, 2])]
    reports[0].ledger.passes = 2
    whole = write_together(tmp_path / "all.h5", reports, series="all", expected=6)

    assert (whole.outcome, whole.ledger.duplicate, whole.ledger.written) == (Outcome.COMPLETE, 0, 6)
    assert np.array_equal(read_frames(tmp_path / "all.h5"), pictures([0, 1, 0, 1, 2, 2]))


def test_what_is_not_of_a_kind_makes_no_master(tmp_path: Path) -> None:
    reports = [share(tmp_path / "a.h5", [0, 2]), share(tmp_path / "b.h5", [1, 3], shape=(2, 3))]
    with pytest.raises(WriteFailed, match="of another kind"):
        write_together(tmp_path / "all.h5", reports, series="all")
    with pytest.raises(WriteFailed, match="of the series a, and not of x"):
        write_together(tmp_path / "all.h5", [reports[0].model_copy(update={"id": "x"})], series="all")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    said = share(tmp_path / "a.h5", [0, 1])
    (tmp_path / "all.h5").write_text("mine")
    with pytest.raises(FileTaken):
        write_together(tmp_path / "all.h5", [said], series="all")
    assert (tmp_path / "all.h5").read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.h5", "all.h5"]
    write_together(tmp_path / "all.h5", [said], series="all", replace=True)
    assert inspect(tmp_path / "all.h5").complete


@each
def test_what_each_frame_has_differs_from_file_to_file(tmp_path: Path, layout: str) -> None:
    """Texts grow longer, and a key comes that was not there before."""
    reports = [
        share(tmp_path / "a.h5", [0, 2], layout, detail={"note": "short", "gain": 1}),
        share(
            tmp_path / "b.h5", [1, 3], layout, detail={"note": "much longer than before " * 5, "gain": 2, "more": 1.5}
        ),
    ]
    write_together(tmp_path / "all.h5", reports, series="all", expected=4)

    with open_to_read(tmp_path / "all.h5") as file:
        columns = places.read(file).columns
        notes = file[columns["note"]].asstr()[()].reshape(-1).tolist()
        assert notes == ["short", "much longer than before " * 5] * 2
        assert file[columns["gain"]][()].reshape(-1).tolist() == [1, 2, 1, 2]
        more = file[columns["more"]][()].reshape(-1)
        assert np.array_equal(more, [np.nan, 1.5, np.nan, 1.5], equal_nan=True)


@each
def test_spectra_come_with_their_scalars(tmp_path: Path, layout: str) -> None:
    for one in range(2):
        frames = [spectra(number) for number in range(one, 8, 2)]
        file = SeriesFile(tmp_path / f"{one}.h5", "eiger", str(one), layout=shipped(layout))
        file.open(frames[0], STARTED, {})
        file.write(frames)
        file.close(report(tmp_path / f"{one}.h5", str(one), 4), {})
    reports = [report(tmp_path / f"{one}.h5", str(one), 4) for one in range(2)]
    write_together(tmp_path / "all.h5", reports, series="all", expected=8)

    with open_to_read(tmp_path / "all.h5") as file, open_to_read(tmp_path / "1.h5") as second:
        there = places.read(second)
        assert np.array_equal(file[there.frames][()], np.array([counts(number) for number in range(8)]))
        for path in there.columns.values():
            assert np.array_equal(file[path][1::2], second[path][()]), path


def rolled(folder: Path, frames: int, *, close: bool) -> None:
    """Files of four frames each; without `close` as they are when the writer dies."""
    name = Name("scan").numbered()

    def part(path: Path, part: Part) -> SeriesFile:
        return SeriesFile(path, "eiger", "s", part=part)

    file = RollingFile(Rolling(folder / name.whole, name, 4), "eiger", "s", part)
    file.open(frame(0), STARTED, {})
    file.write([frame(number) for number in range(frames) if number != 2])
    file.flush()
    if close:
        ledger = LedgerReport(expected=frames, received=frames - 1, unique=frames - 1, written=frames - 1, missing=1)
        file.close(
            SeriesReport(
                id="s", detector="eiger", outcome=Outcome.INCOMPLETE, ledger=ledger, ended_at=datetime.now(UTC)
            ),
            {},
        )


def test_a_master_is_restored_of_the_files_that_a_writer_has_left(tmp_path: Path) -> None:
    rolled(tmp_path, 12, close=True)
    (tmp_path / "scan.h5").unlink()
    (tmp_path / "notes.h5").write_text("of another program")
    share(tmp_path / "scan_004.h5", [77])
    left_over = SeriesFile(tmp_path / "scan_007.h5", "eiger", "an earlier run", part=Part(4, 12, "scan.h5"))
    left_over.open(frame(0), STARTED, {})
    left_over.write([frame(12)])
    left_over.close(report(tmp_path / "scan_007.h5", "an earlier run", 1), {})

    said = restore_master(tmp_path / "scan_002.h5")
    left = [0, 1, *range(3, 12)]
    assert (said.outcome, said.ledger.written, said.ledger.missing_ranges) == (Outcome.INTERRUPTED, 11, [(2, 2)])
    assert np.array_equal(read_frames(tmp_path / "scan.h5"), pictures(left))
    again = inspect(tmp_path / "scan.h5")
    assert (again.outcome, again.readable, len(again.parts)) == (Outcome.INTERRUPTED, 11, 3)
    assert restore_master(tmp_path / "scan.h5").ledger == said.ledger


def test_a_master_that_lacks_a_file_in_between_is_not_restored(tmp_path: Path) -> None:
    rolled(tmp_path, 12, close=True)
    (tmp_path / "scan_002.h5").unlink()
    with pytest.raises(WriteFailed, match="file 2 of the series is not there"):
        restore_master(tmp_path / "scan_001.h5")
    with pytest.raises(WriteFailed, match="not one of several"):
        restore_master(Path(str(share(tmp_path / "alone.h5", [0]).file)))


def test_a_master_of_somebody_else_is_not_replaced_by_a_restored_one(tmp_path: Path) -> None:
    rolled(tmp_path, 6, close=True)
    share(tmp_path / "other.h5", [0])
    (tmp_path / "other.h5").replace(tmp_path / "scan.h5")
    with pytest.raises(FileTaken):
        restore_master(tmp_path / "scan_001.h5")


def test_a_file_of_a_master_that_was_cut_short_is_named(tmp_path: Path) -> None:
    reports = [share(tmp_path / f"s{one}.h5", range(one, 20, 2)) for one in range(2)]
    write_together(tmp_path / "all.h5", reports, series="all", expected=20)
    with (tmp_path / "s1.h5").open("r+b") as file:
        file.truncate(4000)
    said = inspect(tmp_path / "all.h5")
    assert "s1.h5 has 4000 bytes" in said.verdict and not said.complete
    assert (said.readable, said.first_number, said.last_number) == (20, 0, 19)


def test_a_master_that_is_opened_by_a_link_finds_its_files(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    reports = [share(tmp_path / "run" / f"s{one}.h5", range(one, 20, 2)) for one in range(2)]
    write_together(tmp_path / "run" / "all.h5", reports, series="all", expected=20)
    (tmp_path / "last.h5").symlink_to(tmp_path / "run" / "all.h5")
    assert inspect(tmp_path / "last.h5").complete and len(read_frames(tmp_path / "last.h5")) == 20
