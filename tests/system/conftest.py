"""One Tiled server for all tests, and a catalog in it for each; and an Eiger to be steered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bluesky_streamdet.local import TiledProcess
from tests.system.simulated_eiger import Tickit

pytest.importorskip("tiled.server", reason="needs the extra 'demo'")

WRITERS = ("bluesky_tiled_plugins", "bluesky.callbacks.tiled_writer")


@pytest.fixture(scope="session")
def frames_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files must lie that the Tiled server may read."""
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="session")
def tiled_uri(tmp_path_factory: pytest.TempPathFactory, frames_folder: Path) -> Iterator[str]:
    """Of a Tiled server, with its key."""
    with TiledProcess(tmp_path_factory.mktemp("catalog"), frames_folder) as server:
        yield server.uri


@pytest.fixture(scope="session")
def tiled_root(tiled_uri: str) -> Iterator[Any]:
    """The client of that server."""
    from tiled.client import from_uri

    root = from_uri(tiled_uri)
    yield root
    root.context.close()


@pytest.fixture(autouse=True)
def reads_in_the_tests_own_thread() -> Iterator[None]:
    """Have Tiled's client read without dask's threads, which stay."""
    import dask.config

    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def db(tiled_root: Any) -> Any:
    """An empty catalog of runs."""
    from tiled.structures.core import Spec

    return tiled_root.create_container(uuid4().hex, specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest, db: Any) -> Callable[[str, dict[str, Any]], None]:
    """Each of the two callbacks that put documents into Tiled, document by document."""
    import importlib

    return importlib.import_module(request.param).TiledWriter(db, batch_size=1)


@pytest.fixture(scope="module")
def tickit(tickit_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tickit]:
    simulator = Tickit(tickit_bin, tmp_path_factory.mktemp("tickit"))
    try:
        simulator.start()
        yield simulator
    finally:
        simulator.stop()
