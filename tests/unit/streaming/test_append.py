"""A file that goes on with another series: what fits is there for others at once, what does not is refused."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.core.events import BSLZ4, LZ4, Frame
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import appending
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.mending.journal import append_journal, journal_of
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.elsewhere import Elsewhere
from tests.unit.streaming.frames import NOON, frame, pictures
from tests.unit.streaming.spectra import counts, record, spectra

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
COLLECTION = "/entry/instrument/eiger/collection"
LARGE = {"shape": (400, 400), "dtype": "<u4"}


def report(series: str, written: int, **counts: Any) -> SeriesReport:
    ledger = LedgerReport(received=written, unique=written, written=written, **counts)
    return SeriesReport(
        id=series, detector="eiger", outcome=Outcome.COMPLETE, reason=f"said of {series}", ended_at=LATER, ledger=ledger
    )


def opened(
    path: Path, series: str, first: Frame, metadata: Mapping[str, Any] | None = None, **options: Any
) -> SeriesFile:
    file = SeriesFile(path, "eiger", series, append=True, **options)
    file.open(first, STARTED if series == "s0" else LATER, metadata or {})
    return file


def write(path: Path, series: str, frames: list[Frame], late: Mapping[str, Any] | None = None, **options: Any) -> None:
    file = opened(path, series, frames[0], **options)
    file.write(frames)
    assert file.flush() == len(frames)
    file.close(report(series, len(frames)), late or {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


WAYS = [
    pytest.param({}, id="small frames that share chunks"),
    pytest.param({"encoding": BSLZ4}, id="bslz4"),
    pytest.param({"encoding": LZ4}, id="lz4"),
    pytest.param({"encoding": BSLZ4, "parts": 2}, id="in two parts"),
    pytest.param(LARGE, id="too large to share a chunk"),
    pytest.param({"detail": {"real_time": 5, "temperature": 1.5}}, id="numbers of each frame"),
]


@pytest.mark.parametrize("way", WAYS)
def test_rows_go_on_where_the_series_before_ended(path: Path, elsewhere: Elsewhere, way: dict[str, Any]) -> None:
    shape, dtype = way.get("shape", (4, 6)), way.get("dtype", "<u2")
    lengths = (1, 3, 5) if way is LARGE else (5, 70, 64, 1, 130)
    numbers: list[int] = []
    for index, length in enumerate(lengths):
        file = opened(path, f"s{index}", frame(0, **way))
        assert file.data is not None
        assert file.data.first_row == len(numbers)
        for start in range(0, length, 7):
            some = [frame(1000 * index + number, **way) for number in range(start, min(start + 7, length))]
            file.write(some)
            numbers += [one.number for one in some]
            assert file.flush() == file.rows == start + len(some)
            assert np.array_equal(elsewhere.rows(path)[: len(numbers)], pictures(numbers, shape, dtype))
        file.close(report(f"s{index}", length), {})

    with h5py.File(path) as content:
        assert np.array_equal(content["/entry/data/data"][()], pictures(numbers, shape, dtype))
        group = content["/entry/instrument/eiger"]
        assert group["sequence_number"][()].tolist() == numbers
        assert group["receive_time"][()].tolist() == [NOON + number for number in numbers]
        for name, value in (way.get("detail") or {}).items():
            assert group[name][()].tolist() == [value] * len(numbers)


def test_each_series_keeps_its_account(path: Path) -> None:
    write(path, "s0", [frame(0), frame(1)], metadata={"count_time": 1.0})
    lost = {"failed": {"the disk, twice": 3}, "missing": 2, "missing_ranges": [(7, 8)], "expected": 9}
    file = opened(path, "s1", frame(0), {"count_time": 2.5, "pixel_mask": np.ones((2, 2))})
    file.write([frame(0)])
    file.close(report("s1", 1, **lost), {"sample": {"name": "b"}})
    write(path, "s2", [frame(0)] * 3)

    said = inspect(path)
    assert [(one.series, one.first_row, one.frames) for one in said.earlier] == [("s0", 0, 2), ("s1", 2, 1)]
    assert [one.reason for one in said.earlier] == ["said of s0", "said of s1"]
    assert [one.started_at for one in said.earlier] == [STARTED, LATER]
    assert said.earlier[1].ledger == report("s1", 1, **lost).ledger
    assert (said.series, said.first_row, said.written, said.readable) == ("s2", 3, 3, 6)
    assert (said.reason, said.ledger) == ("said of s2", report("s2", 3).ledger)
    assert said.complete
    with h5py.File(path) as content:
        assert content["/entry/start_time"].asstr()[()] == STARTED.isoformat()
        assert content["/entry/instrument/eiger/count_time"][()] == 1.0
        own = content[f"{COLLECTION}/appended/s1"]
        assert own["settings/count_time"][()] == 2.5
        assert own["settings/pixel_mask"].shape == (2, 2)
        assert own["parameters/sample/name"].asstr()[()] == "b"
        assert "parameters" not in content[COLLECTION]


def test_a_ledger_that_is_too_long_is_cut(path: Path) -> None:
    many = {"missing": 9999, "missing_ranges": [(2 * number, 2 * number) for number in range(5000)]}
    many["failed"] = {f"{number} {'é' * 70}": 2 for number in range(200)}
    file = opened(path, "s0", frame(0))
    file.write([frame(0)])
    file.close(report("s0", 1, **many), {})
    write(path, "s1", [frame(0)])

    (first,) = inspect(path).earlier
    assert first.ledger.missing == 9999
    assert sum(first.ledger.failed.values()) == 400


def test_a_series_that_lost_frames_makes_the_file_incomplete(path: Path) -> None:
    file = opened(path, "s0", frame(0))
    file.write([frame(0)])
    file.close(report("s0", 1).model_copy(update={"outcome": Outcome.ABORTED}), {})
    write(path, "s1", [frame(0)])

    assert inspect(path).outcome is Outcome.COMPLETE
    assert not inspect(path).complete


@pytest.mark.parametrize("way", [{}, LARGE])
def test_whole_events_go_on(path: Path, way: dict[str, Any]) -> None:
    for index in range(3):
        write(path, f"s{index}", [frame(number, **way) for number in range(6 * index, 6 * index + 6)], event=3)

    shape, dtype = way.get("shape", (4, 6)), way.get("dtype", "<u2")
    with h5py.File(path) as content:
        assert content["/entry/data/data"].shape == (6, 3, *shape)
        assert np.array_equal(content["/entry/data/frames"][()], pictures(range(18), shape, dtype))
        assert content["/entry/instrument/eiger/sequence_number"][()].tolist() == np.arange(18).reshape(6, 3).tolist()


def test_spectra_go_on_with_their_scalars(path: Path) -> None:
    write(path, "s0", [spectra(number) for number in range(5)])
    write(path, "s1", [spectra(number) for number in range(5, 12)])

    with h5py.File(path) as content:
        group = content["/entry/instrument/eiger"]
        assert np.array_equal(group["data"][()], np.stack([counts(number) for number in range(12)]))
        for name in record(0).dtype.names or ():
            assert np.array_equal(group[name][()], np.concatenate([record(number)[name] for number in range(12)])), name


def test_a_cut_keeps_the_series_before(path: Path) -> None:
    write(path, "s0", [frame(number) for number in range(5)])
    file = opened(path, "s1", frame(0))
    file.write([frame(number) for number in range(5, 15)])
    file.flush()
    file.cut(2)
    file.close(report("s1", 2), {})

    assert np.array_equal(read_frames(path), pictures(range(7)))
    write(path, "s2", [frame(7)])
    assert np.array_equal(read_frames(path), pictures(range(8)))


def test_what_the_series_before_left_beside_the_file_is_kept(path: Path) -> None:
    write(path, "s0", [frame(0)])
    append_journal(path, {"left": 1})
    write(path, "s1", [frame(0)], late={"own": 2})

    with h5py.File(path) as content:
        assert content[f"{COLLECTION}/parameters/left"][()] == 1
        assert content[f"{COLLECTION}/appended/s1/parameters/own"][()] == 2
    assert not journal_of(path).exists()


def of_other_shape(path: Path) -> Frame:
    return frame(0, (5, 6))


def of_other_type(path: Path) -> Frame:
    return frame(0, dtype="<u4")


def compressed(path: Path) -> Frame:
    return frame(0, encoding=BSLZ4)


def with_a_number_more(path: Path) -> Frame:
    return frame(0, detail={"real_time": 5, "temperature": 1.5, "humidity": 3})


def with_a_number_less(path: Path) -> Frame:
    return frame(0, detail={"real_time": 5})


def with_a_number_of_another_kind(path: Path) -> Frame:
    return frame(0, detail={"real_time": 5.5, "temperature": 1.5})


DETAIL = {"real_time": 5, "temperature": 1.5}
MISFITS: list[tuple[Callable[[Path], Frame], dict[str, Any], str]] = [
    (of_other_shape, {}, r"it has frames of shape \(4, 6\), and what comes has \(5, 6\)"),
    (of_other_type, {}, "it has pixels of type <u2, and what comes has <u4"),
    (compressed, {}, "it has pixels with no filter, and what comes has bslz4"),
    (with_a_number_more, {"detail": DETAIL}, "it has no humidity, and frames come with it"),
    (with_a_number_less, {"detail": DETAIL}, "it has temperature of each frame, which does not come now"),
    (
        with_a_number_of_another_kind,
        {"detail": DETAIL},
        "its real_time has .* int64, .* has .* float64",
    ),
]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("first", "way", "why"), MISFITS, ids=lambda one: getattr(one, "__name__", None))
def test_frames_that_do_not_fit_leave_the_file_as_it_was(
    path: Path, first: Callable[[Path], Frame], way: dict[str, Any], why: str
) -> None:
    write(path, "s0", [frame(0, **way)])
    before = digest(path)

    with pytest.raises(FileTaken, match=why):
        opened(path, "s1", first(path))
    assert digest(path) == before
    write(path, "s2", [frame(1, **way)])
    assert np.array_equal(read_frames(path), pictures(range(2)))


def test_a_file_that_somebody_writes_is_refused(path: Path) -> None:
    file = opened(path, "s0", frame(0))

    with pytest.raises(FileTaken, match="never closed"):
        appending.look(path, "eiger", "s1", 1)
    file.write([frame(0)])
    file.close(report("s0", 1), {})
    assert appending.look(path, "eiger", "s1", 1).readable == 1


@pytest.mark.parametrize(
    ("detector", "series", "event", "why"),
    [
        ("pilatus", "s1", 1, "it is of the detector eiger, and not of pilatus"),
        ("eiger", "s0", 1, "it has a series s0 already. Give the series another id"),
        ("eiger", "s1", 2, "it has 1 frames an event, and 2 are asked for"),
    ],
)
def test_a_file_of_something_else_is_refused(path: Path, detector: str, series: str, event: int, why: str) -> None:
    write(path, "s0", [frame(0)])

    with pytest.raises(FileTaken, match=why):
        appending.look(path, detector, series, event)


def test_an_event_that_is_not_full_is_not_filled_by_another_series(path: Path) -> None:
    write(path, "s0", [frame(number) for number in range(5)], event=3)

    with pytest.raises(FileTaken, match="its last event has 2 of 3 frames only"):
        appending.look(path, "eiger", "s1", 3)


def test_a_foreign_file_is_refused(path: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(FileTaken, match="can't go on with another series: can't be read as a series of frames"):
        appending.look(path, "eiger", "s1", 1)
    assert path.read_bytes() == b"precious"


def test_a_file_of_an_older_version_is_refused(path: Path) -> None:
    write(path, "s0", [frame(0)])
    with h5py.File(path, "r+") as content:
        del content[f"{COLLECTION}/series"]

    with pytest.raises(FileTaken, match="an older version wrote it"):
        appending.look(path, "eiger", "s1", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_refused(path: Path) -> None:
    write(path, "s0", [frame(0)])
    path.chmod(0o444)

    with pytest.raises(FileTaken, match="it can't be written to"):
        appending.look(path, "eiger", "s1", 1)


DYING = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import h5py
from bluesky_streamdet.streaming.files import verdict
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from tests.unit.streaming.frames import frame
left = int(sys.argv[2])
fill = verdict._fill
def die(*arguments):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
def dying(place, text):
    fill(place, text)
    place.file.flush()
    die()
verdict._fill = dying
file = SeriesFile(Path(sys.argv[1]), "eiger", "s1", append=True)
file.open(frame(0), datetime.now(UTC), {})
file.write([frame(number) for number in range(5, 12)])
file.flush()
die()
"""
"""Goes on in a file, and kills itself after so many of the places of its account were written."""


@pytest.mark.parametrize("moment", [1, 2, 3, 4, 5, 6])
def test_a_kill_costs_nothing_that_was_there(path: Path, moment: int) -> None:
    write(path, "s0", [frame(number) for number in range(5)])
    ended = subprocess.run([sys.executable, "-c", DYING, str(path), str(moment)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL

    said = inspect(path)
    begun = moment >= 5
    if begun:
        assert (said.series, said.outcome) == ("s1", None)
        (first,) = said.earlier
    else:
        assert (said.series, said.earlier) == ("s0", [])
        first = said.account
    assert (first.series, first.frames, first.outcome) == ("s0", 5, Outcome.COMPLETE)
    assert (first.reason, first.ledger) == ("said of s0", report("s0", 5).ledger)
    assert said.written == (0 if moment == 5 else 7 if begun else 5)
    assert np.array_equal(read_frames(path), pictures(range(said.readable)))
    with pytest.raises(FileTaken, match="what is in a file whose writer died stays readable"):
        appending.look(path, "eiger", "s2", 1)


def test_the_identifier_is_of_the_last_series(path: Path) -> None:
    write(path, "s0", [frame(0)])
    write(path, "a much longer identifier", [frame(0)])

    with h5py.File(path) as content:
        assert content["/entry/entry_identifier"].asstr()[()] == "a much longer identifier"
