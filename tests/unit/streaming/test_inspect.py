"""What `inspect` says of files: ours in every state, and anybody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import NotOurFile, inspect
from bluesky_streamdet.streaming.files.mending.journal import append_journal, journal_of, take_journal
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.frames import frame, pictures

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = datetime(2026, 1, 2, tzinfo=UTC)


def closed(path: Path, report: SeriesReport, count: int = 3, event: int = 1, **way: Any) -> None:
    file = SeriesFile(path, "eiger", report.id, event=event)
    file.open(frame(0, **way), STARTED, {})
    if count:
        file.write([frame(number, **way) for number in range(10, 10 + count)])
    file.close(report, {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def test_a_complete_file(path: Path) -> None:
    ledger = LedgerReport(expected=3, received=3, unique=3, written=3)
    closed(path, SeriesReport(id="42", detector="eiger", outcome=Outcome.COMPLETE, ended_at=ENDED, ledger=ledger))

    report = inspect(path)
    assert report.complete
    assert report.verdict == "complete"
    assert (report.series, report.detector, report.started_at, report.ended_at) == ("42", "eiger", STARTED, ENDED)
    assert (report.readable, report.shape, report.dtype) == (3, (4, 6), "uint16")
    assert (report.first_number, report.last_number) == (10, 12)
    assert report.ledger == ledger
    assert report.filters == []
    assert report.nbytes == path.stat().st_size
    assert not report.journal


def test_an_incomplete_file_says_why(path: Path) -> None:
    ledger = LedgerReport(expected=5, received=3, unique=3, written=3, missing=2, missing_ranges=[(3, 4)])
    reason = "2 of 5 frames are missing (numbers 3-4)"
    closed(path, SeriesReport(id="42", detector="eiger", outcome=Outcome.INCOMPLETE, reason=reason, ledger=ledger))

    report = inspect(path)
    assert not report.complete
    assert report.verdict == f"incomplete: {reason}"
    assert report.ledger == ledger
    assert report.ended_at is None


def test_frames_of_events_are_counted_singly(path: Path) -> None:
    closed(path, SeriesReport(id="42", detector="eiger", outcome=Outcome.COMPLETE), count=7, event=3)

    report = inspect(path)
    assert (report.readable, report.shape, report.last_number) == (7, (4, 6), 16)


def test_the_filter_is_named(path: Path) -> None:
    closed(path, SeriesReport(id="42", detector="eiger", outcome=Outcome.COMPLETE), encoding=BSLZ4)

    assert inspect(path).filters[0].startswith("32008: bitshuffle")


def test_an_empty_file(path: Path) -> None:
    closed(path, SeriesReport(id="42", detector="eiger", outcome=Outcome.ABORTED, reason="by request"), count=0)

    report = inspect(path)
    assert (report.readable, report.first_number, report.last_number) == (0, None, None)
    assert report.verdict == "aborted: by request"


def test_a_file_that_is_being_written(path: Path) -> None:
    file = SeriesFile(path, "eiger", "42")
    file.open(frame(0), STARTED, {})
    file.write([frame(number) for number in range(5)])
    file.flush()
    append_journal(path, {"late": 1})

    report = inspect(path)
    assert report.outcome is None
    assert report.ledger is None
    assert report.readable == 5
    assert report.verdict.startswith("not closed: 5 frames are readable.")
    assert report.journal
    file.close(SeriesReport(id="42", detector="eiger", outcome=Outcome.COMPLETE), {"late": 1})
    assert not inspect(path).journal


DYING = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from tests.unit.streaming.frames import frame
file = SeriesFile(Path(sys.argv[1]), "eiger", "42")
file.open(frame(0), datetime.now(UTC), {})
file.write([frame(number) for number in range(5)])
file.flush()
file.write([frame(number) for number in range(5, 100)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_whose_writer_was_killed(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", DYING, str(path)], timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL

    report = inspect(path)
    assert report.outcome is None
    assert not report.complete
    assert report.readable == 5
    assert np.array_equal(read_frames(path, stop=5), pictures(range(5)))


def foreign_without_detector(file: h5py.File) -> None:
    file["/entry/instrument/thing"] = 1
    file["/entry/data/data"] = [1]


def foreign_with_odd_instrument(file: h5py.File) -> None:
    file["/entry/instrument"] = "a text"


def foreign_nexus(file: h5py.File) -> None:
    group = file.create_group("/entry/instrument/det")
    group.attrs["NX_class"] = "NXdetector"
    file["/entry/data/data"] = np.zeros((3, 4, 5))


def foreign_with_a_group_for_data(file: h5py.File) -> None:
    foreign_nexus(file)
    del file["/entry/data/data"]
    file.create_group("/entry/data/data")
    file["/entry/instrument/det/sequence_number"] = [1]


def foreign_with_scalars(file: h5py.File) -> None:
    foreign_nexus(file)
    del file["/entry/data/data"]
    file["/entry/data/data"] = 5
    file["/entry/instrument/det/sequence_number"] = 5


def foreign_with_another_outcome(file: h5py.File) -> None:
    foreign_nexus(file)
    file["/entry/instrument/det/sequence_number"] = [0, 1, 2]
    file["/entry/instrument/det/collection/outcome"] = "fine"


def foreign_with_a_number_for_outcome(file: h5py.File) -> None:
    foreign_nexus(file)
    file["/entry/instrument/det/sequence_number"] = [0, 1, 2]
    file["/entry/instrument/det/collection/outcome"] = 1


FOREIGN = [
    foreign_without_detector,
    foreign_with_odd_instrument,
    foreign_nexus,
    foreign_with_a_group_for_data,
    foreign_with_scalars,
    foreign_with_another_outcome,
    foreign_with_a_number_for_outcome,
]


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_files_of_others_are_named_so(path: Path, make: Any) -> None:
    with h5py.File(path, "w") as file:
        make(file)

    with pytest.raises(NotOurFile, match=r"scan\.h5 can't be read as a series of frames"):
        inspect(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)])
def test_what_is_no_hdf5_file_is_named_so(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(NotOurFile):
        inspect(path)


def test_what_is_not_there_is_named_so(path: Path) -> None:
    with pytest.raises(NotOurFile, match="There is no file"):
        inspect(path)
    with pytest.raises(NotOurFile):
        inspect(path.parent)


def test_a_file_that_was_cut_short_is_named_so(path: Path) -> None:
    closed(path, SeriesReport(id="42", detector="eiger", outcome=Outcome.COMPLETE))
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(NotOurFile) as refused:
        inspect(path)
    assert "has lost its end" in refused.value.hint


def test_a_file_of_an_old_library_is_read(path: Path) -> None:
    with h5py.File(path, "w", libver="earliest") as file:
        file["/entry/data/data"] = np.arange(10)

    assert read_frames(path, start=2, stop=4).tolist() == [2, 3]


def test_a_reader_waits_for_a_writer_that_adds_something(path: Path) -> None:
    closed(path, SeriesReport(id="42", detector="eiger", outcome=Outcome.COMPLETE))
    code = "import sys,h5py\nwith h5py.File(sys.argv[1],'r+',locking=False): print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        waits = 0

        def sleep(seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 3:
                assert writer.stdin is not None
                writer.stdin.close()
                writer.wait(30)

        from bluesky_streamdet.streaming.files.reader import open_to_read

        with open_to_read(path, sleep) as file:
            assert len(file["/entry/data/data"]) == 3
        assert waits == 3


def test_a_line_that_a_crash_cut_short_is_left_out(path: Path) -> None:
    append_journal(path, {"a": 1, "b": 1})
    append_journal(path, {"b": 2})
    with open(journal_of(path), "a", encoding="utf-8") as journal:
        journal.write('{"c": ')

    assert take_journal(path) == {"a": 1, "b": 2}
    assert take_journal(path.with_name("other.h5")) == {}
