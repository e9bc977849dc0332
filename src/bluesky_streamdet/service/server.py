"""A whole service in one event loop: the supervisor and its data plane, and the web server in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from bluesky_streamdet.core.errors import AddressTaken, ConfigError
from bluesky_streamdet.service import keys
from bluesky_streamdet.service.app import create_app
from bluesky_streamdet.service.compat import app as compat
from bluesky_streamdet.service.config import ServedDetector
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.keys import ApiKey
from bluesky_streamdet.service.supervisor import Supervisor

log = logging.getLogger(__name__)

BACKLOG = 128
GRACE = 3
"""Seconds that connections get to end."""


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
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []

    @property
    def url(self) -> str:
        host = self.config.rest.host
        if host in {"0.0.0.0", "::"}:  # noqa: S104, it is compared, not bound
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

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
        for server, _ in self._servers:
            server.should_exit = True
        for _, serving in self._servers:
            await serving
        if self.key is not None:
            self.key.remove()

    def _listen(self, host: str, port: int, setting: str) -> int:
        """Open the next port, and return its number."""
        listener = _listen(host, port, setting)
        self._listeners.append(listener)
        return listener.getsockname()[1]

    def _serve(self, app: FastAPI) -> None:
        """Serve `app` on the port that was opened for it, in the same order."""
        listener = self._listeners[len(self._servers)]
        settings = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE
        )
        server = _Server(settings)
        self._servers.append((server, asyncio.create_task(server.serve([listener]), name="web server")))

    async def __aenter__(self) -> Service:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Server(uvicorn.Server):
    """uvicorn without its own idea of what signals mean."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int, setting: str) -> socket.socket:
    """A bound socket. setting: what to change when the port is taken. Raises `AddressTaken` or `ConfigError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, as asyncio sends small answers at once only on sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Here already, as two services may bind the same port with the option above, but not listen.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if isinstance(error, PermissionError) or error.errno is None or isinstance(error, socket.gaierror):
            raise ConfigError(f"The service can't listen on {host}:{port}: {error.strerror}.") from error
        raise AddressTaken(
            f"The port {port} on {host} is in use, by another service most likely.",
            f"`ss -ltnp 'sport = :{port}'` shows who has it. Choose another by {setting}.",
        ) from error
    return listener
