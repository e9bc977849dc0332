"""The old interfaces of two PCO cameras behind one program, which has a process of its own for each series."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread

import pytest
import yaml

from tests.wire.old_pco import FIRST, Camera, OldClient
from tests.wire.repeating import free_ports
from tests.wire.service_parts import TIMEOUT
from tests.wire.test_old_pco import holds
from tests.wire.test_service_cameras import supervising, until_it_answers

pytestmark = pytest.mark.wire

Pair = list[tuple[Camera, OldClient]]


@pytest.fixture
def cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Both, with their clients."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    ports = free_ports(4)
    detectors = {}
    with ExitStack() as stack:
        pair: Pair = []
        for name, port, writer_port in (("pco1", *ports[:2]), ("pco2", *ports[2:])):
            camera = stack.enter_context(closing(Camera()))
            client = OldClient(tmp_path / name, camera.address, port, writer_port)
            pair.append((camera, stack.enter_context(closing(client))))
            detectors[name] = {
                "type": "pco",
                "source": {"endpoints": [camera.address]},
                "files": {"directory": str(tmp_path / name)},
                "compat": {"dialect": "pco-supervisor", "port": port, "writer_port": writer_port},
            }
        file = tmp_path / "pco.yaml"
        file.write_text(yaml.safe_dump({"rest": {"port": 0}, "detectors": detectors}))
        process = stack.enter_context(supervising(str(file)))
        until_it_answers(process)
        yield pair
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0


def test_series_of_both_at_once(cameras: Pair) -> None:
    for name in ("data", "data_white"):
        for _, client in cameras:
            assert client.status in {"unknown", "finished"}
            client.started("both.h5", dataset_name=name, n_frames="5")
        for camera, _ in cameras:
            camera.expose(5)
        for _, client in cameras:
            summary = client.wait()
            assert (summary["n_written_frames"], summary["n_lost_frames"]) == ("5", "0")
            client.wait_for_no_writer()
    for _, client in cameras:
        for name in ("data", "data_white"):
            assert holds(client.folder / "both.h5", range(FIRST, FIRST + 5), name)
        assert client.start("both.h5")["error"].startswith("Dataset name is taken.")


def test_frames_wait_at_the_camera(cameras: Pair) -> None:
    camera, client = cameras[0]
    exposing = Thread(target=camera.expose, args=(3,))
    exposing.start()
    client.started("waited.h5", n_frames="0")
    client.wait_written(3)
    exposing.join()
    client.ask("/stop")
    assert client.wait()["n_written_frames"] == "3"
    assert holds(client.folder / "waited.h5", range(FIRST, FIRST + 3))
