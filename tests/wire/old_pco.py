"""What tests of the PCO's old interfaces share: a camera, a service in another process, and a client of the dialect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.streaming.sender import Sender
from tests.wire.repeating import free_ports
from tests.wire.streams import LOOPBACK, Stream, until

FIRST = 375
"""Number of the camera's first frame, as cameras count on from whatever they did before."""
ALONE = httpx.Limits(max_keepalive_connections=0)
"""A connection for each request, as the old client has it."""


class Camera:
    """Pushes array-1.0 to whoever connects; what nobody takes waits here, up to a thousand frames."""

    def __init__(self) -> None:
        self.sender = Sender(LOOPBACK, high_water_mark=1000, linger=0)
        self.address = self.sender.address
        self._stream = Stream("array-1.0")

    def send(self, numbers: Sequence[int], **way: Any) -> None:
        for number in numbers:
            self.sender.send(self._stream.frame(number, **way), 20.0)

    def offer(self, number: int, seconds: float) -> bool:
        """Send a frame, if anybody has room for it within so long."""
        return self.sender.offer(self._stream.frame(number), seconds)

    def expose(self, frames: int) -> None:
        """One exposure: frames that are counted from `FIRST` on."""
        self.send(range(FIRST, FIRST + frames))

    def close(self) -> None:
        self.sender.close()


class OldClient:
    """Speaks to a supervisor, and to its writer while there is one."""

    def __init__(self, folder: Path, camera: str, port: int, writer_port: int) -> None:
        self.folder = folder
        self.writer = f"http://127.0.0.1:{writer_port}"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, limits=ALONE, timeout=30)
        self.usual = {
            "connection_address": camera,
            "output_file": str(folder / "scan.h5"),
            "n_frames": "10",
            "user_id": "503",
            "dataset_name": "data",
            "max_frames_per_file": "20000",
            "rest_api_port": str(port),
            "n_modules": "1",
            "writer_rest_port": str(writer_port),
            "flask_api_address": f"http://127.0.0.1:{port}",
        }

    def wanted(self, name: str | None = None, **changes: Any) -> dict[str, Any]:
        """What the client asks for; None leaves a setting out. name: of the file in the folder."""
        if name is not None:
            changes["output_file"] = str(self.folder / name)
        return {key: value for key, value in {**self.usual, **changes}.items() if value is not None}

    def start(self, name: str | None = None, **changes: Any) -> dict[str, Any]:
        return self.http.post("/start_pco_writer", json=self.wanted(name, **changes)).json()

    def started(self, name: str | None = None, **changes: Any) -> None:
        """Start a series, which is taken."""
        answer = self.start(name, **changes)
        assert answer == {"success": True}, answer

    def get(self, path: str) -> dict[str, Any]:
        """What the supervisor says."""
        return self.http.get(path).json()

    def ask(self, path: str) -> dict[str, Any]:
        """What the writer says."""
        response = self.http.get(self.writer + path)
        assert response.status_code == 200, response.text
        return response.json()

    @property
    def status(self) -> str:
        """Of the writer, by way of the supervisor."""
        return self.get(f"/status/{self.writer.rpartition(':')[2]}")["status"]

    def wait(self, status: str = "finished") -> dict[str, Any]:
        """Wait for the end of a series. Returns its summary."""
        until(lambda: self.status == status, lambda: None, f"status {status}")
        return self.get("/finished")

    def wait_written(self, frames: int) -> None:
        until(lambda: self.ask("/statistics")["n_written_frames"] >= frames, lambda: None, f"{frames} frames written")

    @property
    def writer_lives(self) -> bool:
        try:
            self.http.get(self.writer + "/status")
        except httpx.TransportError:
            return False
        return True

    def wait_for_no_writer(self) -> None:
        until(lambda: not self.writer_lives, lambda: None, "the end of the writer")

    def close(self) -> None:
        self.http.close()


class Station:
    """A camera, its service, and a client of the old interface."""

    def __init__(self, camera: Camera, service: ServiceProcess, client: OldClient) -> None:
        self.camera, self.service, self.client = camera, service, client


@contextmanager
def station(folder: Path, name: str = "pco1", **changes: Any) -> Iterator[Station]:
    """A service for a camera of its own. changes: of `compat`."""
    port, writer_port = free_ports(2)
    compat = {"dialect": "pco-supervisor", "port": port, "writer_port": writer_port, **changes}
    with closing(Camera()) as camera:
        config = config_of(name, camera.address, folder / "data", compat)
        with (
            closing(OldClient(config.files.directory, camera.address, port, writer_port)) as client,
            ServiceProcess(config) as service,
        ):
            yield Station(camera, service, client)


def config_of(name: str, address: str, directory: Path, compat: dict[str, Any]) -> DetectorConfig:
    return DetectorConfig.model_validate(
        {
            "detector": name,
            "type": "pco",
            "source": {"endpoints": [address]},
            "files": {"directory": directory, "flush_seconds": 0.0},
            "rest": {"port": 0},
            "compat": compat,
        }
    )
