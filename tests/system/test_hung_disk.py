"""A disk that answers no more: the service says so within its deadline, answers all the same, and loses no frame."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import DeadlineExceeded
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import Status
from tests.system import disks
from tests.unit.streaming.frames import pictures
from tests.wire.streams import LOOPBACK, Stream

SHAPE = (200, 200)
SILENT = 1.5
PATIENCE = 20.0

pytestmark = [pytest.mark.system, pytest.mark.root]


@pytest.fixture
def sender() -> Iterator[Sender]:
    with Sender(LOOPBACK, linger=0) as sender:
        yield sender


@pytest.fixture
def disk(tmp_path: Path) -> disks.Disk:
    return disks.in_image(tmp_path / "data", tmp_path / "image", 48)


@pytest.fixture
def service(
    disk: disks.Disk, sender: Sender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServiceProcess]:
    config = for_row("eiger", sender.address, disk.folder, environ={})
    config.rest.port = 0
    config.log_level = "ERROR"
    config.watch.slow, config.watch.silent, config.watch.answer = 0.5, SILENT, 3.0
    config.files.least_free_megabytes = 0
    # The program that starts the service is Python behind the command that mounts the disk.
    program = tmp_path / "python"
    start, words = disk.prefix[:-2], disk.prefix[-2]
    program.write_text(f"#!/bin/sh\nexec {' '.join(start)} '{words}' sh {sys.executable} \"$@\"\n")
    program.chmod(0o755)
    process = ServiceProcess(config)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", str(program))
            process.start()
        disk.pid = process.pid or 0
        yield process
    finally:
        process.close()


def test_a_disk_that_hangs(service: ServiceProcess, disk: disks.Disk, sender: Sender) -> None:
    stream = Stream("dectris_v1")
    with ServiceClient(service.url, service.api_key) as client:
        series = client.arm(ArmRequest(expected_frames=40))

        def send(first: int, last: int) -> None:
            for number in range(first, last):
                sender.send(stream.frame(number, shape=SHAPE), PATIENCE)

        sender.send(stream.start(), PATIENCE)
        send(0, 20)
        client.wait(lambda status: written(status) == 20, PATIENCE, "twenty frames")
        with disk.frozen(30):
            send(20, 25)
            began = time.monotonic()
            said = client.wait(lambda status: status.state == "error", PATIENCE, "a word about the disk")
            assert time.monotonic() - began < SILENT + 5
            assert said.error is not None
            assert f"while writing {series.file}. Its disk may hang." in said.error
            assert client.status().state == "error", "the service answers all the same"
            with pytest.raises(DeadlineExceeded):
                client.stop(series.id)
        send(25, 40)
        last = client.wait(lambda status: status.last_series is not None, PATIENCE, "the end").last_series
        assert last is not None
        assert last.outcome is Outcome.COMPLETE, last.reason
        assert last.ledger.received == last.ledger.written == 40
        assert (read_frames(disk.seen(str(series.file))) == pictures(range(40), SHAPE)).all()


def written(status: Status) -> int:
    return status.series.ledger.written if status.series is not None else 0
