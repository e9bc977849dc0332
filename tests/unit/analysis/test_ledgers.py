"""What became of each frame of a run, as its files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("xarray", reason="needs the extra 'analysis'")

from bluesky_streamdet.analysis import arrivals, ledgers
from bluesky_streamdet.analysis.runs import referred
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.ledger import Ledger
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import NotOurFile, inspect
from bluesky_streamdet.streaming.files.reader import local_path
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.analysis.catalog import CatalogRun, CatalogStream, Remote
from tests.unit.streaming.spectra import spectra
from tests.unit.streaming.test_hdf5 import STARTED, report


def written(path: Path, numbers: list[int], ledger: Ledger | None = None) -> Path:
    """A file with frames of these numbers."""
    file = SeriesFile(path, "xsp", "s1")
    file.open(spectra(numbers[0]), STARTED, {})
    file.write([spectra(number) for number in numbers])
    closed = report(len(numbers))
    if ledger is not None:
        said = LedgerReport.model_validate(ledger.report())
        closed = SeriesReport(
            id="s1", detector="xsp", outcome=Outcome.INCOMPLETE, reason="; ".join(ledger.shortfalls()), ledger=said
        )
    file.close(closed, {})
    return path


def run_of(*paths: Path, keys: str = "xsp") -> CatalogRun:
    uris = [f"file://localhost{path}" for path in paths]
    described = {keys: {"object_name": keys}}
    return CatalogRun({}, primary=CatalogStream({keys: Remote([[0]], uris)}, described))


def test_a_file_that_went_on_with_another_series(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", [0, 1, 2])
    file = SeriesFile(path, "xsp", "s2", append=True)
    file.open(spectra(0), STARTED, {})
    file.write([spectra(number) for number in (0, 2)])
    ledger = LedgerReport(expected=3, received=2, unique=2, written=2, missing=1, missing_ranges=[(1, 1)])
    file.close(report(2).model_copy(update={"ledger": ledger}), {})

    (found,) = ledgers(run_of(path))
    assert [(one.series, one.first_row, one.ledger.written) for one in (*found.earlier, found.account)] == [
        ("s1", 0, 3),
        ("s2", 3, 2),
    ]
    frames = arrivals(found)
    assert frames.row.values.tolist() == [3, -1, 4]
    assert frames.missing.values.tolist() == [False, True, False]


def test_a_file_that_lost_frames(tmp_path: Path) -> None:
    ledger = Ledger(expected=7, received=4, unique=4, written=3, missing_ranges=[(1, 2), (6, 6)], ended=True)
    ledger.discarded["queue full"] = 1
    (found,) = ledgers(run_of(written(tmp_path / "a.h5", [0, 4, 3], ledger)))
    assert (found.outcome, found.complete) == (Outcome.INCOMPLETE, False)
    assert "3 of 7 frames are missing (numbers 1-2, 6)" in found.verdict
    frames = arrivals(found)
    assert frames.attrs["verdict"] == found.verdict
    assert frames.written.values.tolist() == [True, False, False, True, True, False, False]
    assert frames.missing.values.tolist() == [False, True, True, False, False, False, True]
    assert frames.row.values.tolist() == [0, -1, -1, 2, 1, -1, -1]
    assert np.isnat(frames.receive_time.values).tolist() == [False, True, True, False, False, True, True]
    assert frames.receive_time.dtype == "datetime64[ns]"


def test_files_of_a_run_are_in_their_order_and_said_once(tmp_path: Path) -> None:
    paths = [written(tmp_path / name, [0, 1]) for name in ("b.h5", "a.h5")]
    run = run_of(*paths, paths[0])
    assert [one.path for one in ledgers(run)] == paths
    assert ledgers(run, "another detector") == []


def test_a_file_that_was_not_closed(tmp_path: Path) -> None:
    file = SeriesFile(tmp_path / "a.h5", "xsp", "s1")
    file.open(spectra(0), STARTED, {})
    file.write([spectra(0), spectra(2)])
    file.flush()
    report = inspect(tmp_path / "a.h5")
    assert report.ledger is None and "not closed" in report.verdict
    assert arrivals(report).written.values.tolist() == [True, False, True]
    file.close(SeriesReport(id="s1", detector="xsp"), {})


def test_numbers_that_began_anew(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several frames of the same number"):
        arrivals(inspect(written(tmp_path / "a.h5", [0, 1, 0, 1])))


def test_files_on_another_mount(tmp_path: Path) -> None:
    written(tmp_path / "a.h5", [0])
    run = run_of(Path("/elsewhere/a.h5"))
    with pytest.raises(NotOurFile, match="no file /elsewhere/"):
        ledgers(run)
    (found,) = ledgers(run, path_map={"/elsewhere": str(tmp_path)})
    assert found.path == tmp_path / "a.h5"


def test_spaces_in_names(tmp_path: Path) -> None:
    path = tmp_path / "a scan.h5"
    path.touch()
    assert local_path(f"file://localhost{path}") == path
    assert local_path(f"file://localhost{path}".replace(" ", "%20")) == path


@pytest.mark.parametrize("kind", ["event", "event_page"])
def test_files_that_datums_are_of(kind: str) -> None:
    resource = {"uid": "r1", "root": "/data/", "resource_path": "a.h5"}
    ids, numbers = ["r1/0", "r1/1"], [1.0, 2.0]
    pages = [{"data": {"det": ids, "motor": numbers, "note": ["r9/0", ""]}}]
    events = [{"data": {"det": ids[row], "motor": numbers[row], "note": "r9/0"}} for row in range(2)]
    documents = [("resource", resource), *((kind, one) for one in (events if kind == "event" else pages))]
    assert referred(documents) == {"det": ["file://localhost/data/a.h5"]}
