"""Which files a request or a stream may name: none outside of the data directory, none that exists, none that hurts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import FileTaken, PathRefused
from bluesky_streamdet.streaming.files.paths import DataDirectory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    return root


@pytest.mark.parametrize(
    ("directory", "name", "expected"),
    [
        (None, "scan", "scan.h5"),
        ("", "scan.h5", "scan.h5"),
        ("p1/s2", "scan", "p1/s2/scan.h5"),
        ("p1", "raw/scan.nxs", "p1/raw/scan.nxs"),
        ("p1", "../scan.hdf5", "scan.hdf5"),
        (None, "scan.H5", "scan.H5.h5"),
        (None, "run.1", "run.1.h5"),
        (None, ".hidden", ".hidden.h5"),
        (None, "Größe 中", "Größe 中.h5"),
    ],
)
def test_a_name_becomes_a_path_inside(root: Path, directory: str | None, name: str, expected: str) -> None:
    assert DataDirectory(root).file(directory, name) == root / expected


def test_an_absolute_path_inside_is_as_good(root: Path) -> None:
    assert DataDirectory(root).file(str(root / "p1"), "scan") == root / "p1/scan.h5"
    assert DataDirectory(root).file(None, f"{root}/p1/scan.h5") == root / "p1/scan.h5"


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        (None, "../scan"),
        ("..", "scan"),
        ("p1/../..", "scan"),
        (None, "/etc/passwd"),
        ("/etc", "passwd"),
        ("/", "scan"),
        (None, "../data"),
        (None, "../data2/scan"),
        (None, "a/b/../../../scan.h5"),
    ],
)
def test_a_path_outside_is_refused(root: Path, directory: str | None, name: str) -> None:
    with pytest.raises(PathRefused, match="outside of the data directory"):
        DataDirectory(root).file(directory, name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "//", "   ", "...", "./", "scan\0.h5", "scan\n", "\x1b[2J", "\ud800", "scan\u202e", ".h5"],
)
def test_what_is_no_file_name_is_refused(root: Path, name: str) -> None:
    with pytest.raises(PathRefused):
        DataDirectory(root).file(None, name)
    with pytest.raises(PathRefused):
        DataDirectory(root).file("folder", name)


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 120, "a/" * 400 + "scan", "x" * 100_000, "a/" * 5000 + "scan"])
def test_what_is_too_long_is_refused(root: Path, name: str) -> None:
    with pytest.raises(PathRefused):
        DataDirectory(root).file(None, name)


def test_the_longest_name_can_be_written_with_its_journal(root: Path) -> None:
    path = DataDirectory(root).file(None, "ü" * 98 + "a")

    path.with_name(path.name + ".parameters").touch()


def test_a_folder_with_an_endless_name_is_refused(root: Path) -> None:
    directory = DataDirectory(root)

    with pytest.raises(PathRefused, match="can't be made"):
        directory.prepare(directory.file("x" * 300, "scan"))


def test_a_link_out_of_the_directory_is_refused(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "file.h5").symlink_to(outside / "file.h5")

    for directory, name in (("link", "scan"), (None, "file.h5"), (None, "link/deeper/scan")):
        with pytest.raises(PathRefused, match="outside"):
            DataDirectory(root).file(directory, name, existing=True)


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to(root / "real")

    assert DataDirectory(root).file("link", "scan") == root / "real/scan.h5"


def test_a_circle_of_links_is_refused(root: Path) -> None:
    (root / "one").symlink_to(root / "other")
    (root / "other").symlink_to(root / "one")

    with pytest.raises(PathRefused):
        DataDirectory(root).file("one", "scan")


def test_a_link_that_leads_outside_is_named_so(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(PathRefused, match=r"outside of the data directory .*, as a link leads there"):
        DataDirectory(root).file("link", "scan")


def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "today").symlink_to(root)

    assert DataDirectory(tmp_path / "today").file(None, "scan") == root / "scan.h5"


def test_an_existing_file_is_kept_unless_it_may_be_replaced(root: Path) -> None:
    (root / "scan.h5").touch()
    directory = DataDirectory(root)

    with pytest.raises(FileTaken, match=r"scan\.h5 exists"):
        directory.file(None, "scan")
    assert directory.file(None, "scan", existing=True) == root / "scan.h5"


def test_what_is_no_file_is_never_replaced(root: Path) -> None:
    (root / "folder.h5").mkdir()
    os.mkfifo(root / "pipe.h5")

    for name in ("folder", "pipe"):
        with pytest.raises(FileTaken, match="is no file"):
            DataDirectory(root).file(None, name, existing=True)


def test_a_name_that_is_taken_gets_a_number(root: Path) -> None:
    directory = DataDirectory(root)
    for expected in ("scan.nxs", "scan_1.nxs", "scan_2.nxs"):
        path = directory.free_file("p1", "scan.nxs")
        directory.prepare(path)
        path.touch()
        assert path == root / "p1" / expected
    assert directory.free_file(None, "run.1") == root / "run.1.h5"


def test_a_file_cannot_be_a_folder(root: Path) -> None:
    (root / "scan.h5").touch()
    directory = DataDirectory(root)

    with pytest.raises(PathRefused, match="can't be made"):
        directory.prepare(directory.file("scan.h5", "other"))


def test_a_folder_that_is_gone_is_made_again(root: Path) -> None:
    directory = DataDirectory(root)
    root.rmdir()
    path = directory.file("p1/s1", "scan")

    directory.prepare(path)

    assert path.parent.is_dir()


PREPARE = """
import sys
from pathlib import Path
from bluesky_streamdet.core.errors import PathRefused
from bluesky_streamdet.streaming.files.paths import DataDirectory
root = Path(sys.argv[1])
try:
    DataDirectory(root).prepare(root / sys.argv[2])
except PathRefused as error:
    print(error)
"""


@pytest.mark.parametrize(("name", "words"), [("scan.h5", "can't be written to"), ("new/scan.h5", "can't be made")])
def test_a_folder_without_permission_is_named(tmp_path: Path, name: str, words: str) -> None:
    root = tmp_path / "data"
    root.mkdir(mode=0o555)
    command = [sys.executable, "-c", PREPARE, str(root), name]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, as root may write everywhere")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    assert words in said
    assert str(root) in said
