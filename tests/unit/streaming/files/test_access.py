"""How files are created and opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.streaming.files.access import NETWORK, Access, file_system
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, Superblock
from bluesky_streamdet.streaming.files.ownership import Ownership
from tests.unit.streaming.elsewhere import Elsewhere


def test_kinds_of_file_systems() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/no/such/folder")) == file_system(Path("/"))
    assert not NETWORK & {"ext4", "xfs", "tmpfs", "gpfs", "lustre", "ceph", "overlay"}


@pytest.mark.parametrize(("swmr", "marked"), [("on", True), ("auto", True), ("off", False)])
def test_with_and_without_swmr(tmp_path: Path, elsewhere: Elsewhere, swmr: str, marked: bool) -> None:
    path = tmp_path / "a.h5"
    writable = Access(swmr=swmr).create(path)  # type: ignore[arg-type]
    rows = writable.file.create_dataset("rows", (0,), "i4", maxshape=(None,))
    writable.grow()
    rows.resize((5,))
    writable.file.flush()

    head = Superblock(path.read_bytes()[:SIZE])
    assert (head.marks, writable.swmr) == (marked, marked)
    assert elsewhere.rows(path, "/rows").tolist() == [0] * 5
    writable.close()
    again = Access(swmr="auto").open_to_append(path)
    assert again.swmr is marked, "a file goes on as it was begun"
    again.grow()
    again.close()


def test_one_that_is_written_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    access = Access()
    first = access.create(path)
    with pytest.raises(FileTaken, match="is being written"):
        access.create(path, replace=True)
    assert first.in_place
    first.close()
    second = access.create(path, replace=True)
    second.close()
    with pytest.raises(FileExistsError):
        access.create(path)


def test_a_file_that_is_no_longer_there(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    writable = Access().create(path)
    assert writable.in_place
    path.rename(tmp_path / "b.h5")
    assert not writable.in_place
    path.touch()
    assert not writable.in_place, "another one of its name"
    writable.close()


def test_what_can_not_be_given_away_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, user: int, group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(PermissionError):
        Access(ownership=Ownership(user=12345)).create(tmp_path / "a.h5")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("locking", "refused"), [("on", True), ("off", False)])
def test_a_lock_that_is_asked_for(tmp_path: Path, locking: str, refused: bool) -> None:
    path = tmp_path / "a.h5"
    writable = Access(locking=locking, swmr="off").create(path)  # type: ignore[arg-type]
    writable.grow()
    reader = f"import h5py; h5py.File({str(path)!r}, 'r', locking=True)"
    ended = subprocess.run([sys.executable, "-c", reader], capture_output=True, text=True, timeout=30, check=False)
    writable.close()

    assert ("unable to lock file" in ended.stderr) is refused, ended.stderr
