"""What a service pushes, over real WebSockets: one series until its end, pictures, and to clients that take nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.server import Service
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import PictureReport, SeriesEvent
from tests.wire.service_parts import SHAPE, TIMEOUT, Detector, config_for, until

pytestmark = pytest.mark.wire

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


@pytest.fixture
async def service(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("STREAMDET_API_KEY", raising=False)
    hook = ["sh", "-c", 'test "$1" = slow || exit 3; sleep 0.3; exit 4', "-", "{id}"]
    files = {"directory": tmp_path, "flush_seconds": 0.0, "hook": hook}
    async with Service(config_for(detector, tmp_path, files=files)) as service:
        yield service


def socket(service: Service, path: str, **options: Any) -> connect:
    return connect(f"{service.url.replace('http', 'ws')}/api/v1{path}", proxy=None, **options)


async def all_of(connection: ClientConnection) -> tuple[list[SeriesEvent], int]:
    """What comes until the service closes, and the code with which it does."""
    async with asyncio.timeout(TIMEOUT):
        events = [SeriesEvent.model_validate_json(message) async for message in _until_closed(connection)]
    assert connection.close_code is not None
    return events, connection.close_code


async def _until_closed(connection: ClientConnection) -> AsyncIterator[str | bytes]:
    with suppress(ConnectionClosed):
        while True:
            yield await connection.recv()


async def measured(service: Service, detector: Detector, id: str, frames: int = 3) -> None:
    await Control(service.supervisor).arm(ArmRequest(id=id))
    detector.series(frames)
    await until(service.supervisor.board, lambda status: status.last_series is not None and status.last_series.id == id)


async def test_a_series_is_followed_to_its_end(service: Service, detector: Detector) -> None:
    control, board = Control(service.supervisor), service.supervisor.board
    await control.arm(ArmRequest(id="slow"))
    async with socket(service, "/series/slow/events") as connection:
        following = asyncio.create_task(all_of(connection))
        detector.start(6)
        for number in range(6):
            detector.frames([number])
            await until(board, lambda status, seen=number: (status.series or status.last_series).ledger.written > seen)  # type: ignore[union-attr]
        detector.end()
        # Another one begins before the command that the first one's end set off has ended.
        await until(board, lambda status: status.series is None)
        await measured(service, detector, "other")
        events, code = await following

    assert code == 1000
    assert {event.series.id for event in events} == {"slow"}
    assert [event.revision for event in events] == sorted({event.revision for event in events})
    counts = [event.series.ledger.written for event in events]
    assert counts == sorted(counts)
    last = events[-1].series
    assert (last.outcome, last.ledger.written) == (Outcome.COMPLETE, 6)
    assert last.hook is not None
    assert last.hook.code == 4


async def test_a_client_that_takes_nothing_gets_the_end(service: Service, detector: Detector) -> None:
    """It reads when all is over; other series have ended meanwhile."""
    await Control(service.supervisor).arm(ArmRequest(id="one"))
    async with socket(service, "/series/one/events", max_queue=1) as connection:
        detector.series(50)
        for id in ("two", "three"):
            await until(service.supervisor.board, lambda status: status.series is None)
            await measured(service, detector, id)
        events, code = await all_of(connection)

    assert (events[-1].series.id, events[-1].series.outcome, code) == ("one", Outcome.COMPLETE, 1000)


async def test_what_a_client_says_is_ignored(service: Service, detector: Detector) -> None:
    await Control(service.supervisor).arm(ArmRequest(id="one"))
    async with socket(service, "/series/one/events") as connection:
        await connection.send(b"bytes")
        await connection.send("text")
        pong = await connection.ping()
        await asyncio.wait_for(pong, TIMEOUT)
        detector.series(1)
        events, code = await all_of(connection)

    assert (events[-1].series.outcome, code) == (Outcome.COMPLETE, 1000)


async def test_one_that_has_ended_and_one_that_never_was(service: Service, detector: Detector) -> None:
    await measured(service, detector, "one")
    async with socket(service, "/series/one/events") as connection:
        events, code = await all_of(connection)
    async with socket(service, "/series/never/events") as connection:
        nothing, unknown = await all_of(connection)

    assert (events[-1].series.outcome, code) == (Outcome.COMPLETE, 1000)
    assert (nothing, unknown) == ([], 4404)


async def test_the_end_of_the_service_ends_the_series_first(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with Service(config_for(detector, tmp_path)) as service:
        await Control(service.supervisor).arm(ArmRequest(id="one"))
        connection = await socket(service, "/series/one/events")
        detector.start()
        detector.frames(range(3))
        await until(
            service.supervisor.board, lambda status: status.series is not None and status.series.ledger.written > 0
        )
    events, code = await all_of(connection)

    assert (events[-1].series.outcome, code) == (Outcome.COMPLETE, 1000)


async def picture(connection: ClientConnection) -> tuple[PictureReport, bytes]:
    async with asyncio.timeout(TIMEOUT):
        about, png = await connection.recv(), await connection.recv()
    assert isinstance(png, bytes)
    return PictureReport.model_validate(json.loads(about)), png


async def test_pictures_come_as_frames_do(service: Service, detector: Detector) -> None:
    async with socket(service, "/live?every=0.1&downsample=2") as connection:
        await measured(service, detector, "one")
        about, png = await picture(connection)
        while about.number < 2:
            about, png = await picture(connection)
        assert (about.series, about.number, about.shape, about.downsample) == ("one", 2, SHAPE, 2)
        assert png.startswith(PNG)
        await measured(service, detector, "two", 1)
        assert (await picture(connection))[0].series == "two"


async def test_many_viewers_cost_no_more_than_one(service: Service, detector: Detector) -> None:
    """Also one that takes nothing."""
    asked, ask = [], service.supervisor.ask

    async def counted(command: Any, *rest: Any) -> Any:
        asked.append(command)
        return await ask(command, *rest)

    service.supervisor.ask = counted  # type: ignore[method-assign]
    await measured(service, detector, "one")
    asked.clear()
    connections = [await socket(service, "/live?every=10", max_queue=1, close_timeout=0.1) for _ in range(8)]
    shown = [await picture(one) for one in connections[:-1]]
    for one in connections:
        await one.close()

    assert {about.number for about, _ in shown} == {2}
    assert len(asked) == 1
