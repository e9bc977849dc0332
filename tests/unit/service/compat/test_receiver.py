"""The stream receiver's REST interface, as its clients know it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import numpy as np
import pytest

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.service.compat.app import ROUTERS, create_app
from bluesky_streamdet.service.compat.config import DIALECTS, CompatConfig
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.status import FrameReport, LedgerReport, SeriesReport, Status
from tests.unit.service.fakes import FakeSupervisor

PIXELS = np.arange(35, dtype="<u2").reshape(5, 7)
REPORT = FrameReport(
    series="one", number=3, shape=(5, 7), dtype="<u2", encoding="none", chunk=(5, 7), received=1_000_000_000
)


class FrameOf(Control):
    """Has one frame to show."""

    async def frame(self, max_age: float = 0.0) -> tuple[FrameReport, list[bytes]]:
        return REPORT, [PIXELS.tobytes()]


@pytest.fixture
async def supervisor(tmp_path: Path) -> FakeSupervisor:
    return FakeSupervisor(tmp_path)


def client_of(supervisor: FakeSupervisor, address: str = "127.0.0.1", **config: Any) -> httpx.AsyncClient:
    made = cast(Supervisor, supervisor)
    compat = CompatConfig.model_validate({"dialect": "receiver", **config})
    app = create_app(compat, FrameOf(made), supervisor.board, [])
    transport = httpx.ASGITransport(app=app, client=(address, 1234), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5000")


@pytest.fixture
async def client(supervisor: FakeSupervisor) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(supervisor) as client:
        yield client


async def answer(client: httpx.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    assert response.status_code == 200
    return response.json()


def test_each_old_program_has_its_routes() -> None:
    assert set(ROUTERS) == set(DIALECTS)


@pytest.mark.parametrize(
    ("state", "said"),
    [(State.IDLE, "idle"), (State.ARMED, "idle"), (State.RUNNING, "running"), (State.FINISHING, "running")],
)
async def test_the_state_in_the_old_words(
    supervisor: FakeSupervisor, client: httpx.AsyncClient, state: State, said: str
) -> None:
    supervisor.board.put(Status(detector="camera", state=state))

    assert await answer(client, "/status") == {"state": said}


async def test_an_error_comes_with_its_text(supervisor: FakeSupervisor, client: httpx.AsyncClient) -> None:
    supervisor.board.put(Status(detector="camera", error="The disk is full."))

    assert await answer(client, "/status") == {"state": "error", "error": "The disk is full."}


async def test_frames_are_counted_while_a_series_runs_and_after(
    supervisor: FakeSupervisor, client: httpx.AsyncClient
) -> None:
    assert await answer(client, "/received_frames") == {"value": 0}
    series = SeriesReport(id="one", detector="camera", ledger=LedgerReport(received=7, written=5))
    supervisor.board.put(Status(detector="camera", state=State.RUNNING, series=series))
    assert await answer(client, "/received_frames") == {"value": 7}
    supervisor.board.put(Status(detector="camera", last_series=series))
    assert await answer(client, "/received_frames") == {"value": 7}


async def test_the_last_frame_is_no_pickle(client: httpx.AsyncClient) -> None:
    response = await client.get("/last_frame")

    header, blob = msgspec.msgpack.decode(response.content)
    assert response.headers["content-type"] == "application/msgpack"
    assert header == {"htype": "image", "frame": 3, "shape": [5, 7], "type": "uint16", "compression": "none"}
    np.testing.assert_array_equal(np.frombuffer(blob, header["type"]).reshape(header["shape"]), PIXELS)


async def test_the_last_frame_is_made_smaller_when_asked(client: httpx.AsyncClient) -> None:
    assert (await client.post("/downsample", params={"value": 2})).json() == {"value": 2}
    assert await answer(client, "/downsample") == {"value": 2}

    header, blob = msgspec.msgpack.decode((await client.get("/last_frame")).content)
    means = np.frombuffer(blob, header["type"]).reshape(header["shape"])
    # What the old program gave for this picture, before it cut off the fraction.
    np.testing.assert_array_equal(means.astype(int), [[4, 6, 8, 9], [18, 20, 22, 23], [28, 30, 32, 34]])


async def test_the_last_frame_in_a_form_that_is_asked_for(client: httpx.AsyncClient) -> None:
    response = await client.get("/last_frame", headers={"Accept": "image/png"})

    assert response.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("value", ["0", "-1", "x", "100000"])
async def test_an_impossible_factor(client: httpx.AsyncClient, value: str) -> None:
    assert (await client.post("/downsample", params={"value": value})).status_code == 422


async def test_only_listed_addresses_get_in(supervisor: FakeSupervisor) -> None:
    async with client_of(supervisor, "10.1.2.3", allow=["10.0.0.0/8"]) as friend:
        assert (await friend.get("/status")).status_code == 200
    async with client_of(supervisor, "11.1.2.3", allow=["10.0.0.0/8"]) as stranger:
        refused = await stranger.get("/status")
    assert refused.status_code == 403
    assert "compat.allow" in refused.json()["error"]["hint"]


async def test_a_foreign_page_stays_out(client: httpx.AsyncClient) -> None:
    response = await client.post("/downsample", params={"value": 2}, headers={"Origin": "http://evil.example"})

    assert response.status_code == 403


@pytest.mark.parametrize("config", [{"allow": ["nowhere"]}, {"dialect": "carrier pigeon"}, {"colour": "red"}])
def test_refuses_what_makes_no_sense(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CompatConfig.model_validate({"dialect": "receiver", **config})


def test_a_word_is_enough() -> None:
    config = CompatConfig.model_validate("receiver")

    assert (config.port, config.allow) == (5000, ["127.0.0.0/8", "::1"])
