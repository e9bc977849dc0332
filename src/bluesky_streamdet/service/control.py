"""What clients can ask of a service, in the terms of series and frames; REST is one face of it.

Each request names the series that it means, so that nobody stops another one than they wanted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from bluesky_streamdet.core.errors import DeadlineExceeded, NoSuchOutput, NoSuchSeries, RequestRefused
from bluesky_streamdet.service.config import DetectorConfig, ServedDetector
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.endpoints import OutputConfig, SourceConfig
from bluesky_streamdet.streaming.messages import (
    Abort,
    Arm,
    ArmRequest,
    GetFrame,
    Instruct,
    Pause,
    SetLogLevel,
    SetOutputs,
    SetParameters,
    SetSource,
    Stop,
)
from bluesky_streamdet.streaming.status import FrameReport, OutputState, SeriesReport

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
        self._changing = asyncio.Lock()

    @property
    def config(self) -> ServedDetector:
        """How the service is set up now."""
        return self._supervisor.config

    @property
    def restarts(self) -> int:
        """How often a data plane died and was started again."""
        return self._supervisor.restarts

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
        """Add metadata to a series, before it starts, while it runs, or when it has ended.

        Raises `NoSuchSeries`; of a series that has ended, what `LateParameters.add` raises.
        """
        if self._runs(id):
            try:
                answer, _ = await self._supervisor.ask(SetParameters(series=id, parameters=parameters))
            except NoSuchSeries:
                log.debug("series %s has ended just now", id)
            else:
                return answer.series or self._supervisor.series.report(id)
        report = self._supervisor.series.report(id)
        await self._supervisor.late.add(report, parameters)
        return report

    async def set_log_level(self, level: LogLevel) -> None:
        """Let both planes say more, or less."""
        await self._supervisor.ask(SetLogLevel(level=level))
        self._supervisor.config.log_level = level
        logging.getLogger("bluesky_streamdet").setLevel(level)

    async def instruct(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Have the detector's hardware do something, and return what it says.

        Raises `RequestRefused` when the data plane owns no hardware, or what that raises.
        """
        answer, _ = await self._supervisor.ask(Instruct(command=command, arguments=arguments), HARDWARE)
        assert answer.result is not None
        return answer.result

    def outputs(self) -> list[OutputState]:
        """What becomes of frames at each output, and what is asked of it."""
        settings = {one.name: one for one in self._supervisor.config.outputs}
        reports = self._supervisor.board.status.outputs
        return [OutputState(**dict(one), settings=settings[one.name]) for one in reports if one.name in settings]

    async def set_outputs(self, outputs: Sequence[OutputConfig]) -> None:
        """Have these outputs; those that stay as they are stream on.

        Raises `ConfigError`, or `AddressTaken` for a port, which name all that is wrong; then nothing has changed.
        """
        async with self._changing:
            await self._set_outputs(outputs)

    async def set_output(self, output: OutputConfig) -> None:
        """Have this output in place of the one of its name, or besides the others. Raises as `set_outputs`."""
        async with self._changing:
            others = [one for one in self._supervisor.config.outputs if one.name != output.name]
            names = [one.name for one in self._supervisor.config.outputs]
            place = names.index(output.name) if output.name in names else len(names)
            await self._set_outputs([*others[:place], output, *others[place:]])

    async def remove_output(self, name: str) -> None:
        """Close an output. Raises `NoSuchOutput`."""
        async with self._changing:
            outputs = self._supervisor.config.outputs
            if name not in [one.name for one in outputs]:
                raise NoSuchOutput(
                    f"There is no output {name!r}.", f"There are: {', '.join(one.name for one in outputs) or 'none'}."
                )
            await self._set_outputs([one for one in outputs if one.name != name])

    async def _set_outputs(self, outputs: Sequence[OutputConfig]) -> None:
        config = self._supervisor.config.changed(outputs=[one.model_dump() for one in outputs])
        await self._supervisor.ask(SetOutputs(outputs=config.outputs))
        self._supervisor.config.outputs = config.outputs

    @property
    def source(self) -> SourceConfig:
        """Where frames come from. Raises `RequestRefused` for a detector that does not send them."""
        config = self._supervisor.config
        if not isinstance(config, DetectorConfig):
            raise RequestRefused(f"The frames of {config.detector} come from no address.")
        return config.source

    async def set_source(self, source: SourceConfig) -> None:
        """Take frames from elsewhere, after what has come. Raises `ConfigError`, `AddressTaken` or `RequestRefused`."""
        async with self._changing:
            config = self._supervisor.config.changed(source=source.model_dump())
            await self._supervisor.ask(SetSource(source=source))
            # So that a data plane which has to be started anew does the same.
            self._supervisor.config = config

    async def pause(self, paused: bool) -> None:
        """Take nothing more from the detector, so that one that pushes waits; or go on. Raises `RequestRefused`."""
        await self._supervisor.ask(Pause(paused=paused))
        self._supervisor.config.paused = paused

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
