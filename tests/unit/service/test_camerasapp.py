"""Several cameras behind one address, without their data planes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.service.camerasapp import create_app
from bluesky_streamdet.service.config import RestConfig
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.status import CameraReport
from tests.unit.service.conftest import KEY
from tests.unit.service.fakes import FakeSupervisor, running

Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def cameras(tmp_path: Path) -> dict[str, FakeSupervisor]:
    return {name: FakeSupervisor(tmp_path) for name in ("one", "two")}


@pytest.fixture
async def connect(cameras: dict[str, FakeSupervisor]) -> AsyncIterator[Connect]:
    """Makes clients as if from `host`, with or without the key."""
    app = create_app(cast(dict[str, Supervisor], cameras), KEY, RestConfig(host="hall.example"))
    clients: list[httpx.AsyncClient] = []

    def made(host: str = "127.0.0.1", *, key: bool = False, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app, client=(host, 1234), raise_app_exceptions=False)
        own: dict[str, Any] = {"Authorization": f"Bearer {KEY.text}"} if key else {}
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://hall.example", headers=own | headers))
        return clients[-1]

    yield made
    for client in clients:
        await client.aclose()


async def test_all_are_listed(connect: Connect, cameras: dict[str, FakeSupervisor]) -> None:
    cameras["two"].become(State.RUNNING, running())
    cameras["two"].process = 4711
    answer = await connect().get("/api/v1/cameras")

    one, two = (CameraReport.model_validate(camera) for camera in answer.json())
    assert (one.name, one.path, one.writer, one.status.series) == ("one", "/cameras/one", None, None)
    assert (two.name, two.kind, two.writer) == ("two", "eiger", 4711)
    assert two.status.series is not None


async def test_what_is_asked_of_one_is_not_asked_of_the_other(
    connect: Connect, cameras: dict[str, FakeSupervisor]
) -> None:
    answer = await connect(key=True).post("/cameras/one/api/v1/series", json={"id": "a"})

    assert (answer.status_code, answer.headers["location"]) == (201, "/cameras/one/api/v1/series/a")
    assert (len(cameras["one"].asked), cameras["two"].asked) == (1, [])
    assert (await connect().get(answer.headers["location"])).json()["id"] == "a"
    assert (await connect().get("/cameras/two/api/v1/series/a")).status_code == 404


@pytest.mark.parametrize(
    ("path", "open_to_all"),
    [
        ("/", True),
        ("/docs", True),
        ("/openapi.json", True),
        ("/healthz", True),
        ("/readyz", True),
        ("/metrics", False),
        ("/api/v1/cameras", False),
        ("/cameras/one/", True),
        ("/cameras/one/docs", True),
        ("/cameras/one/healthz", True),
        ("/cameras/one/metrics", False),
        ("/cameras/one/api/v1/status", False),
        ("/cameras/never/", False),
    ],
)
async def test_from_another_machine(connect: Connect, path: str, open_to_all: bool) -> None:
    answer = await connect("10.1.2.3").get(path)
    assert answer.status_code == (200 if open_to_all else 401)
    assert (await connect("10.1.2.3", key=True).get(path)).status_code == (404 if "never" in path else 200)
    assert (await connect(Host="evil.example").get(path)).status_code == 403


async def test_one_that_can_take_no_series_is_named(connect: Connect, cameras: dict[str, FakeSupervisor]) -> None:
    cameras["two"].ready = False
    cameras["two"].put(error="its folder is missing")
    answer = await connect().get("/readyz")

    assert (answer.status_code, answer.json()) == (503, {"status": "two: its folder is missing"})


async def test_a_folder_that_is_missing_hides_no_metrics(connect: Connect, cameras: dict[str, FakeSupervisor]) -> None:
    cameras["one"].config.files.directory = Path("/nowhere/at/all")
    text = (await connect().get("/metrics")).text

    assert len(re.findall(r"^streamdet_ready\{", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^streamdet_disk_free_bytes\{", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^# TYPE streamdet_ready ", text, re.MULTILINE)) == 1


async def test_who_forgets_the_camera_is_told(connect: Connect) -> None:
    error = (await connect(key=True).post("/api/v1/series", json={})).json()["error"]

    assert error["code"] == "not_found"
    assert error["hint"] == "Each has its own, below /cameras/one, /cameras/two."


@pytest.mark.parametrize("path", ["/", "/docs", "/cameras/one/"])
async def test_pages_need_nothing_from_elsewhere(connect: Connect, path: str) -> None:
    answer = await connect().get(path)

    addresses = re.findall(r"(?:src|href)=[\"'](?!data:)([^\"']+)", answer.text)
    assert addresses
    assert not [address for address in addresses if re.match(r"[a-z]+:|/", address)]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_camera_that_there_is_not(connect: Connect, method: str) -> None:
    answer = await connect(key=True).request(method, "/cameras/three/api/v1/status")

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "There is no camera 'three'."
