"""The supervisor with real data planes, which are killed, stopped and refused."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.core.errors import AddressTaken, ConfigError, DeadlineExceeded, StreamdetError
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.dataplane import DataPlaneDied, NotRunning
from bluesky_streamdet.service.predecessor import PidFile
from bluesky_streamdet.service.records import OnDisk
from bluesky_streamdet.service.serieslog import describe
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest, GetFrame, Stop
from bluesky_streamdet.streaming.status import SeriesReport, Status
from tests.wire.service_parts import TIMEOUT, Detector, config_for, until

pytestmark = pytest.mark.wire

IMPATIENT = {"slow": 0.6, "silent": 1.2, "answer": 0.5}


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


Start = Callable[..., Any]


@pytest.fixture
async def start(detector: Detector, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts supervisors, and closes them."""
    made: list[Supervisor] = []

    async def started(**changes: Any) -> Supervisor:
        supervisor = Supervisor(config_for(detector, tmp_path, **changes), backoff=(0.0,))
        made.append(supervisor)
        await supervisor.start()
        return supervisor

    yield started
    for supervisor in made:
        await supervisor.close()


def data_plane_of(supervisor: Supervisor) -> int:
    pid = PidFile(supervisor.config.files.directory, "camera", supervisor.config.PLANE).running()
    assert pid is not None
    return pid


def running(frames: int) -> Callable[[Status], bool]:
    return lambda status: status.series is not None and status.series.ledger.written >= frames


def idle(status: Status) -> bool:
    return status.state == State.IDLE


async def test_a_series(start: Start, detector: Detector) -> None:
    supervisor = await start()
    report = await Control(supervisor).arm(ArmRequest(id="one"))
    assert supervisor.board.status.state == State.ARMED
    detector.series(5)

    status = await until(supervisor.board, lambda status: status.last_series is not None)
    assert status.last_series is not None
    assert (status.last_series.id, status.last_series.outcome) == (report.id, Outcome.COMPLETE)
    assert supervisor.series.report("one") == status.last_series


async def test_a_data_plane_that_is_killed(start: Start, detector: Detector) -> None:
    supervisor = await start()
    detector.start()
    detector.frames(range(7))
    series = (await until(supervisor.board, running(7))).series
    assert series is not None
    os.kill(data_plane_of(supervisor), signal.SIGKILL)

    broken = await until(supervisor.board, lambda status: status.state == "error")
    assert "killed by signal 9 (SIGKILL)" in str(broken.error)
    ready = await until(supervisor.board, lambda status: supervisor.restarts == 1 and idle(status))
    assert f"while series {series.id} was running, 7 frames of it are readable in {series.file}" in str(ready.error)
    assert ready.last_series is not None
    assert (ready.last_series.id, ready.last_series.outcome) == (series.id, Outcome.INTERRUPTED)
    assert ready.last_series.ledger.written == len(read_frames(str(series.file))) == 7


async def test_the_next_series_after_a_death(start: Start, detector: Detector) -> None:
    supervisor = await start()
    os.kill(data_plane_of(supervisor), signal.SIGKILL)
    await until(supervisor.board, lambda status: supervisor.restarts == 1 and idle(status))
    await Control(supervisor).arm(ArmRequest(id="next"))
    detector.series(3)

    status = await until(supervisor.board, lambda status: status.last_series is not None)
    assert status.last_series is not None
    assert (status.last_series.id, status.last_series.outcome) == ("next", Outcome.COMPLETE)
    assert status.error is None


async def test_while_there_is_no_data_plane(start: Start) -> None:
    supervisor = await start()
    os.kill(data_plane_of(supervisor), signal.SIGKILL)
    await until(supervisor.board, lambda status: status.state == "error")

    assert not supervisor.ready
    with pytest.raises(NotRunning, match="SIGKILL"):
        await supervisor.ask(GetFrame())


async def test_a_data_plane_that_hangs_shows(start: Start, detector: Detector) -> None:
    supervisor = await start(watch=IMPATIENT)
    detector.start()
    detector.frames(range(3))
    series = (await until(supervisor.board, running(3))).series
    assert series is not None
    pid = data_plane_of(supervisor)
    os.kill(pid, signal.SIGSTOP)

    slow = await until(supervisor.board, lambda status: status.slow is not None)
    assert slow.state == State.RUNNING
    assert f"while writing {series.file}" in str(slow.slow)
    broken = await until(supervisor.board, lambda status: status.state == "error")
    assert "Abort the series" in str(broken.error)
    assert not supervisor.ready

    os.kill(pid, signal.SIGCONT)
    well = await until(supervisor.board, lambda status: status.state == State.RUNNING)
    assert (well.error, well.slow, supervisor.restarts) == (None, None, 0)


async def test_abort_ends_a_data_plane_that_hangs(start: Start, detector: Detector) -> None:
    supervisor = await start(watch={"answer": 0.2})
    control = Control(supervisor)
    detector.start()
    detector.frames(range(3))
    series = (await until(supervisor.board, running(3))).series
    assert series is not None
    os.kill(data_plane_of(supervisor), signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        await control.stop(series.id, Stop())

    final = await control.abort(series.id)
    assert (final.outcome, final.ledger.written) == (Outcome.INTERRUPTED, 3)
    assert final.reason == "aborted by request; the data plane did not answer and was killed"
    await until(supervisor.board, idle)


async def test_abort_awaits_what_is_said_of_the_file(detector: Detector, tmp_path: Path) -> None:
    """Also where that takes so long that the status is told meanwhile."""
    looked = threading.Event()

    def slowly(path: Path, report: SeriesReport) -> OnDisk:
        assert looked.wait(TIMEOUT)
        return describe(path, report)

    supervisor = Supervisor(config_for(detector, tmp_path, watch={"answer": 0.2}), describe=slowly, backoff=(0.0,))
    await supervisor.start()
    try:
        detector.start()
        detector.frames(range(3))
        series = (await until(supervisor.board, running(3))).series
        assert series is not None
        os.kill(data_plane_of(supervisor), signal.SIGSTOP)
        aborting = asyncio.create_task(Control(supervisor).abort(series.id))
        await until(supervisor.board, lambda status: status.state == "error" and "SIGKILL" in str(status.error))
        assert not (await asyncio.wait([aborting], timeout=0.01))[0]
        looked.set()
        assert (await aborting).outcome is Outcome.INTERRUPTED
    finally:
        looked.set()
        await supervisor.close()


@pytest.mark.allow_error_log
async def test_a_defect_is_told_and_nobody_waits_for_ever(detector: Detector, tmp_path: Path) -> None:
    def broken(path: Path, report: SeriesReport) -> OnDisk:
        raise ZeroDivisionError

    supervisor = Supervisor(config_for(detector, tmp_path, watch={"answer": 0.2}), describe=broken)
    await supervisor.start()
    try:
        detector.start()
        detector.frames(range(3))
        series = (await until(supervisor.board, running(3))).series
        assert series is not None
        os.kill(data_plane_of(supervisor), signal.SIGSTOP)
        async with asyncio.timeout(TIMEOUT):
            await Control(supervisor).abort(series.id)
        status = await until(supervisor.board, lambda status: "A defect" in str(status.error))
        assert (status.state, supervisor.ready) == ("error", False)
    finally:
        await supervisor.close()


async def test_a_data_plane_that_hangs_without_a_series_is_started_anew(start: Start) -> None:
    supervisor = await start(watch=IMPATIENT)
    os.kill(data_plane_of(supervisor), signal.SIGSTOP)

    await until(supervisor.board, lambda status: supervisor.restarts == 1 and idle(status))


async def test_closing_drains(start: Start, detector: Detector) -> None:
    supervisor = await start()
    detector.start()
    detector.frames(range(3))
    await until(supervisor.board, running(1))
    await supervisor.close()

    last = supervisor.series.last
    assert last is not None
    assert (last.outcome, last.ledger.written) == (Outcome.COMPLETE, 3)
    assert PidFile(supervisor.config.files.directory, "camera", supervisor.config.PLANE).running() is None


async def test_closing_ends_a_data_plane_that_hangs(start: Start, detector: Detector) -> None:
    supervisor = await start(watch={"drain": 0.2})
    detector.start()
    detector.frames(range(3))
    await until(supervisor.board, running(3))
    os.kill(data_plane_of(supervisor), signal.SIGSTOP)
    await supervisor.close()

    last = supervisor.series.last
    assert last is not None
    assert (last.outcome, last.ledger.written) == (Outcome.INTERRUPTED, 3)


async def test_what_is_in_a_hurry_is_not_drained(start: Start, detector: Detector) -> None:
    supervisor = await start()
    detector.start()
    detector.frames(range(3))
    await until(supervisor.board, running(3))
    closing = asyncio.create_task(supervisor.close())
    supervisor.hurry()
    await closing

    assert supervisor.series.last is not None
    assert supervisor.series.last.outcome in {Outcome.INTERRUPTED, Outcome.COMPLETE}


async def test_a_port_that_is_taken(start: Start, detector: Detector) -> None:
    with pytest.raises(AddressTaken, match=detector.address):
        await start(outputs=[{"address": detector.address}])


async def test_a_data_directory_that_can_not_be_used(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigError, match="can't be used"):
        await start(files={"directory": tmp_path / "file"})


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('no such library')", "exit code 1: no such library"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11 (SIGSEGV)"),
        ("print('x' * 1_000_000, file=__import__('sys').stderr); raise SystemExit(3)", "exit code 3"),
    ],
)
async def test_a_data_plane_that_does_not_start(detector: Detector, tmp_path: Path, program: str, said: str) -> None:
    supervisor = Supervisor(config_for(detector, tmp_path), command=(sys.executable, "-c", program))
    with pytest.raises(DataPlaneDied) as caught:
        await supervisor.start()
    await supervisor.close()

    assert said in str(caught.value)


async def test_a_data_plane_that_says_nothing(detector: Detector, tmp_path: Path) -> None:
    program = "import sys, threading; sys.stdin.read(); threading.Event().wait()"
    config = config_for(detector, tmp_path, watch={"start": 0.3})
    supervisor = Supervisor(config, command=(sys.executable, "-c", program))
    with pytest.raises(DeadlineExceeded, match=r"did not start within 0.3 s"):
        await supervisor.start()
    await supervisor.close()


async def test_goes_on_trying(start: Start, detector: Detector, tmp_path: Path) -> None:
    """A new data plane fails as long as its port is taken, and the status says so; then it goes on."""
    supervisor = await start(outputs=[{"address": "tcp://127.0.0.1:0"}])
    taken = supervisor.board.status.outputs[0].address
    supervisor.config.outputs[0].address = detector.address
    os.kill(data_plane_of(supervisor), signal.SIGKILL)

    broken = await until(supervisor.board, lambda status: "can't be started yet" in str(status.error))
    assert detector.address in str(broken.error)
    supervisor.config.outputs[0].address = taken
    status = await until(supervisor.board, idle)
    assert "SIGKILL" in str(status.error)
    assert "yet" not in str(status.error)


async def test_two_services_of_one_detector_do_not_share_its_frames(start: Start) -> None:
    await start()

    with pytest.raises(StreamdetError, match="Another data plane of this detector runs"):
        await start(watch={"drain": 0.1})
