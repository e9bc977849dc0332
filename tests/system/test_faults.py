"""The data plane's process when it is told to end, loses its parent, or is treated badly: it drains, and says why."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.messages import (
    Abort,
    Arm,
    ArmRequest,
    GetFrame,
    Quit,
    SetLogLevel,
    SetParameters,
    Stop,
)
from bluesky_streamdet.streaming.status import SeriesReport, Status
from tests.system.bench import Bench
from tests.system.planes import COMMAND, Plane, wait_for_end
from tests.unit.streaming.frames import picture
from tests.wire.streams import Stream, holds

pytestmark = pytest.mark.system


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "data")
    yield bench
    bench.close()


def only(plane: Plane) -> SeriesReport:
    (report,) = plane.series.values()
    return report


def begun(plane: Plane) -> None:
    """Whoever ends a process before a series has come to it ends it without one."""
    plane.until(lambda: plane.status is not None and plane.status.series, "the start of the series")


@pytest.mark.parametrize("end", ["SIGTERM", "quit"])
def test_an_ending_process_drains(bench: Bench, end: str) -> None:
    plane = bench.plane()
    stream = Stream()
    bench.send(plane, [stream.start(), *(stream.frame(number, shape=(64, 64)) for number in range(300))])
    begun(plane)
    if end == "quit":
        assert plane.ask(Quit())[0].problem is None
    else:
        plane.kill(signal.SIGTERM)
    assert plane.wait() == 0

    report = only(plane)
    assert report.outcome is Outcome.COMPLETE
    assert report.reason == "stopped by request"
    assert holds(report, range(300), (64, 64))
    assert inspect(Path(str(report.file))).complete


def test_an_ending_process_that_only_was_armed(bench: Bench) -> None:
    plane = bench.plane()
    plane.ask(Arm(request=ArmRequest(id="s1")))
    plane.kill(signal.SIGTERM)

    assert plane.wait() == 0
    assert only(plane).outcome is not None
    assert only(plane).file is None


def test_ctrl_c_is_the_control_planes_matter(bench: Bench) -> None:
    plane = bench.plane()
    plane.kill(signal.SIGINT)
    stream = Stream()
    bench.send(plane, stream.whole(range(5)))

    plane.until(lambda: plane.series and only(plane).outcome, "the end of the series")
    assert holds(only(plane), range(5))


PARENT = """
import subprocess, sys
plane = subprocess.Popen(sys.argv[1:], stdin=sys.stdin)
print(plane.pid, flush=True)
plane.wait()
"""


def test_the_parents_death_ends_it_after_draining(bench: Bench) -> None:
    plane = Plane(bench.config(), [sys.executable, "-c", PARENT, *COMMAND])
    bench._planes.append(plane)
    assert plane.process.stdout is not None
    pid = int(plane.process.stdout.readline())
    stream = Stream()
    bench.send(plane, [stream.start(), *(stream.frame(number) for number in range(200))])
    begun(plane)
    plane.kill(signal.SIGKILL)
    plane.process.wait(20)

    assert wait_for_end(pid, plane.take)
    plane.take(0.05)
    assert only(plane).outcome is Outcome.COMPLETE
    assert holds(only(plane), range(200))


def test_a_detector_that_does_not_stop_holds_up_no_end(bench: Bench) -> None:
    plane = bench.plane()
    stream = Stream()
    bench.send(plane, [stream.start(), stream.frame(0)])
    begun(plane)
    plane.kill(signal.SIGTERM)
    number = 0
    while plane.process.poll() is None:
        number += 1
        message = stream.frame(number)
        while plane.process.poll() is None and not bench.sender.offer(message, 0.01):
            plane.take()
    assert plane.wait() == 0
    report = only(plane)
    assert report.outcome is not None
    assert holds(report, range(report.ledger.written))
    assert report.ledger.received == report.ledger.written


@pytest.mark.parametrize("overflow", ["drop-newest", "block"])
def test_a_client_that_never_reads_holds_up_no_end(bench: Bench, overflow: str) -> None:
    outputs = [{"address": "tcp://127.0.0.1:*", "overflow": overflow, "queue": 5}]
    plane = bench.plane(outputs=outputs)
    bench.client(plane, queue=1)
    stream = Stream()
    bench.send(plane, [stream.start()])
    for number in range(60):
        if not bench.sender.offer(stream.frame(number, shape=(512, 1024)), 1):
            break
        plane.take()
    plane.kill(signal.SIGTERM)

    assert plane.wait() == 0
    report = only(plane)
    assert report.outcome is not None
    assert holds(report, range(report.ledger.written), (512, 1024))


def test_clients_get_what_waits_for_them_before_the_end(bench: Bench) -> None:
    plane = bench.plane(outputs=[{"address": "tcp://127.0.0.1:*"}])
    client = bench.client(plane)
    stream = Stream()
    bench.send(plane, [stream.start(), *(stream.frame(number, shape=(200, 200)) for number in range(60))])
    plane.kill(signal.SIGTERM)
    headers = client.rest(lambda: plane.take(0))

    assert plane.wait() == 0
    assert [one["frame"] for one in headers if one["htype"] == "image"] == list(range(60))


def test_a_taken_port_is_said_and_ends_the_start(bench: Bench) -> None:
    plane = bench.plane(start=False, source={"endpoints": [bench.sender.address], "bind": True})

    assert plane.wait() == 1
    assert plane.problem == "address_taken"
    assert bench.sender.address in plane.said()


def test_no_configuration_ends_the_start() -> None:
    for text in ("", '{"detector": "../x", "codec": "stins", "source": {"endpoints": ["tcp://x:1"]}}'):
        ended = subprocess.run(
            [*COMMAND, "ipc:///nowhere"], input=text, capture_output=True, text=True, timeout=20, check=False
        )
        assert ended.returncode == 1
        assert "DataPlaneConfig" in ended.stderr


def test_commands_are_answered(bench: Bench) -> None:
    plane = bench.plane()
    assert plane.ask(GetFrame())[0].frame is None
    armed, _ = plane.ask(Arm(request=ArmRequest(id="s1", name="one")))
    assert armed.series is not None
    assert armed.series.file == str(bench.directory / "one.h5")
    assert armed.status is not None
    assert armed.status.state == "armed"
    busy, _ = plane.ask(Arm(request=ArmRequest(id="s2")))
    assert busy.problem is not None
    assert busy.problem.code == "busy"
    stream = Stream()
    bench.send(plane, [stream.start(), *(stream.frame(number) for number in range(3))])
    plane.until(lambda: plane.series["s1"].ledger.written == 3, "three frames")
    latest, parts = plane.ask(GetFrame())
    assert latest.frame is not None
    assert (latest.frame.number, latest.frame.series, latest.frame.shape) == (2, "s1", (4, 6))
    assert np.array_equal(np.frombuffer(parts[0], latest.frame.dtype).reshape(4, 6), picture(2))
    assert plane.ask(SetParameters(series="s1", parameters={"a": 1}))[0].problem is None
    assert plane.ask(SetLogLevel(level="DEBUG"))[0].status is not None
    plane.ask(Stop())
    plane.until(lambda: plane.series["s1"].outcome, "the end of the series")
    plane.ask(Arm(request=ArmRequest(id="s3")))
    aborted, _ = plane.ask(Abort())
    assert aborted.status is not None
    assert aborted.status.last_series is not None
    assert aborted.status.last_series.outcome is Outcome.ABORTED
    refused, _ = plane.ask(SetParameters(series="s1", parameters={"a": 1}))
    assert refused.problem is not None
    assert refused.problem.code == "no_such_series"


def test_what_is_no_request_is_survived(bench: Bench) -> None:
    plane = bench.plane()
    for text in (b"", b"{", b"[]", b'{"number": 1, "command": {"kind": "explode"}}', b"\xff", b"x" * 100_000):
        plane.say(text)

    assert plane.ask(GetFrame())[0].problem is None


def test_statuses_grow(bench: Bench) -> None:
    plane = bench.plane()
    seen: list[Status] = []

    def note() -> None:
        assert plane.status is not None
        if not seen or plane.status is not seen[-1]:
            seen.append(plane.status)

    bench.send(plane, Stream().whole(range(100)))
    plane.until(lambda: plane.series and only(plane).outcome, "the end", note)
    note()
    revisions = [one.revision for one in seen]
    assert revisions == sorted(set(revisions))
    written = [one.series.ledger.written for one in seen if one.series is not None]
    assert written == sorted(written), "what was announced is never taken back"


def test_a_data_directory_that_vanishes(bench: Bench) -> None:
    plane = bench.plane()
    stream = Stream()
    bench.send(plane, [stream.start(), stream.frame(0)])
    plane.until(lambda: plane.series and only(plane).ledger.written == 1, "a frame")
    shutil.rmtree(bench.directory)
    bench.send(plane, [stream.frame(1), stream.end()])
    plane.until(lambda: only(plane).outcome, "the end")
    bench.send(plane, stream.whole(range(5)))
    plane.until(lambda: len(plane.series) == 2 and list(plane.series.values())[1].outcome, "the next series")

    assert holds(list(plane.series.values())[1], range(5))


def test_memory_stays_flat_over_many_series(bench: Bench) -> None:
    plane = bench.plane(outputs=[{"address": "tcp://127.0.0.1:*"}], files={"flush_seconds": 0.1})
    stream = Stream()

    def run(series: int) -> float:
        before = len(plane.series)
        for _ in range(series):
            bench.send(plane, stream.whole(range(20), shape=(64, 64)))
        plane.until(lambda: len(plane.series) > before and plane.status and plane.status.state == "idle", "the end")
        assert plane.status is not None
        return plane.status.resident_megabytes

    early = run(20)
    assert run(60) - early < 10
