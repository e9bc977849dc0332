"""A whole service in one event loop: the supervisor and its data plane, and the web server in front of them."""

from __future__ import annotations

import socket

from fastapi import FastAPI

from bluesky_streamdet.service import keys
from bluesky_streamdet.service.app import create_app
from bluesky_streamdet.service.compat import app as compat
from bluesky_streamdet.service.config import ServedDetector
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.keys import ApiKey
from bluesky_streamdet.service.listening import Web, listen, url_of
from bluesky_streamdet.service.supervisor import Supervisor


class Service:
    """One detector's service: `start` it, and `close` it whatever happens, or use it as an async context.

    After the start, `port` is the real one, `url` is where clients find it, and `key` lets them change something.
    """

    def __init__(self, config: ServedDetector, supervisor: Supervisor | None = None) -> None:
        self.config = config
        self.supervisor = supervisor or Supervisor(config)
        self.port = config.rest.port
        self.compat_port = config.compat.port if config.compat is not None else None
        self.key: ApiKey | None = None
        self._listeners: list[socket.socket] = []
        self._webs: list[Web] = []

    @property
    def url(self) -> str:
        return url_of(self.config.rest.host, self.port)

    async def start(self) -> None:
        """Start everything. Raises `AddressTaken`, `ConfigError`, or what the data plane met at its start."""
        config = self.config
        try:
            self.port = self._listen(config.rest.host, config.rest.port, "rest.port, or --port")
            if config.compat is not None:
                self.compat_port = self._listen(config.compat.host, config.compat.port, "compat.port")
            self.key = keys.make(self.port, config.rest.api_key_file)
            await self.supervisor.start()
            self._serve(create_app(self.supervisor, self.key))
            if config.compat is not None:
                control, board = Control(self.supervisor), self.supervisor.board
                self._serve(compat.create_app(config.compat, control, board, config.rest.allowed_hosts))
        except BaseException:
            for listener in self._listeners:
                listener.close()
            raise

    async def close(self) -> None:
        """Drain the data plane, while the status can still be read; then end the servers."""
        await self.supervisor.close()
        for web in self._webs:
            web.end()
        for web in self._webs:
            await web.ended()
        if self.key is not None:
            self.key.remove()

    def _listen(self, host: str, port: int, setting: str) -> int:
        """Open the next port, and return its number."""
        listener = listen(host, port, setting)
        self._listeners.append(listener)
        return listener.getsockname()[1]

    def _serve(self, app: FastAPI) -> None:
        """Serve `app` on the port that was opened for it, in the same order."""
        self._webs.append(Web(app, self._listeners[len(self._webs)]))

    async def __aenter__(self) -> Service:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
