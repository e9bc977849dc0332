"""`streamdet supervise` as a person runs it: several cameras behind one address, each with its writer and faults."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bluesky_streamdet.core.errors import Busy, Unauthorised
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.cameras import Cameras
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import RestConfig
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status
from tests.wire.service_parts import TIMEOUT, Detector, config_for, pixels, process_ended, until

pytestmark = pytest.mark.wire

NAMES = ("pco1", "pco2")


class Running(NamedTuple):
    process: subprocess.Popen[str]
    url: str
    key: str


def text_of(detectors: Sequence[Detector], directory: Path, more: str = "") -> str:
    cameras = "".join(
        f"  {name}: {{type: stins, source: {{endpoints: [{one.address}]}}, wait: {{quiet_seconds: 1000}},"
        f" files: {{directory: {directory / name}, flush_seconds: 0}}{more}}}\n"
        for name, one in zip(NAMES, detectors, strict=True)
    )
    return f"rest: {{port: 0}}\ndetectors:\n{cameras}"


@contextmanager
def supervising(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`streamdet supervise` with these arguments; killed at the end if it still runs."""
    command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "supervise", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until_it_answers(process: subprocess.Popen[str]) -> Running:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"page +(\S+)/#key=(\S+)", line):
            return Running(process, *found.groups())
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def rest_of(process: subprocess.Popen[str]) -> str:
    """What it says until its end."""
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait(TIMEOUT) == 0
    return said


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("keys")))
        patch.setenv("LOG_LEVEL", "WARNING")
        patch.delenv("STREAMDET_API_KEY", raising=False)
        yield


@pytest.fixture(scope="module")
def detectors() -> Iterator[list[Detector]]:
    made = [Detector() for _ in NAMES]
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def running(environ: None, detectors: list[Detector], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One of them for all tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("hall")
    (folder / "hall.yaml").write_text(text_of(detectors, folder))
    with supervising(str(folder / "hall.yaml")) as process:
        yield until_it_answers(process)
        process.terminate()
        assert "ended" in rest_of(process)


@pytest.fixture
def clients(running: Running) -> Iterator[list[ServiceClient]]:
    made = [ServiceClient(f"{running.url}/cameras/{name}") for name in NAMES]
    yield made
    for client in made:
        if (series := client.status().series) is not None:
            client.abort(series.id)
        client.close()


def ended(id: str) -> Callable[[Status], bool]:
    return lambda status: status.last_series is not None and status.last_series.id == id


def end_of(client: ServiceClient, id: str) -> SeriesReport:
    return client.series(client.wait(ended(id), TIMEOUT, f"the end of {id}").last_series.id)  # type: ignore[union-attr]


def written(frames: int) -> Callable[[Status], bool]:
    return lambda status: status.series is not None and status.series.ledger.written >= frames


def writers(running: Running) -> dict[str, int | None]:
    """The process of each camera's writer."""
    return {one["name"]: one["writer"] for one in httpx.get(f"{running.url}/api/v1/cameras").json()}


def test_two_cameras_at_once(running: Running, clients: list[ServiceClient], detectors: list[Detector]) -> None:
    """Clients of a service work unchanged, key and events included; a writer runs for each series alone."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda client: client.arm(ArmRequest(id="both")), clients))
    processes = writers(running)
    assert len(set(processes.values())) == 2
    assert None not in processes.values()
    for detector, count in zip(detectors, (5, 9), strict=True):
        detector.series(count)

    for client, count in zip(clients, (5, 9), strict=True):
        report = end_of(client, "both")
        assert (report.outcome, report.ledger.written) == (Outcome.COMPLETE, count)
        np.testing.assert_array_equal(read_frames(str(report.file)), [pixels(number) for number in range(count)])
        assert report.statistics.last_number == count - 1
        assert report.statistics.bytes_written == report.statistics.bytes_received == count * pixels(0).nbytes
    for client in clients:
        client.wait(lambda _: set(writers(running).values()) == {None}, TIMEOUT, "the end of the writers")


def test_one_writer_is_killed_and_the_other_camera_goes_on(
    running: Running, clients: list[ServiceClient], detectors: list[Detector]
) -> None:
    for client, detector in zip(clients, detectors, strict=True):
        client.arm(ArmRequest(id="killed"))
        detector.start(8)
        detector.frames(range(4))
        client.wait(written(4), TIMEOUT, "four frames")
    os.kill(writers(running)["pco1"] or 0, signal.SIGKILL)
    lost = end_of(clients[0], "killed")
    detectors[1].frames(range(4, 8))
    detectors[1].end()

    assert (lost.outcome, lost.ledger.written, len(read_frames(str(lost.file)))) == (Outcome.INTERRUPTED, 4, 4)
    assert "killed by signal 9 (SIGKILL)" in lost.reason
    assert (end_of(clients[1], "killed").outcome, clients[1].status().error) == (Outcome.COMPLETE, None)
    assert httpx.get(f"{running.url}/readyz").json() == {"status": "ready"}
    clients[0].arm(ArmRequest(id="next"))
    detectors[0].series(2)
    assert end_of(clients[0], "next").outcome is Outcome.COMPLETE


def test_who_may_do_what(running: Running, clients: list[ServiceClient]) -> None:
    with ServiceClient(f"{running.url}/cameras/pco1", "not-the-key-of-this-service") as stranger:
        assert stranger.status().detector == "pco1"
        with pytest.raises(Unauthorised):
            stranger.arm(ArmRequest())
    clients[0].arm(ArmRequest(id="first"))
    with pytest.raises(Busy, match="first"):
        clients[0].arm(ArmRequest())
    location = httpx.post(
        f"{running.url}/cameras/pco2/api/v1/series",
        headers={"Authorization": f"Bearer {running.key}"},
        json={"id": "second"},
        timeout=TIMEOUT,
    ).headers["location"]
    assert httpx.get(running.url + location).json()["id"] == "second"
    assert httpx.post(f"{running.url}/cameras/pco1/api/v1/series", headers={"Origin": "http://evil"}).status_code == 403


async def test_two_of_one_stream_do_not_take_each_others_frames(
    environ: None, detectors: list[Detector], tmp_path: Path
) -> None:
    """One camera may have several entries, such as for other files; of two that are armed at once, one is refused."""
    configs = [config_for(detectors[0], tmp_path).changed(detector=name) for name in NAMES]
    async with Cameras(configs, RestConfig(port=0)) as cameras:
        first, second = (Control(one) for one in cameras.supervisors.values())
        armed, refused = await asyncio.gather(
            first.arm(ArmRequest(id="one")), second.arm(ArmRequest(id="two")), return_exceptions=True
        )
        assert isinstance(armed, SeriesReport)
        assert isinstance(refused, Busy)
        assert f"pco1 takes frames from {detectors[0].address} now" in str(refused)
        await first.abort("one")
        await until(cameras.supervisors["pco1"].board, lambda _: not cameras.supervisors["pco1"].takes_frames)
        await second.arm(ArmRequest(id="two"))


async def test_one_that_is_moved_to_the_stream_of_another_does_not_take_its_frames(
    environ: None, detectors: list[Detector], tmp_path: Path
) -> None:
    configs = [config_for(one, tmp_path).changed(detector=name) for name, one in zip(NAMES, detectors, strict=True)]
    async with Cameras(configs, RestConfig(port=0)) as cameras:
        first, second = (Control(one) for one in cameras.supervisors.values())
        await second.set_source(second.source.model_copy(update={"endpoints": [detectors[0].address]}))
        await first.arm(ArmRequest(id="one"))
        with pytest.raises(Busy, match="pco1 takes frames"):
            await second.arm(ArmRequest(id="two"))


def test_pages_and_probes(running: Running) -> None:
    with httpx.Client(base_url=running.url, follow_redirects=True) as client:
        listed = client.get("/")
        assert "script-src 'sha256-" in listed.headers["content-security-policy"]
        assert "Cameras" in listed.text
        own = client.get("/cameras/pco1")
        assert own.url.path == "/cameras/pco1/"
        assert "Live picture" in own.text
        assert "/api/v1/cameras" in client.get("/docs").text
        assert "pco1" in client.get("/cameras/pco1/docs").text
        assert "/api/v1/series" in client.get("/cameras/pco1/openapi.json").json()["paths"]
        problem = client.get("/cameras/pco7/api/v1/status").json()["error"]
        assert (problem["code"], problem["hint"]) == ("no_such_camera", "There are: pco1, pco2.")
        assert client.get("/nothing").status_code == client.get("/cameras/pco1/nothing").status_code == 404
        families = list(text_string_to_metric_families(client.get("/metrics").text))
        assert len({one.name for one in families}) == len(families)
        ready = next(one for one in families if one.name == "streamdet_ready")
        assert {(one.labels["detector"], one.value) for one in ready.samples} == {("pco1", 1.0), ("pco2", 1.0)}
        assert client.get("/healthz").json() == {"status": "ok"}


def test_sigterm_drains_all(environ: None, detectors: list[Detector], tmp_path: Path) -> None:
    """Each with a command for its closed series, of which one fails; that is said, and is in the records."""
    hook = ", compat: {dialect: receiver, port: 0}, log_level: WARNING"
    (tmp_path / "hall.yaml").write_text(
        text_of(detectors, tmp_path, hook).replace(
            f"directory: {tmp_path}/pco1,", f"directory: {tmp_path}/pco1, hook: ['false', '{{file}}'],"
        )
    )
    with supervising(str(tmp_path / "hall.yaml")) as process:
        running = until_it_answers(process)
        for name, detector in zip(NAMES, detectors, strict=True):
            with ServiceClient(f"{running.url}/cameras/{name}") as client:
                client.arm(ArmRequest(id="last", name="last"))
                detector.start()
                detector.frames(range(4))
                client.wait(written(4), TIMEOUT, "four frames")
        process.terminate()
        said = rest_of(process)

    for name in NAMES:
        assert re.search(rf"{name} series last ended complete, 4 frames", said)
        assert len(read_frames(tmp_path / name / "last.h5")) == 4
    assert "pco1 the hook of series last ended with exit code 1" in said
    record = (tmp_path / "pco1/.streamdet/series/pco1.last.json").read_text()
    hook_of = SeriesReport.model_validate_json(record).hook
    assert hook_of is not None
    assert hook_of.code == 1


def test_one_that_is_killed_leaves_no_writer_and_the_next_finds_its_series(
    environ: None, detectors: list[Detector], tmp_path: Path
) -> None:
    (tmp_path / "hall.yaml").write_text(text_of(detectors, tmp_path))
    with supervising(str(tmp_path / "hall.yaml"), "pco1") as process:
        running = until_it_answers(process)
        with ServiceClient(f"{running.url}/cameras/pco1") as client:
            client.arm(ArmRequest(id="old", name="old", expected_frames=9))
            detectors[0].start()
            detectors[0].frames(range(4))
            client.wait(written(4), TIMEOUT, "four frames")
            writer = writers(running)["pco1"]
            process.kill()
    assert process_ended(writer or 0)

    with supervising(str(tmp_path / "hall.yaml"), "pco1") as process:
        running = until_it_answers(process)
        with ServiceClient(f"{running.url}/cameras/pco1") as client:
            old = client.list_series()[0]
        process.terminate()
        rest_of(process)
    assert (old.id, old.outcome, old.ledger.written, old.ledger.missing) == ("old", Outcome.INTERRUPTED, 4, 5)
    assert "the service died while the series ran" in old.reason
    assert len(read_frames(tmp_path / "pco1/old.h5")) == 4


def test_only_those_that_are_named(environ: None, detectors: list[Detector], tmp_path: Path) -> None:
    (tmp_path / "hall.yaml").write_text(text_of(detectors, tmp_path))
    with supervising(str(tmp_path / "hall.yaml"), "pco2", "--port", "0") as process:
        assert list(writers(until_it_answers(process))) == ["pco2"]
        process.send_signal(signal.SIGINT)
        rest_of(process)


@pytest.mark.parametrize(
    ("text", "arguments", "code", "said"),
    [
        (None, [], 2, "can't be read"),
        ("detectors: {a: {type: stins}}", [], 2, "line 1: detectors.a.source is missing"),
        ("detectors: {a: {type: stins, source: {endpoints: [tcp://h:1]}}}", ["b"], 2, "no detector 'b'"),
        (
            "rest: {prot: 1}\ndetectors: {a: {type: stins, source: {endpoints: [tcp://h:1]}}}",
            [],
            2,
            "did you mean port?",
        ),
    ],
)
def test_what_can_not_be_started(
    environ: None, tmp_path: Path, text: str | None, arguments: list[str], code: int, said: str
) -> None:
    if text is not None:
        (tmp_path / "hall.yaml").write_text(text)
    with supervising(str(tmp_path / "hall.yaml"), *arguments) as process:
        _, errors = process.communicate(timeout=TIMEOUT)

    assert process.returncode == code
    assert said in errors
    assert "Traceback" not in errors


def test_two_on_one_port(running: Running, detectors: list[Detector], tmp_path: Path) -> None:
    (tmp_path / "hall.yaml").write_text(text_of(detectors, tmp_path))
    port = running.url.rpartition(":")[2]
    with supervising(str(tmp_path / "hall.yaml"), "--port", port) as process:
        _, errors = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 1
    assert f"The port {port} on 127.0.0.1 is in use" in errors
    assert f"ss -ltnp 'sport = :{port}'" in errors
    # The key of the one that runs is still its own.
    with ServiceClient(f"{running.url}/cameras/pco1") as client:
        client.abort(client.arm(ArmRequest()).id)
