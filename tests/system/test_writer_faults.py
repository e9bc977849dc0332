"""What disks, readers and clients do to a file that is being written, with real processes: nothing is lost unsaid."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.spill import SPILLED
from bluesky_streamdet.streaming.messages import Arm, ArmRequest
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.system import disks
from tests.system.bench import Bench
from tests.system.planes import Plane
from tests.unit.streaming.frames import pictures
from tests.wire.streams import Stream, frame_numbers, holds

pytestmark = pytest.mark.system

SHAPE = (200, 200)
COUNT = 150
"""Frames of 80 kB, 12 MB together."""
OUTPUT = {"outputs": [{"address": "tcp://127.0.0.1:*"}]}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "data")
    yield bench
    bench.close()


def series(count: int = COUNT) -> list[Any]:
    return Stream().whole(range(count), shape=SHAPE)


def first(plane: Plane) -> SeriesReport | None:
    return next(iter(plane.series.values()), None)


def ended(plane: Plane, number: int = 1) -> SeriesReport:
    """The series of that number, once it has ended."""
    plane.until(lambda: len(plane.series) >= number and list(plane.series.values())[number - 1].outcome, "the end")
    return list(plane.series.values())[number - 1]


def balanced(ledger: LedgerReport, count: int = COUNT) -> bool:
    settled = ledger.written + ledger.live_only + sum(ledger.failed.values()) + sum(ledger.discarded.values())
    return ledger.received == ledger.unique == settled == count and ledger.pending == 0


def numbers_in(path: Path) -> list[int]:
    """The frames of a file, each of which is as it was sent."""
    with open_to_read(path) as file:
        numbers = file["/entry/instrument/eiger/sequence_number"][()].tolist()
        rows = file["/entry/data/data"][: len(numbers)]
    assert np.array_equal(rows, pictures(numbers, SHAPE))
    return numbers


@pytest.fixture
def small(bench: Bench) -> disks.Disk:
    return disks.in_memory(bench.directory, 6)


@pytest.mark.root
@pytest.mark.parametrize("spills", [False, True])
def test_a_full_disk(bench: Bench, small: disks.Disk, tmp_path: Path, spills: bool) -> None:
    files = {"least_free_megabytes": 5, **({"spill": tmp_path / "second"} if spills else {})}
    plane = bench.plane(prefix=small.prefix, files=files, **OUTPUT)
    small.pid = plane.process.pid
    client = bench.client(plane)
    said: list[str] = []

    def listen() -> None:
        if plane.status is not None and plane.status.disk is not None:
            said.append(plane.status.disk.warning)

    messages = series()
    bench.send(plane, messages[:30])
    plane.until(lambda: any(said), "a word, before the disk is full", listen)
    bench.send(plane, messages[30:])
    report = ended(plane)

    assert report.outcome is Outcome.INCOMPLETE
    assert balanced(report.ledger), report.ledger
    assert "takes no more frames" in report.reason and "Make room" in report.reason
    assert all("are left for" in one for one in filter(None, said))
    assert frame_numbers(client.rest(plane.take)) == list(range(COUNT)), "other sinks go on"
    written = report.ledger.written
    file = small.seen(report.file)
    assert numbers_in(file) == list(range(written)) and 0 < written < COUNT
    assert inspect(file).outcome is Outcome.INCOMPLETE, "there was room to close it"
    if spills:
        assert report.spill == str(tmp_path / "second" / Path(str(report.file)).name)
        assert report.ledger.failed == {SPILLED: COUNT - written}
        assert f"{COUNT - written} frames are in {report.spill}" in report.reason
        assert numbers_in(Path(report.spill)) == list(range(written, COUNT))
        own = inspect(Path(report.spill))
        assert own.outcome is Outcome.INCOMPLETE and own.ledger is not None
        assert own.ledger.written == own.readable == COUNT - written
        assert f"the first {written} frames of series {report.id} are in {report.file}" in own.reason
    else:
        assert report.ledger.failed == {"no_room": COUNT - written}

    armed, _ = plane.ask(Arm(request=ArmRequest(expected_frames=20)))
    assert armed.problem is not None
    assert armed.problem.code == "no_room"
    assert "20 frames of 80000 bytes" in armed.problem.message
    file.unlink()
    bench.send(plane, Stream().whole(range(5), shape=SHAPE))
    following = ended(plane, 2)
    assert following.outcome is Outcome.COMPLETE
    assert numbers_in(small.seen(following.file)) == list(range(5))


@pytest.mark.parametrize("limit", [4000, 64])
def test_a_file_that_may_not_grow(bench: Bench, tmp_path: Path, limit: int) -> None:
    """HDF5 itself fails, in the middle of something, or before the first frame; and so does the second file."""
    prefix = ["sh", "-c", f'ulimit -f {limit}; exec "$@"', "sh"]
    plane = bench.plane(prefix=prefix, files={"spill": tmp_path / "second"}, **OUTPUT)
    client = bench.client(plane)
    bench.send(plane, series())
    report = ended(plane)

    assert report.outcome is Outcome.INCOMPLETE
    assert balanced(report.ledger), report.ledger
    assert "File too large" in report.reason
    assert report.ledger.failed["write_failed"] > 0
    assert frame_numbers(client.rest(plane.take)) == list(range(COUNT))
    written, spilled = report.ledger.written, report.ledger.failed.get(SPILLED, 0)
    if written:
        assert report.file is not None and numbers_in(Path(report.file)) == list(range(written))
        with h5py.File(report.file, "r") as file:  # as any program opens it
            assert len(file["/entry/data/data"]) == written
    if spilled:
        assert report.spill is not None
        assert numbers_in(Path(report.spill)) == list(range(written, written + spilled))


@pytest.mark.root
def test_a_folder_that_is_read_only(bench: Bench) -> None:
    disk = disks.read_only(bench.directory)
    plane = bench.plane(prefix=disk.prefix, **OUTPUT)
    disk.pid = plane.process.pid
    client = bench.client(plane)
    armed, _ = plane.ask(Arm(request=ArmRequest(name="scan")))
    assert armed.problem is not None
    assert armed.problem.code == "path_refused"
    assert "can't be written to" in armed.problem.message
    bench.send(plane, series(10))
    report = ended(plane)

    assert report.outcome is Outcome.INCOMPLETE
    assert report.ledger.failed == {"path_refused": 10} and balanced(report.ledger, 10)
    assert frame_numbers(client.rest(plane.take)) == list(range(10))
    disk.run("mount", "-o", "remount,bind,rw", str(bench.directory))
    bench.send(plane, series(10))
    assert holds(ended(plane, 2), range(10), SHAPE)


@pytest.fixture
def real(bench: Bench, tmp_path: Path) -> disks.Disk:
    return disks.in_image(bench.directory, tmp_path / "image", 48)


@pytest.mark.root
def test_a_slow_disk_pushes_back(bench: Bench, real: disks.Disk) -> None:
    plane = bench.plane(prefix=real.prefix, files={"least_free_megabytes": 0})
    real.pid = plane.process.pid
    slow: set[str] = set()

    def listen() -> None:
        if plane.status is not None and plane.status.slow:
            slow.add(plane.status.slow)

    start, *frames, end = series()
    bench.send(plane, [start])
    sent = waited = 0
    with real.frozen(30):
        while waited < 40:  # two seconds in which nobody takes a frame
            if bench.sender.offer(frames[sent], 0.05):
                sent += 1
            else:
                waited += 1
                plane.take()
    plane.until(lambda: slow, "a word of the slow disk", listen)
    bench.send(plane, [*frames[sent:], end])
    report = ended(plane)

    assert slow == {f"the disk that holds {report.file}"}
    assert report.outcome is Outcome.COMPLETE and balanced(report.ledger)
    assert numbers_in(real.seen(report.file)) == list(range(COUNT))


@pytest.mark.root
@pytest.mark.parametrize("spills", [False, True])
def test_a_mount_that_vanishes(bench: Bench, real: disks.Disk, tmp_path: Path, spills: bool) -> None:
    files = {"least_free_megabytes": 0, **({"spill": tmp_path / "second"} if spills else {})}
    plane = bench.plane(prefix=real.prefix, files=files)
    real.pid = plane.process.pid
    stream = Stream()
    bench.send(plane, [stream.start(), *(stream.frame(number, shape=SHAPE) for number in range(20))])
    plane.until(lambda: (one := first(plane)) and one.ledger.written == 20, "twenty frames")
    real.run("umount", "--lazy", str(real.folder))
    number = 20
    while not (one := first(plane)) or not one.reason:
        bench.send(plane, [stream.frame(number, shape=SHAPE)])
        number += 1
    bench.send(plane, [stream.frame(number, shape=SHAPE), stream.end()])
    count = number + 1
    report = ended(plane)
    plane.close()  # Now nobody has the disk any more.

    assert report.outcome is Outcome.INCOMPLETE and balanced(report.ledger, count)
    assert "is not where it was" in report.reason
    written = report.ledger.written
    if spills:
        assert numbers_in(Path(str(report.spill))) == list(range(written, count))
    else:
        assert report.ledger.failed == {"write_failed": count - written}
    with Bench(bench.directory) as again:
        other = again.plane(prefix=real.prefix)
        real.pid = other.process.pid
        file = real.seen(report.file)
        assert numbers_in(file) == list(range(written))
        assert inspect(file).outcome is Outcome.INCOMPLETE


CLIENT = """
import sys, zmq
socket = zmq.Context().socket(zmq.PULL)
socket.rcvhwm = 1
socket.connect(sys.argv[1])
while True:
    socket.recv_multipart()
    print(flush=True)
"""


def test_a_client_that_is_stopped(bench: Bench) -> None:
    output = {"address": "tcp://127.0.0.1:*", "overflow": "drop-newest", "queue": 2}
    plane = bench.plane(outputs=[output])
    assert plane.status is not None
    command = [sys.executable, "-c", CLIENT, plane.status.outputs[0].address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        try:
            assert client.stdout is not None
            plane.until(lambda: plane.status and plane.status.outputs[0].clients, "the client")
            stream = Stream()
            bench.send(plane, [stream.start(), stream.frame(0, shape=(512, 1024))])
            assert client.stdout.readline()
            client.send_signal(19)  # SIGSTOP
            bench.send(plane, [*(stream.frame(number, shape=(512, 1024)) for number in range(1, 60)), stream.end()])
            report = ended(plane)
        finally:
            client.kill()
    assert report.outcome is Outcome.COMPLETE and balanced(report.ledger, 60)
    assert holds(report, range(60), (512, 1024))
    plane.until(lambda: plane.status and sum(plane.status.outputs[0].dropped.values()), "the count of what was dropped")


READER = """
import sys, h5py
with h5py.File(sys.argv[1], "r", locking=True) as file:
    print(flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("locking", ["off", "on"])
@pytest.mark.parametrize("how", ["append", "replace"])
def test_a_reader_with_a_lock(bench: Bench, how: str, locking: str) -> None:
    plane = bench.plane(files={"locking": locking})
    plane.ask(Arm(request=ArmRequest(name="scan")))
    bench.send(plane, series(5))
    first = ended(plane)
    with subprocess.Popen([sys.executable, "-c", READER, str(first.file)], stdin=-1, stdout=-1) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline()
        request = ArmRequest.model_validate({"name": "scan", how: True})
        assert plane.ask(Arm(request=request))[0].problem is None
        bench.send(plane, Stream().whole(range(100, 110), shape=SHAPE))
        second = ended(plane, 2)
        reader.stdin.close()
    assert balanced(second.ledger, 10)
    before = list(range(5)) if how == "append" else []
    if how == "append" and locking == "on":
        assert "can't be locked" in second.reason and "files.locking" in second.reason
        assert second.outcome is Outcome.INCOMPLETE
        assert numbers_in(Path(str(first.file))) == before
    else:
        assert second.outcome is Outcome.COMPLETE, second.reason
        assert numbers_in(Path(str(first.file))) == [*before, *range(100, 110)]


@pytest.mark.parametrize("swmr", ["on", "off"])
def test_a_growing_file_with_or_without_swmr(bench: Bench, swmr: str) -> None:
    """Without it, a reader that knows nothing of SWMR opens the file while it grows, from another process."""
    plane = bench.plane(files={"swmr": swmr})
    stream = Stream()
    bench.send(plane, [stream.start(), *(stream.frame(number, shape=SHAPE) for number in range(20))])
    plane.until(lambda: (one := first(plane)) and one.ledger.written == 20, "twenty frames")
    path = str(next(iter(plane.series.values())).file)
    if swmr == "on":
        with pytest.raises(OSError, match="already open for write"):
            h5py.File(path, "r", locking=False)
    with h5py.File(path, "r", libver="latest", swmr=swmr == "on", locking=False) as file:
        data = file["/entry/data/data"]
        assert np.array_equal(data[()], pictures(range(20), SHAPE))
    bench.send(plane, [stream.frame(20, shape=SHAPE), stream.end()])

    report = ended(plane)
    assert report.outcome is Outcome.COMPLETE
    assert numbers_in(Path(path)) == list(range(21))
