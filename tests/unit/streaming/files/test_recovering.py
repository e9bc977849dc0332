"""What a crash left is said and mended: copies of files that are being written stand for those of writers that died."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.access import LIBRARY, Access
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import NotOurFile, inspect
from bluesky_streamdet.streaming.files.mending.amending import Overlay, redo_log
from bluesky_streamdet.streaming.files.mending.journal import journal_of
from bluesky_streamdet.streaming.files.mending.recovering import NotMended, recover
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, Superblock
from bluesky_streamdet.streaming.files.paths import RECORDS
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.frames import NOON, frame, pictures

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PARAMETERS = "/entry/instrument/eiger/collection/parameters"


def left(path: Path, frames: int = 10, unflushed: int = 3, late: dict[str, Any] | None = None, **options: Any) -> Path:
    """A file whose writer died after so many frames that could be read, and others that could not yet."""
    own = path.with_name("own.h5")
    file = SeriesFile(own, "eiger", "s1", **options)
    file.open(frame(0), NOW, {"count_time": 0.1}, {"sample": "LaB6"})
    file.write([frame(number) for number in range(frames)])
    file.flush()
    if late:
        file.note(late)
    file.write([frame(frames + number) for number in range(unflushed)])
    shutil.copy(own, path)
    if late:
        shutil.copy(journal_of(own), journal_of(path))
    file.close(SeriesReport(id="s1", detector="eiger", outcome=Outcome.COMPLETE), {})
    return path


@pytest.mark.parametrize("options", [{}, {"event": 4}, {"access": Access(swmr="off")}])
def test_a_writer_that_died(tmp_path: Path, options: dict[str, Any]) -> None:
    path = left(tmp_path / "a.h5", late={"late": 5}, **options)
    before = path.read_bytes()
    dry = recover(path, dry_run=True)

    assert path.read_bytes() == before and not dry.mended
    done = recover(path)
    assert done.found == dry.found and done.mended
    assert any("10 frames of it are readable" in one for one in done.found)
    said = inspect(path)
    assert said == done.report
    assert said.outcome is Outcome.INTERRUPTED and said.readable == 10
    assert said.ledger == LedgerReport(received=10, unique=10, written=10)
    assert said.ended_at == datetime.fromtimestamp((NOON + 9) / 1e9, UTC)
    with h5py.File(path, "r") as file:
        assert file.attrs["complete"] == False  # noqa: E712, a number of HDF5
        flat = file["/entry/data/frames" if "event" in options else "/entry/data/data"][()]
        assert np.array_equal(flat, pictures(range(10)))
        assert file[f"{PARAMETERS}/late"][()] == 5
        assert file[f"{PARAMETERS}/sample"].asstr()[()] == "LaB6"
    assert not journal_of(path).exists()
    mended = path.read_bytes()
    assert recover(path).found == []
    assert path.read_bytes() == mended


def test_a_file_that_is_whole(tmp_path: Path) -> None:
    left(tmp_path / "a.h5")
    own = tmp_path / "own.h5"
    before = own.read_bytes()

    assert recover(own).found == []
    assert own.read_bytes() == before
    with h5py.File(own, "r") as file:
        assert file.attrs["complete"]


def test_what_the_service_has_noted(tmp_path: Path) -> None:
    """Of frames that were on their way nothing but their number is left."""
    folder = tmp_path / "day" / "one"
    folder.mkdir(parents=True)
    path = left(folder / "a.h5")
    (tmp_path / RECORDS).mkdir(parents=True)
    ledger = LedgerReport(expected=100, received=15, unique=14, duplicate=1, written=8, pending=6)
    note = SeriesReport(id="s1", detector="eiger", ledger=ledger)
    (tmp_path / RECORDS / "eiger.s1.json").write_text(note.model_dump_json())
    recover(path)

    said = inspect(path).ledger
    assert said is not None
    assert (said.expected, said.received, said.unique, said.written, said.missing) == (100, 15, 14, 10, 86)
    assert sum(said.failed.values()) == 4


def test_a_file_that_somebody_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    file = SeriesFile(path, "eiger", "s1")
    file.open(frame(0), NOW, {}, {})
    file.write([frame(0)])
    file.flush()
    with pytest.raises(FileTaken, match="is being written"):
        recover(path)
    file.close(SeriesReport(id="s1", detector="eiger", outcome=Outcome.COMPLETE), {})

    assert recover(path).found == []


def test_changes_that_were_interrupted(tmp_path: Path) -> None:
    left(tmp_path / "a.h5")
    own = tmp_path / "own.h5"
    with own.open("r+b", buffering=0) as raw:
        overlay = Overlay(raw)
        with h5py.File(overlay, "r+", libver=LIBRARY) as file:
            file["more"] = 5
        change = overlay.change()
        redo_log(own).write_bytes(change.pack())
        raw.truncate(change.size)
    assert inspect_says(own).startswith("A change of") or inspect(own).redo
    assert recover(own, dry_run=True).found == ["changes of it were interrupted, and lie beside it"]

    assert recover(own).mended
    with h5py.File(own, "r") as file:
        assert file["more"][()] == 5
    assert not redo_log(own).exists()


def inspect_says(path: Path) -> str:
    try:
        return inspect(path).verdict
    except NotOurFile as error:
        return str(error)


def test_one_that_went_on_with_another_series(tmp_path: Path) -> None:
    """The account of the series before stays, and what came late belongs to the one that was cut short."""
    path = tmp_path / "own.h5"
    left(tmp_path / "other.h5")
    file = SeriesFile(path, "eiger", "s2", append=True)
    file.open(frame(0), NOW, {}, {"sample": "Si"})
    file.write([frame(number) for number in range(5)])
    file.flush()
    file.note({"late": 6})
    copy = tmp_path / "copy.h5"
    shutil.copy(path, copy)
    shutil.copy(journal_of(path), journal_of(copy))
    file.close(SeriesReport(id="s2", detector="eiger", outcome=Outcome.COMPLETE), {})
    recover(copy)

    said = inspect(copy)
    assert [one.outcome for one in said.earlier] == [Outcome.COMPLETE]
    assert (said.series, said.outcome, said.first_row, said.written) == ("s2", Outcome.INTERRUPTED, 13, 5)
    assert said.ledger == LedgerReport(received=5, unique=5, written=5)
    with h5py.File(copy, "r") as file:
        assert file["/entry/instrument/eiger/collection/appended/s2/parameters/late"][()] == 6


def test_one_that_is_shorter_than_it_says(tmp_path: Path) -> None:
    """As by a disk that was full when HDF5 wanted to write what it had room for in mind."""
    path = left(tmp_path / "a.h5", frames=300)
    content = path.read_bytes()
    head = Superblock(content[:SIZE])
    head.flags, head.end = 0, len(content) + 10_000
    path.write_bytes(head.pack() + content[SIZE:])
    with pytest.raises(OSError, match="truncated"):
        h5py.File(path, "r")
    with pytest.raises(NotOurFile, match="truncated"):
        inspect(path)
    done = recover(path)

    assert "it is shorter than it says" in done.found
    assert path.stat().st_size < head.end, "nothing was needed of what was never written"
    with h5py.File(path, "r") as file:
        assert np.array_equal(file["/entry/data/data"][()], pictures(range(300)))


@pytest.mark.parametrize("share", [0.99, 0.5, 0.02])
def test_one_that_has_lost_its_end(tmp_path: Path, share: float) -> None:
    """That it was complete once does not help."""
    left(tmp_path / "a.h5", frames=300)
    own = tmp_path / "own.h5"
    with own.open("r+b") as file:
        file.truncate(int(own.stat().st_size * share))
    content = own.read_bytes()
    with pytest.raises((NotMended, NotOurFile)):
        recover(own)

    assert own.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_file_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises((NotOurFile, NotMended)):
        recover(path)

    assert path.read_bytes() == content
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = 1
    with pytest.raises((NotOurFile, NotMended)):
        recover(tmp_path / "b.h5")
    with pytest.raises(NotOurFile, match="There is no file"):
        recover(tmp_path / "c.h5")


def headers_damaged(content: bytes) -> bytes:
    """The headers of all objects but the first with a wrong checksum."""
    first = content.index(b"OHDR") + 1
    damaged = bytearray(content)
    while (first := content.find(b"OHDR", first) + 1) > 0:
        damaged[first + 7 : first + 11] = b"\xff" * 4
    return bytes(damaged)


@pytest.mark.parametrize("damage", [headers_damaged, lambda content: content[:4000]])
def test_a_file_that_was_damaged_stays_as_it_is(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = left(tmp_path / "a.h5", frames=300)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises((NotOurFile, NotMended)):
        recover(path)

    assert path.read_bytes() == content
    assert not redo_log(path).exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = left(tmp_path / "a.h5")
    assert main(["recover", "--dry-run", str(path)]) == 1
    assert "its writer died while the series ran" in capsys.readouterr().out
    assert main(["recover", str(path), str(tmp_path / "own.h5")]) == 0
    said = capsys.readouterr().out
    assert "mended. interrupted: its writer died" in said and "own.h5: nothing to mend" in said
    assert main(["recover", str(tmp_path / "none.h5"), str(path)]) == 1
    assert "There is no file" in capsys.readouterr().err
    assert main(["inspect", "--json", str(path)]) == 1
    assert json.loads(capsys.readouterr().out)["outcome"] == "interrupted"


def test_a_damaged_file_that_was_left_is_inspected_at_once(tmp_path: Path) -> None:
    """By SWMR, HDF5 would read metadata with a wrong checksum again and again, for minutes."""
    path = left(tmp_path / "a.h5", frames=300)
    path.write_bytes(headers_damaged(path.read_bytes()))
    with pytest.raises(NotOurFile, match="checksum"):
        inspect(path)
