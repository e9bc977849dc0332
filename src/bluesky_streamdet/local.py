"""A whole beamline on this machine: simulated detector, its service, and a Tiled catalog; for demos, profiles and tests.

Nothing has to be configured, and nothing outlives it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bluesky_streamdet.catalog import DETECTORS
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.sim.control import ControlPort
from bluesky_streamdet.sim.detector import SimulatedDetector
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.streaming.config import OutputConfig
from bluesky_streamdet.streaming.sender import Sender

if TYPE_CHECKING:
    from bluesky_streamdet.devices.classic import StreamDetector

ANY_PORT = "tcp://127.0.0.1:0"


class LocalBeamline:
    """Start it with `with`, or `start`; then `service`, `pictures` and `detector()` are there, and `catalog()` on demand.

    folder: files and the catalog's own data go there. row: of the catalogue of detectors. pictures: what the simulated detector
    sees; an EIGER 1M's unless given.
    """

    def __init__(self, folder: Path, row: str = "eiger", pictures: Pictures | None = None) -> None:
        self.folder = folder.absolute()
        self.row = row
        self.pictures = pictures or Pictures()
        self._parts = ExitStack()
        self._catalog: Any = None

    def start(self) -> None:
        """Start detector and service. Raises what they meet, such as `AddressTaken`; then nothing is left."""
        with ExitStack() as parts:
            sender = parts.enter_context(Sender(ANY_PORT, linger=0))
            detector = SimulatedDetector(sender, self.pictures, DETECTORS[self.row].codec)
            self.simulator = parts.enter_context(detector)
            self.control = parts.enter_context(ControlPort(detector, ANY_PORT))
            self.service = parts.enter_context(self._service(sender.address))
            self._parts = parts.pop_all()

    def _service(self, source: str) -> ServiceProcess:
        config = for_row(self.row, source, self.folder, environ={})
        config.rest.port = 0
        config.outputs = [OutputConfig(name="live", address="tcp://127.0.0.1:*")]
        config.log_level = "WARNING"
        return ServiceProcess(config)

    def detector(self, name: str = "eiger", **keywords: Any) -> StreamDetector:
        """The detector as a classic ophyd device; `keywords` as of `devices.classic.StreamDetector`."""
        from bluesky_streamdet.devices.classic import StreamDetector

        return StreamDetector(name=name, url=self.service.url, driver=self.control.address, **keywords)

    def catalog(self) -> Any:
        """A Tiled catalog of Bluesky runs, embedded in this process: `catalog[-1]` is the last run."""
        if self._catalog is None:
            from tiled.client import from_uri
            from tiled.server import SimpleTiledServer
            from tiled.structures.core import Spec

            server = self._parts.enter_context(SimpleTiledServer(readable_storage=[str(self.folder)]))
            root = from_uri(server.uri)
            self._parts.callback(root.context.close)
            # This specification is what gives `catalog[-1]`, and runs by scan number and by part of their name.
            runs = [Spec("CatalogOfBlueskyRuns", version="3.0")]
            self._catalog = root.create_container("runs", specs=runs)
            self.tiled_url = server.uri
        return self._catalog

    def close(self) -> None:
        """End all of it; the files stay."""
        self._catalog = None
        self._parts.close()

    def __enter__(self) -> LocalBeamline:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
