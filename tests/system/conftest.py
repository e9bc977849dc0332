"""One Tiled server for all tests, and a catalog in it for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tiled.server", reason="needs the extra 'demo'")

WRITERS = ("bluesky_tiled_plugins", "bluesky.callbacks.tiled_writer")


@pytest.fixture(scope="session")
def frames_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files must lie that the Tiled server may read."""
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="session")
def tiled_root(tmp_path_factory: pytest.TempPathFactory, frames_folder: Path) -> Iterator[Any]:
    """The client of a Tiled server in this process."""
    from tiled.client import from_uri
    from tiled.server import SimpleTiledServer

    with SimpleTiledServer(tmp_path_factory.mktemp("catalog"), readable_storage=[frames_folder]) as server:
        root = from_uri(server.uri)
        yield root
        root.context.close()


@pytest.fixture
def db(tiled_root: Any, request: pytest.FixtureRequest) -> Any:
    """An empty catalog of runs."""
    from tiled.structures.core import Spec

    name = request.node.nodeid.replace("/", "-").replace("::", "-")
    return tiled_root.create_container(name, specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest, db: Any) -> Callable[[str, dict[str, Any]], None]:
    """Each of the two callbacks that put documents into Tiled, document by document."""
    import importlib

    return importlib.import_module(request.param).TiledWriter(db, batch_size=1)
