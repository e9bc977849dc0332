"""Several cameras behind one address: each with its own series, records, errors and interface, as a service has them.

None of them knows of the others. One writer process runs for each series; see `acquisitions`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from functools import partial

from bluesky_streamdet.core.errors import Busy
from bluesky_streamdet.service import keys
from bluesky_streamdet.service.acquisitions import AcquisitionSupervisor
from bluesky_streamdet.service.camerasapp import create_app
from bluesky_streamdet.service.compat import app as compat
from bluesky_streamdet.service.config import DetectorConfig, RestConfig, ServedDetector
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.keys import ApiKey
from bluesky_streamdet.service.listening import Web, listen, url_of

log = logging.getLogger(__name__)


def _taken_by(camera: ServedDetector) -> set[str]:
    """Where a camera takes frames that nobody else gets."""
    source = camera.source if isinstance(camera, DetectorConfig) else None
    alone = source is not None and source.socket == "pull" and not source.bind and not source.shared
    return set(source.endpoints) if source is not None and alone else set()


class Cameras:
    """`start` them, and `close` them whatever happens, or use it as an async context.

    cameras: each called by its `detector`; its own `rest` is not used. rest: where all of them answer.
    supervisors: by the names of the cameras. After the start, `port` is the real one, `url` is where clients find the
    list, each camera is at `url`/cameras/NAME, and `key` lets them change something.
    """

    def __init__(self, cameras: Sequence[ServedDetector], rest: RestConfig) -> None:
        self.rest = rest
        self.port = rest.port
        self.supervisors = {
            one.detector: AcquisitionSupervisor(one, partial(self._check, one.detector)) for one in cameras
        }
        self.compat_ports: dict[str, int] = {}
        self.key: ApiKey | None = None
        self._listeners: list[socket.socket] = []
        self._webs: list[Web] = []

    @property
    def url(self) -> str:
        return url_of(self.rest.host, self.port)

    async def start(self) -> None:
        """Start everything. Raises `AddressTaken` or `ConfigError`; what is wrong with one camera is in its status."""
        try:
            listener = self._listen(self.rest.host, self.rest.port, "rest.port of the file, or --port")
            self.port = listener.getsockname()[1]
            old = {name: self._listen_for(name) for name, one in self.supervisors.items() if one.config.compat}
            self.key = keys.make(self.port, self.rest.api_key_file)
            await asyncio.gather(*(one.start() for one in self.supervisors.values()))
        except BaseException:
            for listener in self._listeners:
                listener.close()
            raise
        self._webs.append(Web(create_app(self.supervisors, self.key, self.rest), listener))
        for name, listener in old.items():
            self._serve_as_before(name, listener)

    async def close(self) -> None:
        """Drain all cameras at the same time, while their status can still be read; then end the servers."""
        ended = await asyncio.gather(*(one.close() for one in self.supervisors.values()), return_exceptions=True)
        for name, failure in zip(self.supervisors, ended, strict=True):
            if isinstance(failure, Exception):
                log.warning("camera %s did not end well: %s", name, failure)
        for web in self._webs:
            web.end()
        for web in self._webs:
            await web.ended()
        if self.key is not None:
            self.key.remove()

    def hurry(self) -> None:
        """End without draining."""
        for one in self.supervisors.values():
            one.hurry()

    def _check(self, camera: str) -> None:
        """Raise `Busy` while another one takes frames that both would take, as each of them would get some only."""
        own = _taken_by(self.supervisors[camera].config)
        for name, other in self.supervisors.items():
            both = own & _taken_by(other.config)
            if name != camera and other.takes_frames and both:
                raise Busy(
                    f"{name} takes frames from {', '.join(sorted(both))} now; each of them comes to one receiver only.",
                    "Wait for the end of its series. To share one series between both, set source.shared.",
                )

    def _listen(self, host: str, port: int, setting: str) -> socket.socket:
        listener = listen(host, port, setting)
        self._listeners.append(listener)
        return listener

    def _listen_for(self, name: str) -> socket.socket:
        """Open the port of the old program that a camera is to answer as."""
        config = self.supervisors[name].config.compat
        assert config is not None
        listener = self._listen(config.host, config.port, f"compat.port of {name}")
        self.compat_ports[name] = listener.getsockname()[1]
        return listener

    def _serve_as_before(self, name: str, listener: socket.socket) -> None:
        supervisor = self.supervisors[name]
        assert supervisor.config.compat is not None
        control = Control(supervisor)
        app = compat.create_app(supervisor.config.compat, control, supervisor.board, self.rest.allowed_hosts)
        self._webs.append(Web(app, listener))

    async def __aenter__(self) -> Cameras:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
