"""Keeps a data plane running, knows what it does, and tells it what to do.

A data plane that dies is started anew, and what was running is closed as interrupted, with what is on disk. The status
says so until somebody arms the next series, or one is complete. Nothing here waits for a data plane without a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from bluesky_streamdet.core.errors import DeadlineExceeded, StreamdetError
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.config import ServedDetector
from bluesky_streamdet.service.dataplane import DataPlaneProcess, NotRunning, command_of
from bluesky_streamdet.service.hook import Hook
from bluesky_streamdet.service.late import LateParameters
from bluesky_streamdet.service.predecessor import PidFile
from bluesky_streamdet.service.serieslog import Describe, SeriesLog, describe
from bluesky_streamdet.streaming.messages import Answer, Command
from bluesky_streamdet.streaming.status import SeriesReport, Status

log = logging.getLogger(__name__)

BACKOFF = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the first, second, … start after a death; the last of them for all that follow."""
STABLE = 30.0
"""A data plane that has lived so many seconds is trusted again."""
PULSE = 0.25
"""Seconds between looks at a data plane that says nothing."""


class Supervisor:
    """One data plane and all that is known of it. Lives in one event loop; `start` it, and `close` it whatever happens.

    NEXT: what happens after a death, for the status. ABSENT: the state of a service that has no data plane now.

    describe: tells what a file holds that was left behind. command, backoff: how a data plane is started, as the
    configuration says when left out, and how long after a death. clock: seconds, monotonic.
    """

    NEXT: ClassVar[str] = "It is started again by itself; then the next series may begin."
    ABSENT: ClassVar[State | Literal["error"]] = "error"

    def __init__(
        self,
        config: ServedDetector,
        describe: Describe = describe,
        command: Sequence[str] = (),
        backoff: Sequence[float] = BACKOFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.restarts = 0
        self.series = SeriesLog(config.files.directory, config.detector, describe, clock)
        self.board = StatusBoard(Status(detector=config.detector, log_level=config.log_level), clock)
        self.hook = Hook(config.files, self._note_hook)
        self.late = LateParameters(config.files.directory, config.detector, self.series.report, config.watch.answer)
        self.series.on_closed = self._after
        self._command = command or command_of(config.PLANE)
        self._backoff = backoff
        self._clock = clock
        self._started_at = datetime.now(UTC)
        self._pid_file = PidFile(config.files.directory, config.detector, config.PLANE)
        self._plane: DataPlaneProcess | None = None
        self._latest: Status | None = None
        self._heard = clock()
        self._trouble: str | None = None
        self._verdict: str | None = None
        self._closing = self._mourning = False
        self._tasks: list[asyncio.Task[None]] = []

    # Life.

    async def start(self) -> None:
        """Start a data plane and await its first status. Raises `StreamdetError` when it can't be started."""
        await self._pid_file.wait_for_predecessor(self.config.watch.drain)
        await self.series.start()
        self.late.retry()
        plane = await self._launch()
        self._look_after(self._keep_running(plane))
        self._look_after(self._look_for_silence())

    async def close(self) -> None:
        """Let the data plane drain and end; what it can't finish in time is closed as interrupted."""
        self._closing = True
        # One that is still starting has nothing to drain.
        started = self._plane if self._latest is not None else None
        if started is not None and not await started.quit(self.config.watch.drain):
            log.warning("the data plane did not end within %g s and is killed", self.config.watch.drain)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._plane is not None:
            await self._lay_out(self._plane, "the service ended before the series was finished")
        await self.late.close()
        await self.hook.close(min(self.config.files.hook_seconds, self.config.watch.drain))
        await self.series.close()
        self.board.close()

    def hurry(self) -> None:
        """End without draining; for who has called `close` and can't wait."""
        self.hook.hurry()
        if self._plane is not None:
            self._plane.kill_now()

    @property
    def process(self) -> int | None:
        """The number of the data plane's process; None while there is none."""
        return self._plane.pid if self._plane is not None else None

    @property
    def ready(self) -> bool:
        """Whether a series can be taken now."""
        return self._latest is not None and self._silence() < self.config.watch.silent

    # What it is told to do.

    async def ask(self, command: Command, timeout: float | None = None) -> tuple[Answer, list[bytes]]:
        """Have the data plane do something. Raises its error, `NotRunning` or `DeadlineExceeded`.

        timeout: seconds; as configured when left out.
        """
        plane = self._plane
        if plane is None or self._latest is None:
            raise NotRunning(f"The data plane does not run. {self._trouble or ''}".rstrip())
        answer, parts = await plane.ask(command, timeout or self.config.watch.answer)
        if answer.status is not None and plane is self._plane:
            self._take(answer.status)
        return answer, parts

    async def kill(self, reason: str) -> None:
        """End a data plane that answers no more, and await the verdict on what ran. Raises `DeadlineExceeded`."""
        plane = self._plane
        if plane is None:
            return
        self._verdict = reason
        if not await plane.kill():
            raise DeadlineExceeded(
                "The data plane was killed and does not end: the operating system waits for its disk.",
                f"Look at the file system of {self.config.files.directory}.",
            )
        while (plane is self._plane or self._mourning) and await self.board.newer_than(self.board.status.revision):
            pass

    def forget_trouble(self) -> None:
        """Somebody has begun a new series; what went wrong before is in the records."""
        self._trouble = None
        self._publish()

    # The data plane's process.

    def _look_after(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have something done until it ends, or the service does."""
        task = asyncio.create_task(work, name=work.__qualname__)
        task.add_done_callback(self._look_at_end)
        self._tasks = [*(one for one in self._tasks if not one.done()), task]
        return task

    def _look_at_end(self, task: asyncio.Task[None]) -> None:
        """Say so when what should go on has failed, as nobody else asks for it."""
        if task.cancelled() or (failure := task.exception()) is None:
            return
        log.error("%s failed by a defect of the service", task.get_name(), exc_info=failure)
        self._trouble = f"A defect of the service: {failure!r}. Start it again, and please report what its log says."
        self._mourning = False
        self._publish()

    async def _launch(self, *, again: bool = False) -> DataPlaneProcess:
        plane = self._plane = DataPlaneProcess(self.config.data_plane(again=again), self._take, self._command)
        try:
            self._pid_file.write(await plane.start())
            await plane.ready(self.config.watch.start)
        except BaseException:
            await self._let_go(plane)
            raise
        return plane

    async def _keep_running(self, plane: DataPlaneProcess) -> None:
        deaths = 0
        while True:
            born = self._clock()
            await plane.ended.wait()
            if self._closing:
                return
            deaths = deaths + 1 if self._clock() - born < STABLE else 1
            await self._mourn(plane)
            plane = await self._relaunch(deaths)

    async def _mourn(self, plane: DataPlaneProcess) -> None:
        verdict, self._verdict = self._verdict or f"{plane.why_it_ended()}{plane.what_it_said()}", None
        why = f"At {time.strftime('%H:%M:%S')} {plane.why_it_ended()}"
        log.warning("%s", why)
        self._mourning = True
        self._trouble = f"{why}. What it was doing is closed."
        lost = await self._lay_out(plane, verdict)
        self._trouble = f"{why}{lost}. {self.NEXT}"
        self._mourning = False
        self._publish()

    async def _lay_out(self, plane: DataPlaneProcess, reason: str) -> str:
        """Let go of a data plane, and close what it was doing. Returns what was lost, in words."""
        latest = await self._let_go(plane)
        if latest is None or latest.series is None:
            return ""
        final = await self.series.interrupt(latest.series, reason)
        where = f", {final.ledger.written} frames of it are readable in {final.file}" if final.file else ""
        return f" while series {final.id} was {latest.state}{where}"

    async def _let_go(self, plane: DataPlaneProcess) -> Status | None:
        """Close a data plane. Returns the last that it said."""
        await plane.close()
        self._pid_file.remove()
        latest, self._latest, self._plane = self._latest, None, None
        return latest

    async def _relaunch(self, deaths: int) -> DataPlaneProcess:
        died = self._trouble
        while True:
            await asyncio.sleep(self._backoff[min(deaths, len(self._backoff)) - 1])
            self._trouble = died
            try:
                plane = await self._launch(again=True)
            except StreamdetError as error:
                deaths += 1
                self._trouble = f"{died} It can't be started yet: {error}"
                log.warning("the data plane can't be started: %s", error)
                self._publish()
            else:
                self.restarts += 1
                log.warning("the data plane was started again")
                return plane

    # What is known.

    def _take(self, status: Status) -> None:
        self._heard = self._clock()
        before, self._latest = self._latest, status
        for report in (status.last_series, status.series):
            if report is not None:
                self.series.note(report)
        last = status.last_series
        if before is not None and last != before.last_series and last is not None and last.outcome is Outcome.COMPLETE:
            self._trouble = None
        self._publish()

    async def _look_for_silence(self) -> None:
        while True:
            await asyncio.sleep(PULSE)
            plane, latest = self._plane, self._latest
            if plane is None or latest is None:
                self._publish()  # So that clients know that we live, where no data plane says anything.
                continue
            if self._silence() < self.config.watch.slow:
                continue
            self._publish()
            if self._silence() >= self.config.watch.silent and latest.series is None:
                log.warning("the data plane has been silent for %.0f s and is started anew", self._silence())
                await plane.kill()

    def _after(self, report: SeriesReport) -> None:
        """What follows when a series has been closed."""
        self.hook.run(report)
        self.late.retry()

    def _note_hook(self, report: SeriesReport) -> None:
        self.series.note(report)
        self._publish()

    def _silence(self) -> float:
        return self._clock() - self._heard

    def _publish(self) -> None:
        self.board.put(self._status())

    def _status(self) -> Status:
        """What the data plane said last, with what only the control plane can know."""
        config = self.config
        status = self._latest or Status(detector=config.detector, log_level=config.log_level)
        # Not as the data plane says: the records know what became of the hook too.
        changes: dict[str, object] = {"last_series": self.series.last, "started_at": self._started_at}
        if self._trouble is not None:
            changes["error"] = self._trouble
        if self._latest is None:
            changes["state"] = "error" if self._trouble is not None else self.ABSENT
        elif self._silence() >= config.watch.slow:
            changes |= self._in_silence(status)
        return status.model_copy(update=changes)

    def _in_silence(self, status: Status) -> dict[str, object]:
        file = status.series.file if status.series is not None else None
        text = f"silent for {self._silence():.0f} s{f' while writing {file}' if file else ''}"
        changes: dict[str, object] = {"slow": f"the data plane, {text}"}
        if self._silence() >= self.config.watch.silent:
            hint = "Its disk may hang. Abort the series to have it started anew." if file else "It is started anew."
            changes |= {"state": "error", "error": f"The data plane has been {text}. {hint}"}
        return changes
