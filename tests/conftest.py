"""Fixtures that all tests share: nothing left behind, a RunEngine that ends, recordings and third-party parts."""

from __future__ import annotations

import os

# Before anything is imported that reads them: a bad read fails at once instead of ten times, libraries' threads do not
# fight over the cores, and nothing looks for a display.
os.environ.update(TILED_RETRY_ATTEMPTS="1", OMP_NUM_THREADS="1", MPLBACKEND="Agg")

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.leftovers import (  # noqa: F401, pytest finds fixtures and hooks by their names
    leaves_no_tasks,
    logs_no_error,
    looks_for_tasks,
    pytest_fixture_setup,
    pytest_runtest_teardown,
    starts_what_stays,
)

# A shell starts what runs in the background with Ctrl-C ignored, and so would all be that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from bluesky import RunEngine

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("streamdet", deadline=None)
hypothesis.settings.load_profile("streamdet")

PEERS = Path(__file__).parent.parent / ".peers"


class Recordings:
    """Recorded streams of real detectors: `test_data / "folder/file"` is a path, or skips the test by that name."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def __truediv__(self, name: str) -> Path:
        path = None if self._folder is None else self._folder / name
        if path is None or not path.exists():
            pytest.skip(f"needs $STREAMDET_TEST_DATA: {name}")
        return path


@pytest.fixture(scope="session")
def test_data() -> Recordings:
    """The folder $STREAMDET_TEST_DATA; recordings of real detectors are not part of this repository."""
    folder = os.environ.get("STREAMDET_TEST_DATA")
    return Recordings(Path(folder) if folder else None)


@pytest.fixture(scope="session")
def databroker1_python() -> Path:
    """The interpreter of an environment with databroker 1.2.5, which ours cannot have."""
    return _of_peer("databroker1", "python")


@pytest.fixture(scope="session")
def dranspose_python() -> Path:
    """The interpreter of an environment with dranspose, which breaks with the cbor2 that ours has."""
    return _of_peer("dranspose", "python")


@pytest.fixture(scope="session")
def tickit_bin() -> Path:
    """The command of tickit, with the simulated detectors of tickit-devices."""
    return _of_peer("tickit", "tickit")


@pytest.fixture(scope="session")
def viewers_python() -> Path:
    """The interpreter of an environment with silx, which brings much that ours does not need."""
    return _of_peer("viewers", "python")


@pytest.fixture(scope="session")
def browser_python() -> Path:
    """The interpreter of an environment with playwright, which steers the browser of this machine."""
    return _of_peer("browser", "python")


@pytest.fixture(scope="session")
def hdf5_1_12_python() -> Path:
    """The interpreter of an environment whose h5py has an HDF5 that is some years old."""
    return _of_peer("hdf5_1_12", "python")


@pytest.fixture(scope="session")
def h5dump() -> Path:
    """HDF5's own tool, as Debian has it."""
    found = shutil.which("h5dump")
    if found is None:
        pytest.skip("needs h5dump: `apt-get install hdf5-tools`")
    return Path(found)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser, as Debian has it."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs chromium: `apt-get install chromium`")
    return Path(found)


@pytest.fixture(scope="session")
def pymca_python() -> Path:
    """The interpreter of an environment with PyMca, which is made on request only."""
    return _of_peer("pymca", "python", "make peers PEERS=pymca")


def _of_peer(peer: str, program: str, how: str = "make peers") -> Path:
    path = PEERS / peer / "bin" / program
    if not path.exists():
        pytest.skip(f"needs .peers/{peer}: run `{how}`")
    return path


@pytest.fixture(name="RE")
def run_engine() -> Iterator[RunEngine]:
    """A RunEngine whose event loop and thread end with the test.

    A plan that the test leaves paused is halted, which RunEngine logs as an error, so that the test fails.
    """
    engines = pytest.importorskip("bluesky.run_engine", reason="needs the extra 'bluesky'")
    before = engines.get_bluesky_event_loop()
    loop = asyncio.new_event_loop()
    engine = engines.RunEngine({}, loop=loop)
    thread = engine._th
    yield engine
    if engine.state == "paused":
        engine.halt()
    asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    pending = asyncio.all_tasks(loop)
    loop.close()
    engines.set_bluesky_event_loop(before)
    if pending:
        pytest.fail(f"left behind in the RunEngine's loop: {pending}", pytrace=False)
