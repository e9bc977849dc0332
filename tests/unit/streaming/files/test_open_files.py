"""Masters of more files than a process may have open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.several.naming import Name
from bluesky_streamdet.streaming.files.several.rolling import Rolling, RollingFile
from tests.unit.streaming.files.laid_out import STARTED, report
from tests.unit.streaming.frames import frame

FILES = 120
FEW = 118
"""Enough for those that a master is verified with at once, and not for all."""
PROCESS = """
import resource, sys
from pathlib import Path

from bluesky_streamdet.streaming.files.reader import read_frames
from tests.unit.streaming.files.test_open_files import write

path, what, soft, hard = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
print(write(Path(path)) if what == "write" else len(read_frames(path)))
"""


def write(path: Path) -> int:
    """A series of one frame a file."""
    rolling = Rolling(path, Name(path.name).numbered(), 1)
    file = RollingFile(rolling, "eiger", "s", lambda one, part: SeriesFile(one, "eiger", "s", part=part))
    file.open(frame(0), STARTED, {})
    file.write([frame(number) for number in range(FILES)])
    file.close(report("s", FILES), {})
    return file.rows


def run(path: Path, what: str, soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    """Write or read in a process that may open so many files."""
    command = [sys.executable, "-c", PROCESS, str(path), what, str(soft), str(hard)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "scan.h5"
    done = run(path, "write", FEW, FEW)
    assert done.returncode == 0, done.stderr
    return path


def test_the_writer_needs_not_all_of_them_at_once(master: Path) -> None:
    said = inspect(master)
    assert said.complete and said.readable == FILES


def test_a_reader_opens_as_many_as_it_may(master: Path) -> None:
    done = run(master, "read", 40, 4096)
    assert (done.returncode, done.stdout) == (0, f"{FILES}\n"), done.stderr


def test_a_reader_that_may_not_gets_an_error_and_no_fill_values(master: Path) -> None:
    done = run(master, "read", 40, 60)
    assert done.returncode
    assert f"OSError: {master} shows frames of files that can't be read: there are {FILES}" in done.stderr
