"""A data plane for each series, with real processes: started by an arm, gone after the end, killed in between."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.core.errors import Busy, ConfigError, FileTaken, RequestRefused
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.acquisitions import AcquisitionSupervisor
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest, Stop
from bluesky_streamdet.streaming.status import SeriesReport
from tests.wire.service_parts import TIMEOUT, Detector, config_for, process_ended, until

pytestmark = pytest.mark.wire

Start = Callable[..., Any]


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


@pytest.fixture
async def start(detector: Detector, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts supervisors, and closes them."""
    made: list[AcquisitionSupervisor] = []

    async def started(**changes: Any) -> AcquisitionSupervisor:
        made.append(AcquisitionSupervisor(config_for(detector, tmp_path, **changes)))
        await made[-1].start()
        return made[-1]

    yield started
    for supervisor in made:
        await supervisor.close()


async def finished(supervisor: AcquisitionSupervisor, id: str) -> SeriesReport:
    """The account of series `id`, when it has been closed and its process has ended."""
    status = await until(
        supervisor.board,
        lambda status: status.last_series is not None and status.last_series.id == id and supervisor.process is None,
    )
    assert status.last_series is not None
    return status.last_series


async def test_a_process_for_each_series(start: Start, detector: Detector) -> None:
    supervisor = await start()
    control = Control(supervisor)
    processes = []
    for id in ("one", "two"):
        assert (supervisor.process, supervisor.ready, supervisor.board.status.state) == (None, True, State.IDLE)
        await control.arm(ArmRequest(id=id))
        processes.append(supervisor.process)
        detector.series(5)
        report = await finished(supervisor, id)
        assert (report.id, report.outcome, report.ledger.written) == (id, Outcome.COMPLETE, 5)
        assert len(read_frames(str(report.file))) == 5
        assert process_ended(processes[-1])
    assert len(set(processes)) == 2
    assert [one.id for one in supervisor.series.newest_first()] == ["two", "one"]


async def test_a_series_that_nobody_armed_is_not_taken(start: Start, detector: Detector) -> None:
    """Not even when it comes at once behind one that somebody did arm, and is taken together with it."""
    supervisor = await start()
    await Control(supervisor).arm(ArmRequest(id="armed"))
    os.kill(supervisor.process, signal.SIGSTOP)
    detector.series(2)
    detector.series(3)
    os.kill(supervisor.process, signal.SIGCONT)

    assert (await finished(supervisor, "armed")).ledger.written == 2
    assert [one.id for one in supervisor.series.newest_first()] == ["armed"]


async def test_one_that_is_killed_is_told_with_its_reason(start: Start, detector: Detector) -> None:
    supervisor = await start()
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one"))
    detector.start()
    detector.frames(range(7))
    await until(supervisor.board, lambda status: status.series is not None and status.series.ledger.written == 7)
    os.kill(supervisor.process, signal.SIGKILL)

    report = await finished(supervisor, "one")
    status = await until(supervisor.board, lambda status: status.error is not None)
    assert (report.outcome, report.ledger.written, len(read_frames(str(report.file)))) == (Outcome.INTERRUPTED, 7, 7)
    assert report.reason.startswith("the data plane was killed by signal 9 (SIGKILL)")
    assert report.statistics.first_number == 0
    assert status.state == "error"
    assert "The next series may be armed" in str(status.error)
    assert supervisor.ready

    await control.arm(ArmRequest(id="two"))
    assert supervisor.board.status.error is None
    detector.series(3)
    assert (await finished(supervisor, "two")).outcome is Outcome.COMPLETE


async def test_an_arm_that_is_refused_leaves_no_process(start: Start, detector: Detector) -> None:
    supervisor = await start()
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one", name="once"))
    detector.series(1)
    await finished(supervisor, "one")

    with pytest.raises(FileTaken):
        await control.arm(ArmRequest(name="once"))
    assert supervisor.process is None
    await control.arm(ArmRequest(name="twice"))


async def test_of_two_who_arm_at_once_one_is_refused(start: Start) -> None:
    supervisor = await start()
    control = Control(supervisor)
    first, second = await asyncio.gather(
        control.arm(ArmRequest(id="one")), control.arm(ArmRequest(id="two")), return_exceptions=True
    )

    assert isinstance(first, SeriesReport)
    assert isinstance(second, Busy)
    assert supervisor.board.status.series is not None
    assert supervisor.board.status.series.id == "one"


async def test_arming_again_at_once_awaits_the_end_of_the_process_before(start: Start, detector: Detector) -> None:
    supervisor = await start()
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one"))
    await control.stop("one", Stop())
    await until(supervisor.board, lambda status: status.series is None)
    await control.arm(ArmRequest(id="two"))
    detector.series(2)

    assert (await finished(supervisor, "two")).ledger.written == 2


@pytest.fixture
def log_level() -> Iterator[None]:
    """That of this process is as it was afterwards."""
    logger = logging.getLogger("bluesky_streamdet")
    before = logger.level
    yield
    logger.setLevel(before)


async def test_settings_are_for_the_next_process(start: Start, log_level: None) -> None:
    supervisor = await start()
    control = Control(supervisor)
    await control.set_log_level("ERROR")
    await control.pause(True)
    with pytest.raises(RequestRefused, match="No series of camera is armed"):
        await control.frame()
    await control.arm(ArmRequest(id="one"))

    assert supervisor.board.status.paused
    assert supervisor.board.status.log_level == "ERROR"


async def test_what_can_not_be_served_is_told_and_tried_again(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "missing"
    directory.write_text("in the way")
    supervisor = await start(files={"directory": directory})
    assert (supervisor.board.status.state, supervisor.ready) == ("error", False)
    assert "can't be used" in str(supervisor.board.status.error)

    directory.unlink()
    await Control(supervisor).arm(ArmRequest(id="one"))
    assert supervisor.board.status.state == State.ARMED


async def test_a_folder_that_is_lost_while_a_series_runs(start: Start, detector: Detector, tmp_path: Path) -> None:
    """What can't be tidied up there keeps nobody from going on when it is back."""
    supervisor = await start()
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one", save=False))
    (tmp_path / ".streamdet").rename(tmp_path / "away")
    (tmp_path / ".streamdet").write_text("in the way")
    os.kill(supervisor.process, signal.SIGKILL)
    assert (await finished(supervisor, "one")).outcome is Outcome.INTERRUPTED
    await until(supervisor.board, lambda status: "The next series may be armed" in str(status.error))

    (tmp_path / ".streamdet").unlink()
    (tmp_path / "away").rename(tmp_path / ".streamdet")
    await control.arm(ArmRequest(id="two"))
    detector.series(2)
    assert (await finished(supervisor, "two")).outcome is Outcome.COMPLETE


async def test_closing_drains(start: Start, detector: Detector) -> None:
    supervisor = await start()
    await Control(supervisor).arm(ArmRequest(id="one"))
    detector.start()
    detector.frames(range(3))
    await until(supervisor.board, lambda status: status.series is not None and status.series.ledger.written > 0)
    await supervisor.close()

    assert supervisor.series.last is not None
    assert (supervisor.series.last.outcome, supervisor.series.last.ledger.written) == (Outcome.COMPLETE, 3)
    assert supervisor.process is None


async def test_clients_hear_of_one_that_is_idle(start: Start) -> None:
    """As clients give up a service that says nothing."""
    supervisor = await start()
    first = supervisor.board.status.revision

    assert await until(supervisor.board, lambda status: status.revision > first)


async def test_two_of_one_camera_do_not_share_its_frames(start: Start, detector: Detector) -> None:
    """Whichever of two services armed first; the other one can when that has ended."""
    first, second = await start(), await start(watch={"answer": 0.2, "drain": 0.2})
    await Control(first).arm(ArmRequest(id="one"))
    with pytest.raises(ConfigError, match="Another data plane of this detector runs"):
        await Control(second).arm(ArmRequest(id="two"))
    third = await start(watch={"drain": 0.1})
    assert third.board.status.state == "error"
    assert "Another data plane of this detector runs" in str(third.board.status.error)
    assert first.board.status.state == State.ARMED
    detector.series(2)
    assert (await finished(first, "one")).outcome is Outcome.COMPLETE

    second.config.watch.answer = TIMEOUT
    await Control(second).arm(ArmRequest(id="two"))
    detector.series(2)
    assert (await finished(second, "two")).outcome is Outcome.COMPLETE
