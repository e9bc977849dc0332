"""The old stream repeater's REST interface, by a scripted client, in front of a real service."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.wire.repeating import (
    Camera,
    Running,
    clients,
    connected,
    free_ports,
    numbers,
    old_file,
    old_stream,
    repeating,
)
from tests.wire.streams import until

pytestmark = pytest.mark.wire

RUN = {"output_file": "/data/one.h5", "run_id": 3, "n_images": 2, "detector_name": "GF2"}
KEYS = {
    *("in_address", "in_zmq_mode", "io_threads", "buffer_size", "n_output_streams", "send_output_mode"),
    *("send_output_param", "stream_ports", "zmq_modes", "stream_names", "config_file", "frame_block", "writer_config"),
    *("config_changed", "mode_metadata"),
}


class Old(Running):
    """A repeater, its camera, and the ports of its two outputs."""

    camera: Camera
    ports: list[int]
    folder: Path


@contextmanager
def serving(folder: Path, streams: dict[str, Any] | None = None) -> Iterator[Old]:
    camera, ports = Camera(), free_ports(2)
    streams = streams or {"live": old_stream(ports[0]), "slow": old_stream(ports[1], "send_every_nth", 5)}
    path = old_file(folder / "repstream.json", camera.address, streams)
    try:
        with repeating(folder, str(path), STREAMDET_COMPAT__PORT="0", STREAMDET_COMPAT__HOST="127.0.0.1") as running:
            running.__class__ = Old
            assert isinstance(running, Old)
            running.camera, running.ports, running.folder = camera, ports, folder
            yield running
    finally:
        camera.sender.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    with serving(tmp_path_factory.mktemp("repeater")) as old:
        yield old


@pytest.fixture
def old(served: Old) -> Old:
    """The repeater, stopped and as its file says."""
    if served.state == "RUNNING":
        served.ask("/stop", {})
    streams = {"live": old_stream(served.ports[0]), "slow": old_stream(served.ports[1], "send_every_nth", 5)}
    old_file(served.folder / "repstream.json", served.camera.address, streams)
    served.ask("/set_config_from_dict", {"frame_block": 15})
    assert served.ask("/set_config_from_file", {"config_file": "repstream.json"})["response"] == "success"
    served.ask("/start", {})
    served.ask("/stop", {})
    return served


def config(old: Old) -> dict[str, Any]:
    return old.ask("/get_status")["config"]


def test_a_client_goes_through_all_states(tmp_path: Path) -> None:
    with serving(tmp_path) as old, clients(old.ports) as (live, slow):
        assert old.ask("/alive") == {"response": "success"}
        assert old.ask("/get_state") == {"response": "success", "state": ["STOPPED", 3]}
        assert old.ask("/start", {}) == {
            "response": "error",
            "error": "Streamer in state STOPPED can not be started.",
            "state": ["STOPPED", 3],
        }
        assert old.ask("/stop", {})["error"] == "Streamer is not running."

        answer = old.ask("/initialize", {})
        assert (answer["response"], answer["state"]) == ("success", ["INITIALIZED", 0])
        assert set(answer["config"]) == KEYS
        assert answer["config"] | {"in_address": ""} == {
            "in_address": "",
            "in_zmq_mode": "PULL",
            "io_threads": 1,
            "buffer_size": 5000,
            "n_output_streams": 2,
            "send_output_mode": ["send_every_nth", "send_every_nth"],
            "send_output_param": [1, 5],
            "stream_ports": old.ports,
            "zmq_modes": [8, 8],
            "stream_names": ["live", "slow"],
            "config_file": None,
            "frame_block": 15,
            "mode_metadata": "file",
            "writer_config": None,
            "config_changed": False,
        }
        assert old.ask("/start", {}) == {"response": "success", "state": ["RUNNING", 1]}
        for path, what in (("/initialize", "initialized"), ("/set_config_from_dict", "configured")):
            assert old.ask(path, {})["error"] == f"Streamer in state RUNNING can not be {what}."
        assert old.ask("/set_config_from_file", {"config_file": "x"})["state"] == ["RUNNING", 1]
        assert old.ask("/set_writer_config", RUN)["response"] == "error"
        assert old.ask("/start", {})["error"] == "Streamer in state RUNNING can not be started."
        old.camera.send(11)
        assert numbers(live, 11) == list(range(11))
        assert numbers(slow, 3) == [0, 5, 10]
        assert old.ask("/stop", {}) == {"response": "success", "state": ["STOPPED", 3]}
        assert old.ask("/start", {})["response"] == "error"


def test_a_hundred_stops_and_starts_lose_no_frame(old: Old) -> None:
    first = old.camera.number
    with clients(old.ports[:1]) as (live,):
        for _ in range(100):
            assert old.ask("/initialize", {})["state"] == ["INITIALIZED", 0]
            assert old.ask("/start", {})["state"] == ["RUNNING", 1]
            old.camera.send(3)
            assert old.ask("/stop", {})["state"] == ["STOPPED", 3]
            old.camera.send(1)
        old.ask("/initialize", {})
        old.ask("/start", {})
        assert numbers(live, 400) == list(range(first, first + 400))
    tasks = Path(f"/proc/{old.data_plane}/task")
    assert len(list(tasks.iterdir())) < 12


def test_settings_by_a_dict(old: Old) -> None:
    ports = free_ports(3)
    asked = {
        "n_output_streams": 3,
        "send_output_mode": ["strides", "send_every_nth_frame", "send_every_sec"],
        "send_output_param": [2, 3, 0.5],
        "stream_ports": ports,
        "stream_names": ["a", "b", "c"],
        "zmq_modes": ["PUSH", 8, 1],
        "frame_block": 10,
        "buffer_size": 1000,
        "in_zmq_mode": "PULL",
        "mode_metadata": "file",
    }
    assert old.ask("/set_config_from_dict", asked) == {"response": "success", "state": ["INITIALIZED", 0]}
    assert config(old) | asked | {"zmq_modes": [8, 8, 1]} == config(old)
    assert config(old)["config_changed"]
    assert old.ask("/start", {})["response"] == "success"
    with old.client() as client:
        settings = {one.name: one.settings for one in client.outputs()}
    assert [one.send.model_dump(exclude_none=True) for one in settings.values() if one.send] == [
        {"strides": 2},
        {"frames": 3, "of": 10},
        {"every_seconds": 0.5},
    ]
    assert {(one.kind, one.overflow, one.queue, one.encoder) for one in settings.values()} == {
        ("push", "drop-oldest", 1000, "as-received"),
        ("pub", "drop-oldest", 1000, "as-received"),
    }


def test_one_setting_leaves_the_others_alone(old: Old) -> None:
    before = config(old)
    assert old.ask("/set_config_from_dict", {"send_output_param": [1, 7]})["response"] == "success"
    assert config(old) == before | {"send_output_param": [1, 7], "config_changed": True}


def test_another_source_by_a_dict(old: Old) -> None:
    other = Camera()
    try:
        assert old.ask("/set_config_from_dict", {"in_address": other.address})["response"] == "success"
        with clients(old.ports[:1]) as (live,):
            assert old.ask("/start", {})["response"] == "success"
            other.send(5)
            assert numbers(live, 5) == list(range(5))
            old.ask("/stop", {})
        old.ask("/set_config_from_dict", {"in_address": old.camera.address})
        old.ask("/start", {})
        until(lambda: old.camera.sender.has_peer(0.01), lambda: None)
    finally:
        other.sender.close()


@pytest.mark.parametrize(
    ("asked", "faults"),
    [
        ({"send_output_mode": ["n_every_nth", "strides"]}, ["output 0: mode 'n_every_nth' is unknown"]),
        ({"send_output_param": [0, -3]}, ["output 0: the parameter", "is 0", "output 1: the parameter", "is -3"]),
        ({"send_output_param": [1]}, ["there are 2 outputs, but send_output_param has 1"]),
        ({"n_output_streams": 3}, ["there are 3 outputs, but stream_ports has 2, send_output_mode has 2"]),
        ({"stream_ports": [9610, 9610]}, ["both bound at port 9610"]),
        ({"stream_names": ["a", "a"]}, ["2 outputs are called 'a'"]),
        ({"stream_ports": [0, 70000]}, ["port 0 is none", "port 70000 is none"]),
        ({"zmq_modes": ["PULL", 3]}, ["zmq mode 'PULL'", "zmq mode 3"]),
        ({"in_zmq_mode": "PUB"}, ["in_zmq_mode is 'PUB'; allowed: PULL, SUB"]),
        ({"in_address": "camera"}, ["in_address is 'camera'; write it as tcp://HOST:PORT"]),
        ({"in_address": "tcp://camera:0"}, ["in_address is 'tcp://camera:0'"]),
        ({"buffer_size": "many", "frame_block": 0, "colour": 1}, ["buffer_size", "frame_block is 0", "'colour'"]),
        ({"send_output_mode": "strides"}, ["send_output_mode is 'strides'; it is a list"]),
        ({"send_output_mode": ["send_every_nth_frame"] * 2, "send_output_param": [16, 1]}, ["16 frames of each 15"]),
        ({"send_output_param": [False, None]}, ["is False", "is None"]),
        ({"config_file": "../../etc/passwd"}, ["not in the folder"]),
    ],
)
def test_a_bad_configuration_is_refused_whole(old: Old, asked: dict[str, Any], faults: list[str]) -> None:
    before, state = config(old), old.state
    answer = old.ask("/set_config_from_dict", {"buffer_size": 17, **asked})
    assert answer["response"] == "error"
    assert all(fault in answer["error"] for fault in faults), answer
    assert (config(old), old.state) == (before, state)


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_none(old: Old, body: bytes) -> None:
    assert old.old is not None
    response = old.old.post("/set_config_from_dict", content=body)
    assert (response.status_code, response.json()["response"]) == (200, "error")


def test_what_is_not_there_is_said_so(old: Old) -> None:
    assert old.old is not None
    assert old.old.get("/nothing").status_code == 404
    assert old.old.get("/start").status_code == 405


@pytest.mark.parametrize("name", ["../repstream.json", "/etc/passwd", "missing.json", "other.json", "list.json", 5])
def test_files_outside_of_the_folder_and_files_that_are_none(old: Old, name: Any) -> None:
    (old.folder / "other.json").write_text('{"secret": 1}')
    (old.folder / "list.json").write_text("[1]")
    before = config(old)
    answer = old.ask("/set_config_from_file", {"config_file": name})
    assert (answer["response"], answer["state"]) == ("error", ["STOPPED", 3])
    assert "secret" not in answer["error"]
    assert config(old) == before


def test_a_file_is_read_anew(old: Old) -> None:
    port = free_ports(1)[0]
    old_file(old.folder / "next.json", old.camera.address, {"one": old_stream(port, "strides", 4, "PUB")})
    assert old.ask("/set_config_from_file", {"config_file": "next.json"}) == {
        "response": "success",
        "state": ["INITIALIZED", 0],
    }
    assert (config(old)["stream_ports"], config(old)["config_file"]) == ([port], "next.json")
    old_file(old.folder / "next.json", old.camera.address, {"one": old_stream(port, "strides", 5, "PUB")})
    assert old.ask("/initialize", {})["config"]["send_output_param"] == [5]
    old_file(old.folder / "next.json", old.camera.address, {"one": old_stream(0, "flights", 0)})
    answer = old.ask("/initialize", {})
    assert (answer["response"], answer["state"]) == ("error", ["INITIALIZED", 0])
    assert all(fault in answer["error"] for fault in ("next.json, line 1", "port 0", "mode 'flights'"))
    assert config(old)["send_output_param"] == [5]


def test_a_taken_port_fails_the_start_and_is_named(old: Old) -> None:
    with socket.socket() as foreign:
        foreign.bind(("0.0.0.0", 0))
        foreign.listen()
        port = foreign.getsockname()[1]
        assert old.ask("/set_config_from_dict", {"stream_ports": [old.ports[0], port]})["response"] == "success"
        answer = old.ask("/start", {})
        assert (answer["response"], answer["state"]) == ("error", ["INITIALIZED", 0])
        assert str(port) in answer["error"] and "'slow'" in answer["error"]
    assert old.ask("/start", {}) == {"response": "success", "state": ["RUNNING", 1]}


@pytest.mark.parametrize("path", ["/set_writer_config", "/set_writer_config_rest"])
def test_a_writer_has_to_be_told_of_each_run(old: Old, path: str) -> None:
    answer = old.ask(path, RUN)
    assert answer["error"] == "Streamer has no std-det-writer stream to be configured."
    asked = {"stream_names": ["live", "std-det-writer"], "send_output_param": [1, 1]}
    assert old.ask("/set_config_from_dict", asked) == {"response": "success", "state": ["STOPPED", 3]}
    assert old.ask("/initialize", {})["state"] == ["STOPPED", 3]
    assert old.ask("/start", {})["error"] == "Streamer in state STOPPED can not be started."

    answer = old.ask(path, {"output_file": "", "n_images": 0, "run_id": "x", "more": 1})
    assert answer["state"] == ["STOPPED", 3]
    assert all(name in answer["error"] for name in ("output_file", "n_images", "run_id", "detector_name", "more"))

    for run in (RUN, RUN):
        assert old.ask(path, run) == {"response": "success", "state": ["INITIALIZED", 0]}
        assert config(old)["writer_config"] == run | {"user_id": 0}
        with clients(old.ports[1:]) as (writer,), old.client() as service:
            assert old.ask("/start", {})["state"] == ["RUNNING", 1]
            connected(service, 1)
            first = old.camera.number
            old.camera.send(1)
            header, _ = writer.next()
            assert (header["i_image"], header["original_frame"]) == (0, first)
            assert header | run | {"user_id": 0, "status": 0} == header
            assert old.ask("/stop", {})["state"] == ["STOPPED", 3]
            # The writer closes its file, though the run was cut short.
            assert writer.next()[0]["i_image"] == run["n_images"]
        assert old.ask("/initialize", {})["state"] == ["STOPPED", 3]


def test_a_dead_data_plane_shows(old: Old) -> None:
    asked = {"stream_names": ["live", "std-det-writer"], "send_output_param": [1, 1]}
    old.ask("/set_config_from_dict", asked)
    old.ask("/set_writer_config", RUN)
    old.ask("/start", {})
    os.kill(old.data_plane, signal.SIGKILL)
    # It is started again by itself, but the run of the writer can't go on.
    until(lambda: old.state == "ERROR", lambda: None)
    with old.client() as client:
        client.wait(lambda status: status.state != "error" and bool(status.outputs), 20, "another data plane")
    assert old.state == "ERROR"
    assert old.ask("/start", {})["error"] == "Streamer in state ERROR can not be started."
    assert old.ask("/stop", {})["response"] == "error"
    assert old.ask("/set_writer_config", RUN)["state"] == ["INITIALIZED", 0]
    assert old.ask("/start", {})["state"] == ["RUNNING", 1]


def test_without_a_writer_it_runs_again_by_itself(old: Old) -> None:
    old.ask("/initialize", {})
    old.ask("/start", {})
    os.kill(old.data_plane, signal.SIGKILL)
    until(lambda: old.state == "ERROR", lambda: None)
    until(lambda: old.state == "RUNNING", lambda: None)
    first = old.camera.number
    with clients(old.ports[:1]) as (live,):
        old.camera.send(3)
        assert numbers(live, 3)[-1] == first + 2


def test_it_begins_at_once_if_told(tmp_path: Path) -> None:
    camera, port = Camera(), free_ports(1)[0]
    path = old_file(tmp_path / "old.json", camera.address, {"only": old_stream(port)})
    try:
        with (
            repeating(tmp_path, str(path), "--start", STREAMDET_COMPAT__PORT="0") as running,
            clients([port]) as (client,),
            running.client() as service,
        ):
            assert running.state == "RUNNING"
            connected(service, 1)
            camera.send(2)
            assert numbers(client, 2) == [0, 1]
    finally:
        camera.sender.close()
