"""A beamline on this machine, with nothing to configure: a simulated detector, its service, and a catalog of runs.

    with LocalBeamline() as beamline:
        detector = StreamDetector(name="eiger", **beamline.device)
        RE.subscribe(beamline.writer())
        RE(count([detector], 5))
        beamline.db[-1].primary.read()

Each is a process of its own, as at a real beamline, on a free port. All of them end with `close`, or when this process
dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from bluesky_streamdet.catalog import DETECTORS
from bluesky_streamdet.codecs.codec import DTYPES
from bluesky_streamdet.core.errors import ServiceUnreachable
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import SimulatorSettings

CATALOG = "raw"
"""The container of the runs in the Tiled server."""
STOPPING = 10.0
"""Seconds that the Tiled server may take to end."""


class LocalBeamline:
    """Started at once; raises what its parts raise at their start. The catalog may take longer, until it is wanted.

    folder: where frames go (`frames`) and the catalog keeps what it knows (`catalog`); a temporary one, removed in the
    end, when left out. simulator: what is simulated; an EIGER with one megapixel unless given. catalog: whether to have
    one. frames: another directory for frames.
    """

    def __init__(
        self,
        folder: Path | None = None,
        simulator: SimulatorSettings | None = None,
        *,
        catalog: bool = True,
        frames: Path | None = None,
    ) -> None:
        with ExitStack() as stack:
            if folder is None:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamdet-")))
            self.folder = folder.expanduser().resolve()
            self.frames = frames or self.folder / "frames"
            self.frames.mkdir(parents=True, exist_ok=True)
            self.settings = simulator or SimulatorSettings(endpoint="tcp://127.0.0.1:0")
            # The slowest first: it starts while the others do.
            self._tiled = stack.enter_context(TiledProcess(self.folder / "catalog", self.frames)) if catalog else None
            self.simulator = stack.enter_context(SimulatorProcess(self.settings))
            config = for_row(self.settings.detector, self.simulator.address, self.frames, environ={})
            config.rest.port = 0
            config.log_level = "WARNING"
            self.service = stack.enter_context(ServiceProcess(config))
            self._stack = stack.pop_all()
        self._db: Any = None

    @property
    def ended(self) -> bool:
        """Whether the detector or its service is no more."""
        return self.simulator.ended or self.service.ended

    @property
    def service_url(self) -> str:
        return self.service.url

    @property
    def device(self) -> dict[str, Any]:
        """The keywords of a `StreamDetector` of either face for this detector."""
        return {
            "url": self.service_url,
            "driver": self.simulator.control,
            **frames_of(self.settings),
        }

    @property
    def db(self) -> Any:
        """The catalog's client: `db[-1]` is the last run. Waits until the server is ready."""
        if self._db is None:
            if self._tiled is None:
                raise LookupError("this beamline was started without a catalog")
            self._db = open_catalog(self._tiled.uri)
            self._stack.callback(self._db.context.close)
        return self._db

    def writer(self) -> Callable[[str, dict[str, Any]], None]:
        """A callback that puts runs into the catalog, document by document, so that they can be followed."""
        from bluesky_tiled_plugins import TiledWriter

        return TiledWriter(self.db, batch_size=1)

    def close(self) -> None:
        """End everything, the last first. May be called twice."""
        self._stack.close()

    def __enter__(self) -> LocalBeamline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TiledProcess:
    """A Tiled server that keeps what it knows in `folder`, and may read files in `readable`. Ready after `wait`."""

    def __init__(self, folder: Path, readable: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._uri = ""
        self._process = subprocess.Popen(  # noqa: S603, our own module
            [sys.executable, "-m", "bluesky_streamdet.local", str(folder), str(readable)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"OMP_NUM_THREADS": "1", **os.environ},
            # Ctrl-C is for us; we end the server when we have finished with it.
            process_group=0,
        )

    @property
    def uri(self) -> str:
        """With the API key. Waits until the server is ready. Raises `ServiceUnreachable` when it ended instead."""
        assert self._process.stdout is not None
        self._uri = self._uri or self._process.stdout.readline().strip()
        if not self._uri:
            raise ServiceUnreachable("The Tiled server ended before it was ready.", "Its last words are above.")
        return self._uri

    def close(self) -> None:
        """End the server. May be called twice."""
        if not self._uri:
            # Nobody has wanted it yet: there is nothing to keep, and it may take seconds to be ready.
            self._process.terminate()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> TiledProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_catalog(uri: str, container: str = CATALOG) -> Any:
    """The client of the runs' container, which is made when it is not there; `[-1]` is the last run.

    container: may lie in others, which have to be there: "x01/raw".
    """
    from tiled.client import from_uri
    from tiled.structures.core import Spec

    root: Any = from_uri(uri)
    *outer, own = container.split("/")
    for name in outer:
        root = root[name]
    if own in root:
        return root[own]
    return root.create_container(own, specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])


def serve_tiled(folder: Path, readable: Path) -> None:
    """The Tiled server's process: says its URI, and ends when standard input does, as it does when the parent dies."""
    from bluesky_tiled_plugins.exporters import json_seq_exporter
    from tiled.media_type_registration import default_serialization_registry
    from tiled.server import SimpleTiledServer

    # Without it, `run.documents()` is refused.
    default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)
    with SimpleTiledServer(folder, readable_storage=[readable]) as server:
        sys.stdout.write(f"{server.uri}\n")
        sys.stdout.flush()
        sys.stdin.read()


def frames_of(settings: SimulatorSettings) -> dict[str, Any]:
    """What a device for a simulated detector is told of its frames: shape, and NumPy's type string."""
    row = DETECTORS.get(settings.detector)
    if row is None:
        return {}
    return {"shape": settings.shape or row.picture.shape, "dtype": DTYPES[settings.dtype or row.picture.dtype]}


if __name__ == "__main__":
    serve_tiled(Path(sys.argv[1]), Path(sys.argv[2]))
