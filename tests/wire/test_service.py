"""A whole service with its real data plane, and its client over real HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bluesky_streamdet.core.errors import (
    AddressTaken,
    Busy,
    DeadlineExceeded,
    FileTaken,
    NoSuchSeries,
    PathRefused,
    RequestRefused,
    ServiceUnreachable,
    Unauthorised,
)
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import ConfigError
from bluesky_streamdet.service.server import Service
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import START, ArmRequest
from bluesky_streamdet.streaming.status import Status
from tests.wire.service_parts import TIMEOUT, Detector, config_for, pixels

pytestmark = pytest.mark.wire


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of tests lie with the tests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("STREAMDET_API_KEY", raising=False)


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


@pytest.fixture(scope="module")
def process(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for all tests that leave it as they found it."""
    directory = tmp_path_factory.mktemp("data")
    with ServiceProcess(config_for(detector, directory, unarmed="ignore")) as process:
        yield process


@pytest.fixture
def client(process: ServiceProcess) -> Iterator[ServiceClient]:
    with ServiceClient(process.url, process.api_key) as client:
        yield client
        series = client.status().series
        if series is not None:
            client.abort(series.id)


def ended(id: str) -> Callable[[Status], bool]:
    return lambda status: status.last_series is not None and status.last_series.id == id


def measured(client: ServiceClient, detector: Detector, frames: int, request: ArmRequest) -> Status:
    """Arm, have the detector send a series, and wait for its end."""
    report = client.arm(request)
    detector.series(frames)
    return client.wait(ended(report.id), TIMEOUT, "the end of the series")


def test_a_series(client: ServiceClient, detector: Detector) -> None:
    status = measured(client, detector, 5, ArmRequest(name="five", metadata={"number": np.int64(7)}))
    report = status.last_series

    assert report is not None
    assert report.outcome is Outcome.COMPLETE
    np.testing.assert_array_equal(read_frames(str(report.file)), [pixels(number) for number in range(5)])
    assert client.series(report.id) == report
    assert client.list_series()[0] == report
    assert client.stop(report.id) == client.abort(report.id) == report


def test_the_latest_frame(client: ServiceClient, detector: Detector, process: ServiceProcess) -> None:
    measured(client, detector, 3, ArmRequest(save=False))
    report, array, scalars = client.frame()

    assert scalars == {}
    assert (report.number, array.dtype) == (2, np.uint16)
    np.testing.assert_array_equal(array, pixels(2))
    total = client.frame_total()
    assert (total.series, total.number, total.total) == (report.series, 2, pixels(2).sum())
    answer = httpx.get(f"{process.url}/api/v1/frame", params={"format": "npy"})
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.content), allow_pickle=False), pixels(2))
    assert httpx.get(f"{process.url}/api/v1/frame").content.startswith(b"\x89PNG")


def test_a_second_series_is_refused_while_one_is_armed(client: ServiceClient) -> None:
    first = client.arm(ArmRequest())

    with pytest.raises(Busy, match=first.id):
        client.arm(ArmRequest())


def test_files_keep_to_the_data_directory_and_to_themselves(client: ServiceClient, detector: Detector) -> None:
    for name in ("../outside", "/etc/passwd", "a\0b"):
        with pytest.raises(PathRefused):
            client.arm(ArmRequest(name=name))
    measured(client, detector, 1, ArmRequest(name="once"))
    with pytest.raises(FileTaken, match="once"):
        client.arm(ArmRequest(name="once"))
    assert client.status().state == State.IDLE


def test_stopping_before_the_first_frame(client: ServiceClient) -> None:
    report = client.arm(ArmRequest(open_ended=True))
    client.stop(report.id, expected_frames=0)
    client.wait(ended(report.id), TIMEOUT, "the end of the series")

    assert client.series(report.id).outcome is Outcome.COMPLETE


def test_parameters_while_it_is_armed(client: ServiceClient) -> None:
    report = client.arm(ArmRequest())

    assert client.set_parameters(report.id, {"sample": "x", "times": np.arange(3)}).id == report.id


def test_the_start_document_of_a_run(client: ServiceClient, detector: Detector) -> None:
    """It goes where NeXus has it, with numbers that are none."""
    report = client.arm(ArmRequest(name="of a run"))
    start = {"uid": "1", "sample": {"formula": "Fe"}, "positions": [1.5, float("nan")], "none": None}
    client.set_parameters(report.id, {START: start, "device": "camera"})
    detector.series(2)
    last = client.wait(ended(report.id), TIMEOUT, "the end of the series").last_series

    assert last is not None
    with h5py.File(str(last.file)) as file:
        assert file["/entry/sample/chemical_formula"].asstr()[()] == "Fe"
        np.testing.assert_array_equal(file["/entry/bluesky/start/positions"][()], [1.5, np.nan])
        assert file["/entry/bluesky/start/none"].attrs["none"]
        assert list(file["/entry/instrument/camera/collection/parameters"]) == ["device"]
    with pytest.raises(NoSuchSeries):
        client.set_parameters("never", {START: start})


def test_what_there_is_not(client: ServiceClient) -> None:
    for ask in (client.series, client.stop, client.abort):
        with pytest.raises(NoSuchSeries):
            ask("never")


def test_without_the_key(process: ServiceProcess) -> None:
    with ServiceClient(process.url, "not-the-key-of-this-service") as client:
        assert client.status().detector == "camera"
        with pytest.raises(Unauthorised, match="STREAMDET_API_KEY"):
            client.arm(ArmRequest())


def test_waiting_too_long_says_how_things_stand(client: ServiceClient) -> None:
    report = client.arm(ArmRequest(expected_frames=9))

    with pytest.raises(DeadlineExceeded) as caught:
        client.wait(ended(report.id), 0.1, "9 frames of camera")
    assert caught.value.message.startswith(
        f"Waited 0.1 s for 9 frames of camera. Detector camera is armed with series {report.id}"
    )
    assert "has sent nothing" in caught.value.hint


def test_statuses_are_pushed(client: ServiceClient, detector: Detector) -> None:
    statuses: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
    unsubscribe = client.subscribe(statuses.put)
    first = statuses.get(timeout=TIMEOUT)
    report = client.arm(ArmRequest())
    detector.series(2)
    seen, last = [], first
    while last is None or not ended(report.id)(last):
        last = statuses.get(timeout=TIMEOUT)
        assert last is not None
        seen.append(last)
    unsubscribe()

    assert State.ARMED in [status.state for status in seen]
    assert [status.revision for status in seen] == sorted({status.revision for status in seen})


def fail(status: Status | None) -> None:
    raise ZeroDivisionError


@pytest.mark.allow_error_log
def test_a_callback_that_fails_disturbs_no_other(client: ServiceClient) -> None:
    statuses: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
    client.subscribe(fail)
    client.subscribe(statuses.put)

    assert statuses.get(timeout=TIMEOUT) is not None
    assert statuses.get(timeout=TIMEOUT) is not None


def test_a_callback_may_end_itself(client: ServiceClient) -> None:
    statuses: queue.SimpleQueue[Status | None] = queue.SimpleQueue()

    def once(status: Status | None) -> None:
        unsubscribe()
        client.close()
        statuses.put(status)

    unsubscribe = client.subscribe(once)
    assert statuses.get(timeout=TIMEOUT) is not None


def test_the_log_level(client: ServiceClient) -> None:
    client.set_log_level("ERROR")

    assert client.status().log_level == "ERROR"
    with pytest.raises(RequestRefused, match="allowed: 'DEBUG'"):
        client.set_log_level("LOUD")


def test_a_service_that_goes_and_comes_again(detector: Detector, tmp_path: Path) -> None:
    statuses: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
    config = config_for(detector, tmp_path, unarmed="ignore")
    with ServiceProcess(config) as process:
        port = int(process.url.rpartition(":")[2])
        client = ServiceClient(process.url)
        client.subscribe(statuses.put)
        before = statuses.get(timeout=TIMEOUT)
    with client:
        while statuses.get(timeout=TIMEOUT) is not None:
            pass
        with pytest.raises(ServiceUnreachable):
            client.arm(ArmRequest())
        config.rest.port = port
        with ServiceProcess(config):
            after = statuses.get(timeout=TIMEOUT)
            assert before is not None
            assert after is not None
            assert after.revision > before.revision
            # By the key of the new service, which it finds by itself.
            assert client.arm(ArmRequest()).detector == "camera"


def test_a_service_that_can_not_start(process: ServiceProcess, detector: Detector, tmp_path: Path) -> None:
    port = int(process.url.rpartition(":")[2])

    with pytest.raises(AddressTaken, match=str(port)):
        ServiceProcess(config_for(detector, tmp_path, rest={"port": port})).start()
    with pytest.raises(ConfigError, match="can't listen"):
        ServiceProcess(config_for(detector, tmp_path, rest={"port": 0, "host": "no.such.host.example"})).start()


# Below HTTP, in one event loop.


@pytest.fixture
def camera() -> Iterator[Detector]:
    """A detector of its own, as one that streams to two services divides its frames among them."""
    detector = Detector()
    yield detector
    detector.close()


@pytest.fixture
async def service(camera: Detector, tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(config_for(camera, tmp_path, unarmed="ignore")) as service:
        yield service


def events(service: Service, **headers: str) -> connect_websocket:
    return connect_websocket(
        f"{service.url.replace('http', 'ws')}/api/v1/events",
        additional_headers=headers,
        proxy=None,
        max_queue=1,
        close_timeout=0.1,
    )


async def received(socket: ClientConnection) -> Status:
    async with asyncio.timeout(TIMEOUT):
        return Status.model_validate_json(await socket.recv())


async def forever(socket: ClientConnection) -> None:
    while True:
        await received(socket)


async def test_events_of_a_service_that_ends(service: Service) -> None:
    async with events(service) as socket:
        assert (await received(socket)).state == State.IDLE
        await service.close()
        with pytest.raises(ConnectionClosed):
            await forever(socket)


async def test_a_page_gives_its_key_by_the_protocol(service: Service) -> None:
    async with connect_websocket(
        f"{service.url.replace('http', 'ws')}/api/v1/events",
        subprotocols=["streamdet", "streamdet.key.whatever"],  # type: ignore[list-item]
        proxy=None,
    ) as socket:
        assert socket.subprotocol == "streamdet"
        assert (await received(socket)).detector == "camera"


async def test_events_are_not_for_foreign_pages(service: Service) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await events(service, Origin="http://evil.example")
    assert caught.value.response.status_code == 403


async def test_a_client_that_does_not_read_disturbs_nobody(service: Service) -> None:
    async with events(service):
        board = service.supervisor.board
        for number in range(2000):
            board.put(board.status.model_copy(update={"error": str(number)}))
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{service.url}/healthz")).status_code == 200


async def test_the_key_is_gone_with_the_service(detector: Detector, tmp_path: Path) -> None:
    async with Service(config_for(detector, tmp_path)) as service:
        assert service.key is not None
        assert service.key.file is not None
        assert service.key.file.exists()
    assert not service.key.file.exists()


async def test_metrics_of_real_frames(service: Service, camera: Detector) -> None:
    assert service.key is not None
    async with httpx.AsyncClient(base_url=service.url, headers={"X-Api-Key": service.key.text}) as http:
        id = (await http.post("/api/v1/series")).json()["id"]
        camera.series(4)
        while (await http.get(f"/api/v1/series/{id}")).json()["outcome"] is None:
            await service.supervisor.board.newer_than(service.supervisor.board.status.revision)
        text = (await http.get("/metrics")).text
        outputs = json.loads((await http.get("/api/v1/outputs")).content)

    assert 'streamdet_frames_written_total{detector="camera"} 4.0' in text
    assert outputs == []
