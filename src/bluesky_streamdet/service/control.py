"""What clients can ask of a service, in the terms of series and frames; REST is one face of it.

Each request names the series that it means, so that nobody stops another one than they wanted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from bluesky_streamdet.core.errors import DeadlineExceeded, NoSuchSeries, RequestRefused
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.messages import (
    Abort,
    Arm,
    ArmRequest,
    FrameReport,
    GetFrame,
    Instruct,
    SeriesReport,
    SetLogLevel,
    SetParameters,
    Stop,
)

log = logging.getLogger(__name__)

FRAME_AGE = 0.1
"""Seconds for which all who ask for the latest frame get the same one, so that many viewers cost no more than one."""

HARDWARE = 30.0
"""Seconds that hardware may take for an instruction; to restore settings takes several."""

Frame = tuple[FrameReport, list[bytes]]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class NoFrame(NoSuchSeries):
    """No frame has come since the data plane was started."""

    code = "no_frame"


class Control:
    """Carries out requests by the data plane that `supervisor` keeps running. Lives in its event loop."""

    def __init__(self, supervisor: Supervisor, clock: Callable[[], float] = time.monotonic) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._frame: Frame | None = None
        self._frame_at = -FRAME_AGE
        self._fetching = asyncio.Lock()

    async def arm(self, request: ArmRequest) -> SeriesReport:
        """Expect a series. Raises `Busy`, `PathRefused`, `FileTaken`, or `RequestRefused` for an id that is known."""
        if request.id is not None and request.id in self._supervisor.series:
            raise RequestRefused(
                f"There is a series {request.id!r} already.", "Choose another id, or leave it out to have one made."
            )
        answer, _ = await self._supervisor.ask(Arm(request=request))
        assert answer.series is not None
        self._supervisor.series.note(answer.series)
        self._supervisor.forget_trouble()
        return answer.series

    async def stop(self, id: str, how: Stop) -> SeriesReport:
        """End a series after what is on its way. One that has ended stays as it is. Raises `NoSuchSeries`."""
        if self._runs(id):
            await self._supervisor.ask(how)
        return self._supervisor.series.report(id)

    async def abort(self, id: str) -> SeriesReport:
        """End a series now, whatever that takes. One that has ended stays as it is. Raises `NoSuchSeries`."""
        if self._runs(id):
            try:
                await self._supervisor.ask(Abort())
            except DeadlineExceeded:
                log.warning("the data plane does not answer; it is killed to abort series %s", id)
                await self._supervisor.kill("aborted by request; the data plane did not answer and was killed")
        return self._supervisor.series.report(id)

    async def set_parameters(self, id: str, parameters: dict[str, Any]) -> SeriesReport:
        """Add metadata to a series that is armed or runs. Raises `NoSuchSeries`; `RequestRefused` when it has ended."""
        if not self._runs(id):
            raise RequestRefused(
                f"Series {id} has ended; its file is closed.", "Send parameters before its end, or write another file."
            )
        answer, _ = await self._supervisor.ask(SetParameters(parameters=parameters))
        return answer.series or self._supervisor.series.report(id)

    async def set_log_level(self, level: LogLevel) -> None:
        """Let both planes say more, or less."""
        await self._supervisor.ask(SetLogLevel(level=level))
        logging.getLogger("bluesky_streamdet").setLevel(level)

    async def instruct(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Have the detector's hardware do something, and return what it says.

        Raises `RequestRefused` when the data plane owns no hardware, or what that raises.
        """
        answer, _ = await self._supervisor.ask(Instruct(command=command, arguments=arguments), HARDWARE)
        assert answer.result is not None
        return answer.result

    async def frame(self, max_age: float = FRAME_AGE) -> Frame:
        """The latest frame, or one that was the latest `max_age` seconds ago, and its parts. Raises `NoFrame`."""
        async with self._fetching:
            if self._frame is None or self._clock() - self._frame_at >= max_age:
                answer, parts = await self._supervisor.ask(GetFrame())
                self._frame = (answer.frame, parts) if answer.frame is not None else None
                self._frame_at = self._clock()
            frame = self._frame
        if frame is None:
            raise NoFrame("No frame has come yet.", "Start a series; the status says who is connected.")
        return frame

    def _runs(self, id: str) -> bool:
        """Whether series `id` is the one that is armed or runs. Raises `NoSuchSeries` when it never was."""
        current = self._supervisor.board.status.series
        if current is not None and current.id == id:
            return True
        if id not in self._supervisor.series:
            also = f" Series {current.id} runs." if current is not None else ""
            raise NoSuchSeries(f"There is no series {id!r}.{also}", "GET /api/v1/series lists the last ones.")
        return False
