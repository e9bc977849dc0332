"""One stream in, many out, with real processes: recorded and simulated cameras, slow clients, a second service."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
import zmq

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.core.errors import AddressTaken, NoSuchOutput
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import DetectorConfig, for_row
from bluesky_streamdet.streaming.endpoints import OutputConfig, SourceConfig
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.recordfile import read_recording
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import OutputReport
from tests.conftest import Recordings
from tests.wire.repeating import PATIENCE, Camera, clients, connected, free_ports, numbers, repeating
from tests.wire.streams import LOOPBACK, until

pytestmark = pytest.mark.wire

LARGE = {"shape": (500, 500)}
"""Frames of 500 kB, so that a client that stops fills what the kernel holds for it soon."""


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys of tests lie with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("keys")))
        patch.delenv("STREAMDET_API_KEY", raising=False)
        yield


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.sender.close()


def output(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "address": LOOPBACK, "queue": 10_000, "queue_bytes": 1 << 30, **settings}


def config_for(address: str, directory: Path, *outputs: dict[str, Any], **more: Any) -> DetectorConfig:
    return DetectorConfig.model_validate(
        {
            "detector": "repeater",
            "type": "gigafrost",
            "source": {"endpoints": [address]},
            "outputs": outputs,
            "files": {"directory": directory},
            "rest": {"port": 0},
            "wait": {"gap_seconds": 0, "settle_seconds": 0},
            "unarmed": "forward",
            "log_level": "WARNING",
            **more,
        }
    )


@contextmanager
def serving(config: DetectorConfig) -> Iterator[ServiceClient]:
    with ServiceProcess(config) as process, ServiceClient(process.url, process.api_key) as client:
        yield client


def ports_of(client: ServiceClient) -> list[int]:
    return [int(one.address.rpartition(":")[2]) for one in client.status().outputs]


def reports(client: ServiceClient) -> dict[str, OutputReport]:
    return {one.name: one for one in client.status().outputs}


# At run time.


def test_outputs_come_and_go_while_others_stream_on(camera: Camera, tmp_path: Path) -> None:
    config = config_for(camera.address, tmp_path, output("first", encoder="as-received"))
    with serving(config) as service, clients(ports_of(service)) as (first,):
        connected(service, 1)
        camera.send(5)
        assert numbers(first, 5) == [0, 1, 2, 3, 4]
        service.set_output(OutputConfig.model_validate(output("second", kind="pub", send={"every": 2})))
        with clients(ports_of(service)[1:], ["pub"]) as (second,):
            connected(service, 2)
            camera.send(5)
            assert numbers(first, 5) == [5, 6, 7, 8, 9]
            # The standard format: the header of the series comes first.
            assert [second.next()[0].get("frame") for _ in range(3)] == [None, 6, 8]
        with Sender(LOOPBACK, linger=0) as other:
            wanted = OutputConfig.model_validate({**output("third"), "address": other.address})
            with pytest.raises(AddressTaken, match=f"'third': The address {other.address} is in use"):
                service.set_output(wanted)
        assert [one.name for one in service.remove_output("second")] == ["first"]
        with pytest.raises(NoSuchOutput):
            service.remove_output("second")
        service.set_outputs([OutputConfig.model_validate(output("first", encoder="as-received", send={"every": 4}))])
        camera.send(6)
        assert numbers(first, 1) == [12]
        service.wait(lambda status: status.outputs[0].seen == 16, PATIENCE, "the last frame")
        (state,) = service.outputs()
        assert (state.seen, state.sent, state.skipped, state.clients) == (16, 11, 5, 1)
        assert state.settings.send is not None


def test_a_new_data_plane_has_the_new_outputs_and_source(camera: Camera, tmp_path: Path) -> None:
    config = config_for("tcp://127.0.0.1:1", tmp_path, output("first"))
    with ServiceProcess(config) as process, ServiceClient(process.url, process.api_key) as service:
        port = free_ports(1)[0]
        address = f"tcp://127.0.0.1:{port}"
        service.set_outputs([OutputConfig.model_validate({**output("new", encoder="array-1.0"), "address": address})])
        service.set_source(SourceConfig(endpoints=[camera.address]))
        service.pause()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        service.wait(lambda status: status.state == "error", PATIENCE, "the death")
        service.wait(lambda status: status.state != "error" and bool(status.outputs), PATIENCE, "a new data plane")
        assert service.status().paused
        assert [one.name for one in service.status().outputs] == ["new"]
        with clients([port]) as (client,):
            connected(service, 1)
            assert camera.sender.has_peer(PATIENCE)
            first = camera.number
            camera.send(1)
            assert client.take(wait=50) is None
            service.resume()
            assert numbers(client, 1) == [first]


# Cameras.


@pytest.fixture(scope="module")
def pco(test_data: Recordings) -> list[list[bytes]]:
    return [[bytes(part) for part in message.parts] for message in read_recording(test_data / "pco/pco-50frames")]


THREE = [
    output("whole", encoder="as-received"),
    output("some", encoder="array-1.0", kind="pub", send={"frames": 2, "of": 5}),
    output("writer", encoder="stins", send={"strides": 10}, overflow="block"),
]


@contextmanager
def three(address: str, folder: Path) -> Iterator[tuple[ServiceClient, ServiceClient, list[Any]]]:
    """A repeater of three outputs, the service that writes the last of them, and clients of the others."""
    with serving(config_for(address, folder / "repeater", *THREE)) as repeater:
        port = ports_of(repeater)[2]
        receiver = for_row("stins", f"tcp://127.0.0.1:{port}", folder / "files", environ={})
        receiver.rest.port = 0
        with serving(receiver) as writer, clients(ports_of(repeater)[:2], ["push", "pub"]) as (whole, some):
            connected(repeater, 3)
            yield repeater, writer, [whole, some]


def written(writer: ServiceClient, id: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames and their numbers in the file of a series that has ended."""
    status = writer.wait(lambda now: now.series is None and now.last_series is not None, PATIENCE, "the file")
    report = status.last_series
    assert report is not None and report.id == id and report.file is not None
    assert (report.outcome, report.ledger.missing) == ("complete", 0)
    return read_frames(report.file), read_frames(report.file, "/entry/instrument/stins/sequence_number")


def test_the_recorded_pco_stream_three_ways(pco: list[list[bytes]], tmp_path: Path) -> None:
    first = msgspec.json.decode(pco[0][0])["frame"]
    all_numbers = range(first, first + len(pco))
    images = {
        number: np.frombuffer(parts[1], "<u2").reshape(64, 250) for number, parts in zip(all_numbers, pco, strict=True)
    }
    with Sender(LOOPBACK, linger=0) as sender, three(sender.address, tmp_path) as (repeater, writer, (whole, some)):
        wanted = [number for number in all_numbers if number // 10 % 2 == 0]
        series = writer.arm(ArmRequest(expected_frames=len(wanted)))
        for parts in pco:
            sender.send(parts, PATIENCE)
        got = [[], []]
        until(lambda: len(got[0]) == 50, lambda: got[0].append(whole.take(wait=1000)))
        assert got[0] == pco
        some_wanted = [number for number in all_numbers if number % 5 < 2]
        for number in some_wanted:
            header, (pixels,) = some.next()
            assert header["frame"] == number
            np.testing.assert_array_equal(np.frombuffer(pixels, "<u2").reshape(64, 250), images[number])
        frames, kept = written(writer, series.id)
        assert kept.tolist() == wanted
        np.testing.assert_array_equal(frames, [images[number] for number in wanted])
        repeater.wait(lambda status: all(one.seen == 50 for one in status.outputs), PATIENCE, "the last frame")
        accounts = reports(repeater)
        assert [(one.seen, one.sent, one.skipped, one.dropped) for one in accounts.values()] == [
            (50, 50, 0, {}),
            (50, 20, 30, {}),
            (50, len(wanted), 50 - len(wanted), {}),
        ]


def test_a_simulated_gigafrost_three_ways(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    arguments = ["simulate", "gigafrost", "--port", str(port), "--frames", "40", "--rate", "0", "--shape", "64x80"]
    with three(f"tcp://127.0.0.1:{port}", tmp_path) as (_, writer, (whole, some)):
        wanted = [number for number in range(40) if number // 10 % 2 == 0]
        series = writer.arm(ArmRequest(expected_frames=len(wanted)))
        with subprocess.Popen(
            [sys.executable, "-m", "bluesky_streamdet.cli.main", *arguments], stdout=subprocess.DEVNULL
        ) as simulator:
            came = [whole.next() for _ in range(40)]
            assert simulator.wait(PATIENCE) == 0
        assert [header["frame"] for header, _ in came] == list(range(40))
        assert all(header["htype"] == ["array-1.0"] and header["image_attributes"] for header, _ in came)
        images = {header["frame"]: np.frombuffer(parts[0], "<u2").reshape(64, 80) for header, parts in came}
        for number in (number for number in range(40) if number % 5 < 2):
            header, (pixels,) = some.next()
            assert header["frame"] == number
            assert header["image_attributes"]["time_stamp"] == came[number][0]["image_attributes"]["time_stamp"]
            np.testing.assert_array_equal(np.frombuffer(pixels, "<u2").reshape(64, 80), images[number])
        frames, kept = written(writer, series.id)
        assert kept.tolist() == wanted
        np.testing.assert_array_equal(frames, [images[number] for number in wanted])


# Clients that are slow, and messages that are none.

STOPPED = """
import sys, zmq
with zmq.Context() as context, context.socket(zmq.PULL) as pull:
    pull.rcvhwm = 1
    pull.connect(sys.argv[1])
    pull.recv()
    print("got one", flush=True)
    while True:
        pull.recv()
"""


def test_a_client_that_stops_costs_the_others_nothing(camera: Camera, tmp_path: Path) -> None:
    outputs = [output(name, encoder="as-received") for name in ("a", "b", "c")]
    stopping = {**output("stopping", encoder="as-received"), "queue": 5}
    with serving(config_for(camera.address, tmp_path, *outputs, stopping)) as service:
        *ports, port = ports_of(service)
        command = [sys.executable, "-c", STOPPED, f"tcp://127.0.0.1:{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, clients(ports) as others:
            try:
                connected(service, 4)
                camera.send(1, **LARGE)
                assert process.stdout is not None and process.stdout.readline() == "got one\n"
                process.send_signal(signal.SIGSTOP)
                camera.send(99, **LARGE)
                for other in others:
                    assert numbers(other, 100) == list(range(100))
                sent = [100] * 3
                service.wait(lambda now: [one.sent for one in now.outputs[:3]] == sent, PATIENCE, "all frames")
                accounts = reports(service)
                assert all(accounts[name].sent == 100 and not accounts[name].dropped for name in "abc")
                stopped = accounts["stopping"]
                missed = stopped.dropped["queue full"]
                assert missed > 10
                assert stopped.seen == stopped.sent + stopped.queued + missed == 100
                process.send_signal(signal.SIGCONT)
                service.wait(lambda status: status.outputs[3].queued == 0, PATIENCE, "what waited")
                assert reports(service)["stopping"].sent == 100 - missed
            finally:
                process.kill()


def test_headers_that_are_none_are_counted_and_the_stream_goes_on(camera: Camera, tmp_path: Path) -> None:
    config = config_for(camera.address, tmp_path, output("a", encoder="as-received"))
    with serving(config) as service, clients(ports_of(service)) as (client,):
        connected(service, 1)
        camera.send(1)
        nameless = msgspec.json.encode({"htype": "array-1.0", "shape": [2, 2], "type": "uint8"})
        for wrong in ([nameless, b"1234"], [b"no JSON", b"1234"], [nameless], [b""], [b"[]", b"", b""]):
            camera.sender.send(wrong, PATIENCE)
        camera.send(2)
        assert numbers(client, 3) == [0, 1, 2]
        status = service.wait(lambda now: bool(now.series and now.series.ledger.received == 8), PATIENCE, "the count")
        assert status.series is not None
        assert sum(status.series.ledger.malformed.values()) == 5
        assert status.state == "running"


def test_a_client_that_comes_back_gets_what_comes_then(camera: Camera, tmp_path: Path) -> None:
    config = config_for(camera.address, tmp_path, output("a", encoder="as-received"))
    with serving(config) as service:
        for number in range(3):
            with clients(ports_of(service)) as (client,):
                connected(service, 1)
                camera.send(1)
                assert numbers(client, 1) == [2 * number]
            service.wait(lambda status: not status.outputs[0].clients, PATIENCE, "the end of the connection")
            camera.send(1)
            service.wait(lambda status, n=number: status.outputs[0].seen == 2 * n + 2, PATIENCE, "the frame")
        assert reports(service)["a"].dropped == {"nobody connected": 3}


# The command.


def test_without_a_file_by_flags(camera: Camera, tmp_path: Path) -> None:
    first = free_ports(1)[0]
    arguments = ["--in-address", camera.address, "--out-init-port", str(first), "--send-every-nth", "1", "2", "10"]
    more = ["--n-output-streams", "3", "--buffer-size", "50", "--io-threads", "2", "--mode-metadata", "file"]
    with repeating(tmp_path, *arguments, *more) as running, running.client() as service:
        assert running.old is None
        with clients(list(range(first, first + 3))) as (every, second, tenth):
            connected(service, 3)
            camera.send(21)
            assert numbers(every, 21) == list(range(21))
            assert numbers(second, 11) == list(range(0, 21, 2))
            assert numbers(tenth, 3) == [0, 10, 20]
        assert {one.settings.queue for one in service.outputs()} == {50}
        assert Path(f"/proc/{running.data_plane}/cmdline").exists()
        series = service.wait(lambda status: status.series is not None, PATIENCE, "the series").series
        assert series is not None and series.file is None


def test_a_repeater_writes_too_if_told(camera: Camera, tmp_path: Path) -> None:
    file = tmp_path / "repeater.yaml"
    settings = {
        "type": "gigafrost",
        "source": {"endpoints": [camera.address]},
        "outputs": [output("a", encoder="as-received")],
        "rest": {"port": 0},
        "unarmed": "write",
        "wait": {"quiet_seconds": 0.3},
    }
    file.write_text(yaml.safe_dump({"detectors": {"camera": settings}}))
    with (
        repeating(tmp_path, str(file)) as running,
        running.client() as service,
        clients(ports_of(service)) as (client,),
    ):
        connected(service, 1)
        camera.send(5)
        assert numbers(client, 5) == list(range(5))
        status = service.wait(lambda now: now.last_series is not None, PATIENCE, "the end of the series")
    assert status.last_series is not None
    assert len(read_frames(str(status.last_series.file))) == 5


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "Say where the stream comes from."),
        (["--in-address", "tcp://a:1", "--send-every-nth", "1", "0"], "--send-every-nth has 0"),
        (["--in-address", "tcp://a:1", "--send-every-nth", "-3"], "--send-every-nth has -3"),
        (["--in-address", "tcp://a:1", "--send-every-nth", "1", "--n-output-streams", "2"], "There are 2 outputs"),
        (["--in-address", "tcp://a:1", "--in-zmq-mode", "PUB"], "There is no mode 'PUB'"),
        (["--in-address", "a:1"], "'a:1' is no ZeroMQ address"),
        (["--in-address", "tcp://a:1", "--out-init-port", "65535", "--n-output-streams", "2"], "go beyond 65535"),
        (["x.yaml", "--in-address", "tcp://a:1"], "not both"),
        (["x.yaml", "--config-file", "y.yaml"], "Two configurations"),
        (["missing.yaml"], "missing.yaml can't be read"),
    ],
)
def test_what_is_asked_wrongly(arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repeat", *arguments]) == 2
    assert fault in capsys.readouterr().err


def test_a_taken_port_fails_the_start(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as foreign:
        foreign.linger = 0
        port = foreign.bind_to_random_port("tcp://0.0.0.0")
        command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "repeat"]
        arguments = ["--in-address", "tcp://127.0.0.1:1", "--out-init-port", str(port)]
        environ = os.environ | {"STREAMDET_FILES__DIRECTORY": str(tmp_path)}
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False, env=environ
        )
    assert done.returncode == 1
    assert re.search(rf"Output 'stream-0': The address tcp://\*:{port} is in use", done.stderr)
