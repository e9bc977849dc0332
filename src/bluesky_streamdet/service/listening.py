"""A web application on a port of its own, in the event loop that everything else of a service lives in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from bluesky_streamdet.core.errors import AddressTaken, ConfigError

BACKLOG = 128
GRACE = 3
"""Seconds that connections get to end."""


class Web:
    """Serves `app` on a port that is listened on already, until it is told to `end`; then await `ended`."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        # Some applications do something while they are served, and say so by a lifespan.
        settings = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=GRACE
        )
        self._server = _Server(settings)
        self._serving = asyncio.create_task(self._server.serve([listener]), name="web server")

    def end(self) -> None:
        """Take no more requests, and answer those that are there."""
        self._server.should_exit = True

    async def ended(self) -> None:
        """Once it has answered and its port is free."""
        # Who gives up waiting must not break off what is being answered.
        await asyncio.shield(self._serving)


class _Server(uvicorn.Server):
    """uvicorn without its own idea of what signals mean."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def url_of(host: str, port: int) -> str:
    """Where clients find what listens there."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104, it is compared, not bound
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listen(host: str, port: int, setting: str) -> socket.socket:
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
