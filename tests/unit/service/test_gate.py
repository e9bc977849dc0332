from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from bluesky_streamdet.service.gate import LARGEST_BODY, Gate, WithKey
from tests.unit.service.conftest import KEY
from tests.unit.service.fakes import FakeSupervisor

Connect = Callable[..., httpx.AsyncClient]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
async def test_reading_is_open_on_this_machine(connect: Connect, host: str) -> None:
    assert (await connect(host).get("/api/v1/status")).status_code == 200


@pytest.mark.parametrize("host", ["10.0.0.9", "fe80::1", "::ffff:10.0.0.9", "testclient"])
async def test_reading_from_elsewhere_needs_the_key(connect: Connect, host: str) -> None:
    assert (await connect(host).get("/api/v1/status")).status_code == 401
    assert (await connect(host, key=True).get("/api/v1/status")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/docs", "/openapi.json"])
async def test_probes_and_what_is_the_same_everywhere_are_open(connect: Connect, path: str) -> None:
    assert (await connect("10.0.0.9").get(path)).status_code == 200


CHANGES = [
    ("POST", "/api/v1/series"),
    ("POST", "/api/v1/series/one/stop"),
    ("POST", "/api/v1/series/one/abort"),
    ("PATCH", "/api/v1/series/one/parameters"),
    ("PUT", "/api/v1/log-level"),
    ("DELETE", "/api/v1/anything"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_changes_need_the_key_everywhere(
    connect: Connect, supervisor: FakeSupervisor, method: str, path: str
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": "wrong"}, {"Authorization": "Basic x"}):
        answer = await connect(**headers).request(method, path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "unauthorised"
    assert supervisor.asked == []


@pytest.mark.parametrize(
    "headers", [{"Authorization": "bearer the-key-of-this-test"}, {"X-Api-Key": "the-key-of-this-test"}]
)
async def test_the_key_in_either_header(connect: Connect, headers: dict[str, str]) -> None:
    assert (await connect(**headers).post("/api/v1/series")).status_code == 201


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:8010", "127.0.0.1:1", "[::1]:8010", "192.168.7.7"])
async def test_may_be_called_by_its_names_and_by_numbers(connect: Connect, name: str) -> None:
    assert (await connect(Host=name).get("/healthz")).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "", "evil.example:8010"])
async def test_a_name_that_a_foreign_page_has_made_point_here(connect: Connect, name: str) -> None:
    for client in (connect(Host=name), connect(key=True, Host=name)):
        answer = await client.get("/healthz")
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "host_not_allowed"


async def test_a_page_of_another_site(connect: Connect) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9"):
        assert (await connect(key=True, Origin=origin).get("/api/v1/status")).status_code == 403
    assert (await connect(Origin="http://127.0.0.1:8010").get("/api/v1/status")).status_code == 200


async def test_a_body_that_says_it_is_too_large(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    answer = await client.post("/api/v1/series", content=b" " * (LARGEST_BODY + 1))

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"
    assert supervisor.asked == []


async def test_a_body_that_does_not_say_it(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (LARGEST_BODY // 10)

    answer = await client.post("/api/v1/series", content=body())

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"host": "127.0.0.1", "origin": "http://evil.example"}])
async def test_a_websocket_of_a_foreign_page_is_closed_unopened(headers: dict[str, str]) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("the application was asked")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/api/v1/events", "client": ("127.0.0.1", 1), "headers": encoded}
    await Gate(never, WithKey(KEY))(scope, never, send)  # type: ignore[arg-type]

    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(("key", "opened"), [("", False), ("wrong", False), ("the-key-of-this%2Dtest", True)])
async def test_a_websocket_from_elsewhere_brings_its_key_as_a_protocol(key: str, opened: bool) -> None:
    asked: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)

    async def ignore(*_: object) -> None: ...

    headers = [(b"host", b"localhost"), (b"sec-websocket-protocol", f"streamdet, streamdet.key.{key}".encode())]
    scope = {"type": "websocket", "path": "/api/v1/events", "client": ("10.0.0.9", 1), "headers": headers}
    await Gate(application, WithKey(KEY))(scope, ignore, ignore)  # type: ignore[arg-type]

    assert bool(asked) == opened
