from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from bluesky_streamdet.service.app import create_app
from bluesky_streamdet.service.keys import ApiKey
from bluesky_streamdet.service.supervisor import Supervisor
from tests.unit.service.fakes import FakeSupervisor

KEY = ApiKey("the-key-of-this-test")


@pytest.fixture
async def supervisor(tmp_path: Path) -> FakeSupervisor:
    return FakeSupervisor(tmp_path)


@pytest.fixture
async def connect(supervisor: FakeSupervisor) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Makes clients of the application as if from `host`, with or without the key."""
    app = create_app(cast(Supervisor, supervisor), KEY)
    clients: list[httpx.AsyncClient] = []

    def made(host: str = "127.0.0.1", *, key: bool = False, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app, client=(host, 1234), raise_app_exceptions=False)
        own: dict[str, Any] = {"Authorization": f"Bearer {KEY.text}"} if key else {}
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8010", headers=own | headers))
        return clients[-1]

    yield made
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    """On this machine, with the key."""
    return connect(key=True)
