"""A whole service in one event loop: the supervisor and its data plane, and the web server in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn

from bluesky_streamdet.core.errors import AddressTaken, ConfigError
from bluesky_streamdet.service import keys
from bluesky_streamdet.service.app import create_app
from bluesky_streamdet.service.config import RestConfig, ServedDetector
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
        self.key: ApiKey | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        host = self.config.rest.host
        if host in {"0.0.0.0", "::"}:  # noqa: S104, it is compared, not bound
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Start everything. Raises `AddressTaken`, `ConfigError`, or what the data plane met at its start."""
        listener = _listen(self.config.rest)
        try:
            self.port = listener.getsockname()[1]
            self.key = keys.make(self.port, self.config.rest.api_key_file)
            await self.supervisor.start()
            self._server = _Server(
                uvicorn.Config(
                    create_app(self.supervisor, self.key),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    timeout_graceful_shutdown=GRACE,
                )
            )
            self._serving = asyncio.create_task(self._server.serve([listener]), name="web server")
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Drain the data plane, while the status can still be read; then end the server."""
        await self.supervisor.close()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        if self.key is not None:
            self.key.remove()

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


def _listen(rest: RestConfig) -> socket.socket:
    """A bound socket. Raises `AddressTaken` or `ConfigError`."""
    family = socket.AF_INET6 if ":" in rest.host else socket.AF_INET
    # With the protocol named, as asyncio sends small answers at once only on sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((rest.host, rest.port))
        # Here already, as two services may bind the same port with the option above, but not listen.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if isinstance(error, PermissionError) or error.errno is None or isinstance(error, socket.gaierror):
            raise ConfigError(f"The service can't listen on {rest.host}:{rest.port}: {error.strerror}.") from error
        raise AddressTaken(
            f"The port {rest.port} on {rest.host} is in use, by another service most likely.",
            f"`ss -ltnp 'sport = :{rest.port}'` shows who has it. Choose another by rest.port, or --port.",
        ) from error
    return listener
