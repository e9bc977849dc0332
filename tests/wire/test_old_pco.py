"""The PCO's old supervisor and writer, in front of a real service, for a client that speaks as theirs did."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import h5py
import numpy as np
import pytest
import zmq

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.recordfile import read_recording
from tests.conftest import Recordings
from tests.unit.streaming.frames import pictures
from tests.wire.old_pco import FIRST, Camera, OldClient, Station, config_of, station
from tests.wire.repeating import free_ports
from tests.wire.streams import Client, until

pytestmark = pytest.mark.wire

CTIME = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\n")
STATISTICS = {
    **dict.fromkeys(("n_frames", "n_received_frames", "n_written_frames", "n_lost_frames", "first_frame_id"), int),
    **dict.fromkeys(("start_time", "end_time", "status", "success"), str),
    **dict.fromkeys(("receiving_rate", "writing_rate"), float),
    "user_id": int,
}
SUMMARY = {
    *("n_frames", "first_frame_id", "n_written_frames", "n_lost_frames", "end_time", "start_time", "output_file"),
    *("dataset_name", "duration_sec", "user_id", "writing_rate", "status"),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with station(tmp_path_factory.mktemp("pco")) as made:
        yield made


@pytest.fixture
def pco(served: Station) -> Iterator[Station]:
    """A camera and its service, without a series."""
    yield served
    if served.client.status in {"receiving", "writing"}:
        served.client.ask("/kill")
        served.client.wait_for_no_writer()


def frames_of(file: Path, dataset: str = "data") -> Any:
    with h5py.File(file) as content:
        return content[f"/exchange/{dataset}"][()], content[f"/measurement/acquisition/{dataset}/frame"][()].ravel()


def holds(file: Path, numbers: range, dataset: str = "data") -> bool:
    frames, found = frames_of(file, dataset)
    return list(found) == list(numbers) and np.array_equal(frames, pictures(numbers))


def test_a_series_from_its_start_to_its_summary(pco: Station) -> None:
    client = pco.client
    assert client.get("/ack") == {"success": True}
    assert not client.writer_lives
    client.started("whole.h5")
    assert client.status == "receiving"
    assert client.get("/finished") == {"success": False, "status": "unknown"}
    assert client.ask("/status") == {"status": "receiving", "success": "True", "value": "Ok"}
    before = client.ask("/statistics")
    assert (before["n_received_frames"], before["first_frame_id"]) == (0, -1)

    pco.camera.expose(4)
    client.wait_written(4)
    said = client.ask("/statistics")
    assert {key: type(value) for key, value in said.items()} == STATISTICS
    assert {key: said[key] for key in ("n_frames", "n_received_frames", "n_lost_frames", "user_id", "success")} == {
        "n_frames": 10,
        "n_received_frames": 4,
        "n_lost_frames": 0,
        "user_id": 503,
        "success": "True",
    }
    assert said["first_frame_id"] == FIRST
    assert CTIME.fullmatch(said["start_time"])
    assert "1970" in said["end_time"]

    pco.camera.send(range(FIRST + 4, FIRST + 10))
    summary = client.wait()
    assert summary.pop("success") is True
    assert set(summary) == SUMMARY
    assert all(isinstance(value, str) for value in summary.values())
    assert (summary["status"], summary["n_written_frames"], summary["n_lost_frames"]) == ("finished", "10", "0")
    assert (summary["dataset_name"], summary["output_file"]) == ("data", str(client.folder / "whole.h5"))
    assert CTIME.fullmatch(summary["end_time"])
    assert re.fullmatch(r"\d+\.\d\d", summary["duration_sec"])
    client.wait_for_no_writer()
    assert holds(client.folder / "whole.h5", range(FIRST, FIRST + 10))


def test_three_series_into_one_file_and_no_fourth_of_a_name_that_is_taken(pco: Station) -> None:
    client = pco.client
    for name in ("data", "data_white", "data_black"):
        client.started("three.h5", dataset_name=name)
        pco.camera.expose(10)
        assert client.wait()["dataset_name"] == name
    taken = "Dataset name is taken. Please, reconfigure using a unique dataset name."
    answer = client.start("three.h5", dataset_name="data_white")
    assert (answer["success"], answer["status"], answer["error"]) == (False, "error", taken)
    said = client.get("/error")
    assert CTIME.fullmatch(said.pop("error_time"))
    assert said == {"success": True, "status": "error", "error": taken}
    # The series before is not taken for the one that was not started.
    assert client.status == "error"
    assert client.get("/finished") == {"success": False, "status": "error"}
    assert not client.writer_lives
    for name in ("data", "data_white", "data_black"):
        assert holds(client.folder / "three.h5", range(FIRST, FIRST + 10), name)

    client.started("four.h5", n_frames="1")
    assert client.http.get("/error").status_code == 404
    pco.camera.expose(1)
    client.wait()


def test_the_recording_of_a_camera_three_times_into_one_file(pco: Station, test_data: Recordings) -> None:
    client = pco.client
    recorded = [message.parts for message in read_recording(test_data / "pco/pco-50frames")]
    sent = np.stack([np.frombuffer(parts[1], "<u2").reshape(64, 250) for parts in recorded])
    for name in ("data", "data_white", "data_black"):
        client.started("recorded/tomography.h5", dataset_name=name, n_frames="50")
        for parts in recorded:
            pco.camera.sender.send(parts, 20.0)
        assert client.wait()["first_frame_id"] == "375"
    for name in ("data", "data_white", "data_black"):
        frames, numbers = frames_of(client.folder / "recorded/tomography.h5", name)
        np.testing.assert_array_equal(frames, sent)
        np.testing.assert_array_equal(numbers, np.arange(375, 425))


def test_a_series_without_a_number_goes_on_until_it_is_stopped(pco: Station) -> None:
    client = pco.client
    client.started("open.h5", n_frames="0")
    pco.camera.expose(25)
    client.wait_written(25)
    answer = client.ask("/stop")
    assert (answer["success"], answer["value"]) == ("True", "Ok")
    summary = client.wait()
    assert (summary["n_frames"], summary["n_written_frames"]) == ("0", "25")
    assert holds(client.folder / "open.h5", range(FIRST, FIRST + 25))


def test_a_stop_ends_a_series_though_the_camera_goes_on(pco: Station) -> None:
    client = pco.client
    sent = 0
    client.started("goes_on.h5", n_frames="0")
    stopping = Thread(target=client.ask, args=("/stop",))

    def expose() -> None:
        """One frame, if anybody has room for it, and no rest that a stop could wait for."""
        nonlocal sent
        sent += pco.camera.offer(sent, 0.005)

    until(lambda: sent > 20, expose, "frames")
    stopping.start()
    until(lambda: not stopping.is_alive(), expose, "the answer to the stop")
    stopping.join()
    until(lambda: client.status == "finished", expose, "the end")
    summary = client.get("/finished")
    # What was on its way was taken; how long a busy machine needs for the rest says nothing.
    assert float(summary["duration_sec"]) > 0.4
    assert holds(client.folder / "goes_on.h5", range(int(summary["n_written_frames"])))
    until(lambda: not pco.camera.sender.has_peer(0.01), lambda: None, "the end of the connection")
    with zmq.Context() as context:
        rest = Client(context, pco.camera.address)
        try:
            until(lambda: rest.take() is None, lambda: None, "the end of what nobody took")
        finally:
            rest.close()


def test_a_series_that_is_killed_keeps_what_came(pco: Station) -> None:
    client = pco.client
    client.started("killed.h5", n_frames="1000")
    pco.camera.expose(7)
    client.wait_written(7)
    assert client.ask("/kill") == {"status": "killed", "success": "True", "value": "Ok"}
    assert client.wait()["n_written_frames"] == "7"
    client.wait_for_no_writer()
    assert holds(client.folder / "killed.h5", range(FIRST, FIRST + 7))


def test_a_series_of_which_nothing_came_ends_too(pco: Station) -> None:
    pco.client.started("none.h5")
    pco.client.ask("/stop")
    summary = pco.client.wait()
    assert (summary["n_written_frames"], summary["n_lost_frames"], summary["first_frame_id"]) == ("0", "0", "-1")


def test_lost_frames_are_counted(pco: Station) -> None:
    client = pco.client
    client.started("lost.h5", n_frames="20")
    pco.camera.send([*range(FIRST, FIRST + 5), *range(FIRST + 8, FIRST + 10)])
    client.wait_written(5)
    client.ask("/stop")
    summary = client.wait()
    assert (summary["n_written_frames"], summary["n_lost_frames"]) == ("7", "3")


def test_a_frame_that_the_file_can_not_take_is_an_error(pco: Station) -> None:
    client = pco.client
    client.started("shape.h5", n_frames="5")
    pco.camera.expose(4)
    pco.camera.send([FIRST + 4], shape=(6, 6))
    summary = client.wait("error")
    assert (summary["n_written_frames"], summary["status"]) == ("4", "error")
    until(lambda: client.http.get("/error").status_code == 200, lambda: None, "the error")
    assert "of another shape" in client.get("/error")["error"]


def test_between_series_frames_wait_at_the_camera_or_go_to_whom_they_like(pco: Station) -> None:
    client = pco.client
    client.started("before.h5", n_frames="2")
    pco.camera.expose(2)
    client.wait()
    client.wait_for_no_writer()
    until(lambda: not pco.camera.sender.has_peer(0.01), lambda: None, "the end of the connection")
    with zmq.Context() as context:
        flushing = Client(context, pco.camera.address)
        try:
            pco.camera.expose(5)
            assert [flushing.next()[0]["frame"] for _ in range(5)] == list(range(FIRST, FIRST + 5))
        finally:
            flushing.close()
    client.started("after.h5", n_frames="3")
    pco.camera.send(range(3))
    client.wait()
    assert holds(client.folder / "after.h5", range(3))


def test_a_series_in_several_files(pco: Station) -> None:
    client = pco.client
    client.started("roll_%03d.h5", max_frames_per_file="4")
    pco.camera.expose(10)
    assert client.wait()["output_file"].endswith("roll_%03d.h5")
    sizes = [len(frames_of(client.folder / f"roll_{part:03d}.h5")[0]) for part in (1, 2, 3)]
    assert sizes == [4, 4, 2]
    assert len(frames_of(client.folder / "roll.h5")[0]) == 10
    # Names of several files that are taken are refused before a frame comes.
    assert "exists" in client.start("roll_%03d.h5", max_frames_per_file="4", dataset_name="data_white")["error"]


def test_another_dataset_in_the_only_file_of_several_that_there_could_be(pco: Station) -> None:
    client = pco.client
    for name in ("data", "data_white"):
        client.started("one_%03d.h5", max_frames_per_file="10", dataset_name=name)
        pco.camera.expose(10)
        client.wait()
        assert holds(client.folder / "one_001.h5", range(FIRST, FIRST + 10), name)


def test_parameters_go_into_the_file(pco: Station) -> None:
    client = pco.client
    client.started("parameters.h5", n_frames="1")
    assert client.ask("/parameters") is None
    answer = client.http.post(client.writer + "/parameters", json={"sample": "bone", "theta": 1.5})
    assert (answer.status_code, answer.json()) == (200, {"message": "Parameters set."})
    assert client.ask("/parameters") == {"sample": "bone", "theta": 1.5}
    refused = client.http.post(client.writer + "/parameters", content=b"{")
    assert (refused.status_code, refused.json()["success"]) == (422, False)
    pco.camera.expose(1)
    client.wait()
    names: list[str] = []
    with h5py.File(client.folder / "parameters.h5") as content:
        content.visit(names.append)
    assert {"sample", "theta"} <= {name.rpartition("/")[2] for name in names}


def test_frames_that_nobody_wants_are_received_all_the_same(pco: Station) -> None:
    pco.client.started(output_file="/dev/null")
    pco.camera.expose(10)
    summary = pco.client.wait()
    assert (summary["n_written_frames"], summary["n_lost_frames"]) == ("0", "0")


def test_a_series_that_others_have_armed(pco: Station) -> None:
    with ServiceClient(pco.service.url, pco.service.api_key) as ours:
        series = ours.arm(ArmRequest(name="ours", expected_frames=3))
        until(lambda: pco.client.writer_lives, lambda: None, "the writer")
        assert pco.client.status == "receiving"
        assert pco.client.start("late.h5")["error"].startswith("The writer is running already")
        pco.camera.expose(3)
        summary = pco.client.wait()
        assert (summary["output_file"], summary["dataset_name"]) == (ours.series(series.id).file, "data")
    assert pco.client.get("/error")["status"] == "error"


def test_a_data_plane_that_dies_is_an_error_and_the_next_series_runs(pco: Station) -> None:
    client = pco.client
    client.started("dies.h5", n_frames="100")
    pco.camera.expose(5)
    client.wait_written(5)
    children = Path(f"/proc/{pco.service.pid}/task/{pco.service.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    summary = client.wait("error")
    assert (summary["status"], summary["n_written_frames"]) == ("error", "5")
    until(lambda: client.http.get("/error").status_code == 200, lambda: None, "the error")
    assert "killed by signal 9" in client.get("/error")["error"]

    until(lambda: client.start("next.h5", n_frames="2") == {"success": True}, lambda: None, "the next series")
    pco.camera.expose(2)
    client.wait()
    assert holds(client.folder / "next.h5", range(FIRST, FIRST + 2))


def test_two_cameras_at_once(pco: Station, tmp_path: Path) -> None:
    with station(tmp_path, "pco2") as other:
        both = (pco, other)
        for one in both:
            one.client.started("both.h5", n_frames="5")
        pco.camera.expose(5)
        other.camera.send(range(5))
        for one, numbers in zip(both, (range(FIRST, FIRST + 5), range(5)), strict=True):
            assert one.client.wait()["n_written_frames"] == "5"
            assert holds(one.client.folder / "both.h5", numbers)


def test_a_writer_alone_tells_of_series_that_others_arm(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with closing(Camera()) as camera, closing(OldClient(tmp_path, camera.address, port, port)) as old:
        config = config_of("pco", camera.address, tmp_path, {"dialect": "pco-writer", "port": port})
        with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as ours:
            assert old.ask("/status")["status"] == "unknown"
            assert old.ask("/stop")["status"] == "unknown"
            assert old.http.post("/parameters", json={"sample": "bone"}).status_code == 404
            ours.arm(ArmRequest(name="alone", open_ended=True))
            camera.expose(4)
            old.wait_written(4)
            assert old.ask("/status")["status"] == "receiving"
            assert old.ask("/statistics")["user_id"] == -1
            old.ask("/stop")
            until(lambda: old.ask("/status")["status"] == "finished", lambda: None, "the end")
            assert old.ask("/statistics")["n_written_frames"] == 4
            assert holds(tmp_path / "alone.h5", range(FIRST, FIRST + 4))
