"""A beamline on this machine, with nothing to configure: a simulated detector, its service, and a catalog of runs.

    with LocalBeamline() as beamline:
        detector = StreamDetector(name="eiger", **beamline.device)
        RE.subscribe(beamline.writer())
        RE(count([detector], 5))
        beamline.db[-1].primary.read()

Detector and service are processes of their own, as at a real beamline, on free ports; the catalog is a Tiled server in a
thread of this one. All of them end with `close`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import SimulatorSettings

CATALOG = "raw"
"""The container of the runs in the Tiled server."""


class LocalBeamline:
    """Started at once; raises what its parts raise at their start.

    folder: where frames go (`frames`) and the catalog keeps what it knows (`catalog`); a temporary one, removed in the end,
    when left out. simulator: what is simulated; an EIGER with one megapixel unless given. catalog: whether to have one.
    """

    def __init__(
        self, folder: Path | None = None, simulator: SimulatorSettings | None = None, *, catalog: bool = True
    ) -> None:
        with ExitStack() as stack:
            if folder is None:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamdet-")))
            self.folder = folder.expanduser().resolve()
            self.frames = self.folder / "frames"
            self.frames.mkdir(parents=True, exist_ok=True)
            self.settings = simulator or SimulatorSettings(endpoint="tcp://127.0.0.1:0")
            self.simulator = stack.enter_context(SimulatorProcess(self.settings))
            config = for_row(self.settings.detector, self.simulator.address, self.frames, environ={})
            config.rest.port = 0
            config.log_level = "WARNING"
            self.service = stack.enter_context(ServiceProcess(config))
            self._db = _catalog(stack, self.folder / "catalog", self.frames) if catalog else None
            self._stack = stack.pop_all()

    @property
    def service_url(self) -> str:
        return self.service.url

    @property
    def device(self) -> dict[str, Any]:
        """The keywords of a `StreamDetector` of either face for this detector."""
        return {
            "url": self.service_url,
            "driver": self.simulator.control,
            "shape": self.settings.shape,
            "dtype": f"<u{_itemsize(self.settings.dtype)}",
        }

    @property
    def db(self) -> Any:
        """The catalog's client: `db[-1]` is the last run."""
        if self._db is None:
            raise LookupError("this beamline was started without a catalog")
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


def _catalog(stack: ExitStack, folder: Path, frames: Path) -> Any:
    """The client of a Tiled server, started here, that may read the frames."""
    from bluesky_tiled_plugins.exporters import json_seq_exporter
    from tiled.client import from_uri
    from tiled.media_type_registration import default_serialization_registry
    from tiled.server import SimpleTiledServer
    from tiled.structures.core import Spec

    # Without it, `run.documents()` is refused.
    default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)
    server = stack.enter_context(SimpleTiledServer(folder, readable_storage=[frames]))
    root = from_uri(server.uri)
    stack.callback(root.context.close)
    if CATALOG in root:
        return root[CATALOG]
    return root.create_container(CATALOG, specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])


def _itemsize(dtype: str) -> int:
    return int(dtype.removeprefix("uint")) // 8
