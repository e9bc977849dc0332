"""Changes of a closed file: the old one or the new one, wherever they were cut off."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.streaming.files.access import LIBRARY
from bluesky_streamdet.streaming.files.hold import Hold
from bluesky_streamdet.streaming.files.mending.amending import PAGE, Change, Overlay, amended, redo, redo_log
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, Superblock
from bluesky_streamdet.streaming.files.reader import open_to_read

FRAMES = np.arange(40 * 60, dtype="<u2").reshape(40, 60)


def make(path: Path) -> Path:
    with h5py.File(path, "x", libver=LIBRARY) as file:
        file.create_dataset("frames", data=FRAMES, chunks=(1, 60), maxshape=(None, 60))
        file["entry/said"] = "before"
    return path


def change(file: h5py.File) -> None:
    """Of many kinds: new objects in old groups, what is there replaced, what was there gone, more of what grows."""
    for number in range(20):
        file[f"entry/parameters/{number}"] = np.full(300, number)
    del file["entry/said"]
    file["entry/said"] = "after"
    file["frames"].resize(80, axis=0)
    file["frames"][40:] = FRAMES


def state(path: Path) -> str:
    """What the file says, which has to be all of it."""
    with open_to_read(path) as file:
        said = file["entry/said"].asstr()[()]
        new = said == "after"
        assert np.array_equal(file["frames"][:40], FRAMES)
        assert file["frames"].shape == ((80, 60) if new else (40, 60))
        assert len(file.get("entry/parameters", ())) == (20 if new else 0)
    return said


class Cut(io.FileIO):
    """A file of a process that dies after so many bytes."""

    left = 0

    def write(self, data: Any) -> int:
        done = super().write(memoryview(data)[: self.left])
        self.left -= done
        if not self.left:
            raise EOFError
        return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, bytes]:
    """The old file, the log, and the new file."""
    path = make(tmp_path_factory.mktemp("whole") / "a.h5")
    old = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        overlay = Overlay(file)
        with h5py.File(overlay, "r+", libver=LIBRARY) as changed:
            change(changed)
        log = overlay.change().pack()
    assert path.read_bytes() == old, "nothing is written before it is carried out"
    with amended(path) as changed:
        change(changed)
    return old, log, path.read_bytes()


def test_what_is_changed_is_there(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5")
    assert state(path) == "before"
    with amended(path) as file:
        change(file)

    assert state(path) == "after"
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    head = path.read_bytes()[:SIZE]
    assert Superblock(head).flags == 0
    assert Superblock(head).end == path.stat().st_size


def test_an_exception_changes_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5")
    old = path.read_bytes()

    def go_wrong() -> None:
        with amended(path) as file:
            change(file)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go_wrong()

    assert path.read_bytes() == old
    assert not redo_log(path).exists()


def test_a_block_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5")
    before = path.stat().st_mtime_ns
    with amended(path) as file:
        assert file["entry/said"].asstr()[()] == "before"

    assert path.stat().st_mtime_ns == before


def test_a_change_far_from_the_head(tmp_path: Path) -> None:
    """The mark goes, though nothing else changes where it is."""
    path = make(tmp_path / "a.h5")
    with amended(path) as file:
        file["far"] = np.zeros(10 * PAGE, "u1")
    with amended(path) as file:
        file["far"][5 * PAGE] = 1

    assert Superblock(path.read_bytes()[:SIZE]).flags == 0
    with h5py.File(path, "r") as file:
        assert file["far"][5 * PAGE] == 1


def cuts(length: int) -> list[int]:
    """Every place about the borders of pages, and some in between."""
    near = {border + step for border in range(0, length, PAGE) for step in (-1, 0, 1)}
    return sorted(one for one in near | {SIZE, SIZE - 1, length - 1, length - 32} if 0 <= one < length)


def test_a_log_that_is_not_whole_leaves_the_old_file(tmp_path: Path, whole: tuple[bytes, bytes, bytes]) -> None:
    old, log, _ = whole
    path = tmp_path / "a.h5"
    path.write_bytes(old)
    for length in cuts(len(log)):
        redo_log(path).write_bytes(log[:length])

        assert not redo(path)
        assert path.read_bytes() == old
        assert not redo_log(path).exists()


def test_a_change_that_was_cut_off_is_finished(tmp_path: Path, whole: tuple[bytes, bytes, bytes]) -> None:
    old, log, new = whole
    path = tmp_path / "a.h5"
    said = Change.unpack(log)
    assert said is not None
    total = SIZE + sum(len(page) for page, _ in said.pages.values())
    for length in cuts(total)[1:]:
        path.write_bytes(old)
        redo_log(path).write_bytes(log)
        with Cut(path, "r+") as file:
            file.left = length
            with pytest.raises(EOFError):
                said.apply(file)
        if SIZE <= length < total - SIZE:  # Who knows nothing of the log is not shown half a change.
            with pytest.raises(OSError, match=r"open for write|signature|checksum"):
                h5py.File(path, "r", locking=False)

        assert redo(path)
        assert path.read_bytes() == new
        assert not redo_log(path).exists()
    assert state(path) == "after"


def test_one_that_was_cut_off_is_finished_by_the_next(tmp_path: Path, whole: tuple[bytes, bytes, bytes]) -> None:
    old, log, _ = whole
    path = tmp_path / "a.h5"
    path.write_bytes(old)
    redo_log(path).write_bytes(log)
    with amended(path) as file:
        file["more"] = 1

    assert state(path) == "after"
    with open_to_read(path) as file:
        assert file["more"][()] == 1


def test_a_log_of_another_file_is_not_carried_out(tmp_path: Path, whole: tuple[bytes, bytes, bytes]) -> None:
    _, log, _ = whole
    path = tmp_path / "a.h5"
    with h5py.File(path, "x", libver=LIBRARY) as file:
        file["another"] = FRAMES
    with path.open("ab") as file:
        file.truncate(len(whole[0]))
    other = path.read_bytes()
    redo_log(path).write_bytes(log)

    assert not redo(path)
    assert path.read_bytes() == other


def test_a_file_that_is_written_is_left_alone(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5")
    with Hold(path):
        with pytest.raises(FileTaken, match="is being written"), amended(path):
            pass
        with h5py.File(path, "r", locking=True) as file:
            assert len(file["frames"]) == 40
    with amended(path) as file:
        change(file)
    assert state(path) == "after"


def test_two_can_not_hold_a_file(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5")
    with Hold(path), pytest.raises(FileTaken):
        Hold(path)
    Hold(path).release()


def test_a_file_that_grows_is_not_amended(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5")
    with h5py.File(path, "r+", libver=LIBRARY, locking=False) as writer:
        writer.swmr_mode = True
        with pytest.raises(OSError, match="already open"), amended(path):
            pass


Step = Callable[[Any], Any]
steps = some.one_of(
    some.builds(
        lambda place, data: lambda file: (file.seek(place), file.write(data)),
        some.integers(0, 3 * PAGE),
        some.binary(min_size=1, max_size=2 * PAGE),
    ),
    some.builds(lambda size: lambda file: file.truncate(size), some.integers(0, 4 * PAGE)),
    some.builds(
        lambda place, size: lambda file: (file.seek(place), file.read(size))[1],
        some.integers(0, 4 * PAGE),
        some.integers(0, 2 * PAGE),
    ),
)


@settings(max_examples=150, deadline=None)
@given(old=some.binary(max_size=3 * PAGE), what=some.lists(steps, max_size=8))
def test_an_overlay_is_a_file(tmp_path_factory: pytest.TempPathFactory, old: bytes, what: list[Step]) -> None:
    path = tmp_path_factory.getbasetemp() / "overlaid"
    path.write_bytes(old)
    plain = io.BytesIO(old)
    with path.open("r+b", buffering=0) as file:
        overlay = Overlay(file)
        for step in what:
            step(plain)
            # BytesIO does not grow by truncate, as a file does.
            step(overlay)
            if (size := overlay.size) > (have := plain.seek(0, os.SEEK_END)):
                plain.write(bytes(size - have))
            overlay.seek(0)
            assert overlay.read() == plain.getvalue()
        overlay.change().apply(file)
    assert path.read_bytes() == plain.getvalue()
