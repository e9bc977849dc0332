"""What the PCO's old supervisor let anybody do, asked of the one that takes its place."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.service.client import ServiceClient
from tests.wire.old_pco import Camera, Station, station
from tests.wire.streams import until

pytestmark = pytest.mark.wire

MINE, OTHER = os.getuid() or 65534, 54321


@pytest.fixture(scope="module")
def second_camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, second_camera: Camera) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("hostile")
    with station(folder, sources=[second_camera.address], users=[MINE]) as made:
        made.client.usual["user_id"] = "-1"
        yield made


@pytest.fixture
def pco(served: Station) -> Iterator[Station]:
    """A service without a series, that no test leaves one in."""
    yield served
    with ServiceClient(served.service.url, served.service.api_key) as ours:
        if (series := ours.status().series) is not None:
            ours.abort(series.id)
            served.client.wait_for_no_writer()


def files_of(pco: Station) -> set[str]:
    """All that there is, in the data directory and beside it."""
    top = pco.client.folder.parent
    return {str(path.relative_to(top)) for path in top.rglob("*") if "streamdet" not in str(path.relative_to(top))}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"output_file": "/tmp/x.h5; touch /tmp/owned"}, "output_file is '/tmp/x.h5; touch /tmp/owned'"),
    ({"output_file": "$(reboot).h5"}, "output_file"),
    ({"output_file": "{id}.h5"}, "output_file"),
    ({"output_file": "nul\0.h5"}, "output_file"),
    ({"output_file": "line\n.h5"}, "output_file"),
    ({"output_file": ""}, "output_file"),
    ({"output_file": "folder/"}, "output_file"),
    ({"output_file": "x" * 5000}, "output_file"),
    ({"output_file": "/etc/passwd.h5"}, "outside of the data directory"),
    ({"output_file": "../../x.h5"}, "outside of the data directory"),
    ({"output_file": "/x.h5"}, "outside of the data directory"),
    ({"output_file": "%n.h5"}, "%"),
    ({"output_file": "%s%s%s.h5"}, "%"),
    ({"output_file": "%0999999999d.h5"}, "%"),
    ({"output_file": "%d_%d.h5"}, "ind"),
    ({"output_file": "%03d/x.h5"}, "name of a folder"),
    ({"n_frames": "-1"}, "n_frames is '-1'"),
    ({"n_frames": "ten"}, "n_frames is 'ten'"),
    ({"n_frames": None, "dataset_name": None}, "n_frames is missing"),
    ({"n_frames": "9" * 400}, "n_frames"),
    ({"max_frames_per_file": "4"}, "Put %03d into output_file"),
    ({"dataset_name": "../data"}, "dataset_name is '../data'"),
    ({"dataset_name": ""}, "dataset_name"),
    ({"dataset_name": {"a": 1}}, "dataset_name"),
    ({"user_id": "0"}, "user_id is 0"),
    ({"user_id": "-2"}, "user_id is '-2'"),
    ({"user_id": str(OTHER)}, "compat.users"),
    ({"connection_address": "tcp://10.0.0.1:22"}, "compat.sources"),
    ({"connection_address": "ipc:///tmp/camera"}, "compat.sources"),
    ({"writer_rest_port": "22"}, "writer_rest_port is 22"),
    ({"writer_rest_port": "80@elsewhere"}, "writer_rest_port"),
]


@pytest.mark.parametrize(("changes", "complaint"), REFUSED)
def test_a_request_that_is_refused_leaves_nothing(pco: Station, changes: dict[str, Any], complaint: str) -> None:
    before = files_of(pco)
    answer = pco.client.start("refused.h5", **changes) if "output_file" not in changes else pco.client.start(**changes)
    assert answer["success"] is False
    assert complaint in answer["error"], answer
    assert pco.client.get("/error")["error"] == answer["error"]
    assert not pco.client.writer_lives
    assert files_of(pco) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"null", b"[" * 100_000, b'{"n_frames": NaN}'])
def test_a_body_that_is_none(pco: Station, body: bytes) -> None:
    response = pco.client.http.post("/start_pco_writer", content=body)
    assert (response.status_code, response.json()["success"]) == (422, False)


def test_a_body_that_is_too_large(pco: Station) -> None:
    assert pco.client.http.post("/start_pco_writer", content=b" " * (2 << 20)).status_code == 413


def test_who_never_sends_the_rest_holds_up_nobody(pco: Station) -> None:
    port = pco.client.http.base_url.port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as lazy:
        lazy.sendall(b"POST /start_pco_writer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{")
        pco.client.started("quick.h5", n_frames="1")
        pco.camera.expose(1)
        assert pco.client.wait()["n_written_frames"] == "1"
        pco.client.wait_for_no_writer()


@pytest.mark.parametrize("path", ["/finished", "/error"])
def test_nobody_tells_how_a_series_ended(pco: Station, path: str) -> None:
    before = pco.client.http.get(path).json()
    forged = {"status": "finished", "n_written_frames": "1000", "error": "The detector is on fire."}
    assert pco.client.http.post(path, json=forged).status_code == 405
    assert pco.client.http.get(path).json() == before


@pytest.mark.parametrize("port", ["22", "80@127.0.0.1", "9555/../../etc", "%00", "-1", "x" * 1000])
def test_the_status_of_no_other_port_is_asked_for(pco: Station, port: str) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        for one in (port, str(listener.getsockname()[1])):
            response = pco.client.http.get(f"/status/{one}")
            assert response.status_code == 404 or response.json() == {"success": True, "status": "unknown"}
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "name", ["--help", "sshd", "-H root@elsewhere", "pco_writer-pco1; reboot", "../pco_writer-pco1"]
)
def test_no_other_log_is_read(pco: Station, name: str) -> None:
    for path in ("server_log", "server_uptime"):
        assert pco.client.http.get(f"/{path}/{name}").status_code == 404


def test_the_log_and_the_uptime_are_its_own(pco: Station) -> None:
    pco.client.start(user_id="0")
    said = pco.client.get("/server_log/pco_writer-pco1")
    assert said["success"] is True
    assert "user_id is 0" in said["log"].splitlines()[-1]
    assert len(said["log"].splitlines()) <= 10
    assert pco.client.get("/server_uptime/pco_writer-pco2")["uptime"].startswith("active (running) since ")


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_pages_of_other_sites_stop_nothing(pco: Station, headers: dict[str, str]) -> None:
    client = pco.client
    client.started("page.h5")
    for path in ("/stop", "/kill"):
        assert client.http.get(client.writer + path, headers=headers).status_code == 403
    assert client.http.post("/start_pco_writer", json={}, headers=headers).status_code == 403
    assert client.status == "receiving"


def test_a_second_series_while_one_runs(pco: Station) -> None:
    pco.client.started("first.h5")
    response = pco.client.http.post("/start_pco_writer", json=pco.client.wanted("second.h5"))
    assert response.status_code == 409
    assert "running already" in response.json()["error"]
    assert pco.client.status == "receiving"
    assert pco.client.ask("/status")["status"] == "receiving"


def test_a_writers_port_that_is_taken(pco: Station) -> None:
    port = int(pco.client.writer.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        answer = pco.client.start("taken.h5")
        assert f"port {port} on 127.0.0.1 is in use" in answer["error"]
        assert "compat.writer_port" in answer["error"]
    pco.client.started("taken.h5")


def test_a_file_of_somebody_else_is_not_added_to(pco: Station) -> None:
    file = pco.client.folder / "foreign.h5"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"not HDF5")
    assert pco.client.start("foreign.h5")["success"] is False
    assert file.read_bytes() == b"not HDF5"


def test_numbers_that_are_no_texts(pco: Station) -> None:
    pco.client.started("numbers.h5", n_frames=3, writer_rest_port=int(pco.client.usual["writer_rest_port"]))
    pco.camera.expose(3)
    assert pco.client.wait()["n_written_frames"] == "3"


def test_another_address_of_the_camera(pco: Station, second_camera: Camera) -> None:
    pco.client.started("other.h5", n_frames="2", connection_address=second_camera.address)
    second_camera.expose(2)
    assert pco.client.wait()["n_written_frames"] == "2"
    pco.client.wait_for_no_writer()
    pco.client.started("back.h5", n_frames="2", connection_address=pco.camera.address)
    pco.camera.expose(2)
    assert pco.client.wait()["n_written_frames"] == "2"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a file away")
def test_a_file_belongs_to_whom_the_client_says(pco: Station) -> None:
    pco.client.started("folder/theirs.h5", user_id=str(MINE), n_frames="2")
    pco.camera.expose(2)
    summary = pco.client.wait()
    file = Path(summary["output_file"])
    assert (summary["user_id"], file.stat().st_uid, file.parent.stat().st_uid) == (str(MINE), MINE, MINE)


def test_two_services_with_one_writers_port(pco: Station, tmp_path: Path) -> None:
    port = int(pco.client.writer.rpartition(":")[2])
    with station(tmp_path, "pco2", writer_port=port) as other:
        pco.client.started("mine.h5")
        other.client.writer = pco.client.writer
        answer = other.client.start("mine.h5", writer_rest_port=str(port))
        assert "is in use" in answer["error"]
        assert pco.client.status == "receiving"
        until(lambda: other.client.status == "error", lambda: None, "the error")
