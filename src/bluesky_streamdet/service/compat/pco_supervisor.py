"""The REST interface of the PCO's old supervisor, which started a writer for each series.

    GET  /ack                     {"success": true}
    POST /start_pco_writer        see `pco_request`; {"success": true}, or false with "status", "error", "error_time"
    GET  /status/PORT             {"success": true, "status": "receiving", "writing", "finished", "error" or "unknown"}
    GET  /finished                the summary of the last series, once it has ended; see `pco_account`
    GET  /error                   {"success": true, "status": "error", "error", "error_time"}; 404 when there was none
    GET  /server_log/SERVICE      {"success": true, "log": the last ten lines}
    GET  /server_uptime/SERVICE   {"success": true, "uptime": as systemctl has it}

While a series runs, and only then, the paths of `pco_writer` are on `compat.writer_port`, and the service takes frames.
Between series it has left the camera, so that a client can empty the camera's queue, and frames wait there. All this
holds for series too that others have armed.

Nothing is sent anywhere, and nobody can tell us how a series ended: /finished and /error are for reading.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from bluesky_streamdet.core.errors import Busy, DatasetTaken, RequestRefused, StreamdetError
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.compat import pco_request, pco_writer
from bluesky_streamdet.service.compat.body import body_of
from bluesky_streamdet.service.compat.config import CompatConfig
from bluesky_streamdet.service.compat.listed import application
from bluesky_streamdet.service.compat.pco_account import UNKNOWN, Account, why_failed
from bluesky_streamdet.service.compat.pco_journal import Journal
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.listening import Web, listen
from bluesky_streamdet.service.problems import Refusal, status_of
from bluesky_streamdet.streaming.messages import Stop
from bluesky_streamdet.streaming.status import SeriesReport

log = logging.getLogger(__name__)

REST = 0.5
"""Seconds in which what is on its way is taken after a stop."""
PACKAGE = "bluesky_streamdet"
SERVICES = ("pco_writer-pco1", "pco_writer-pco2")
"""How the old program was called on its machine. The client takes the first where the port is 9901."""
TAKEN = "Dataset name is taken. Please, reconfigure using a unique dataset name."


class PcoSupervisor:
    """What the old program did, for the one camera of a service. Lives in its event loop, as long as it is `living`."""

    def __init__(self, control: Control, board: StatusBoard) -> None:
        self.account, self.journal = Account(board), Journal()
        self._control, self._board = control, board
        self._one_at_a_time = asyncio.Lock()
        config = control.config
        self._sources = [*config.source.endpoints, *self._compat.sources] if isinstance(config, DetectorConfig) else []
        self._followed: str | None = None
        self._web: Web | None = None

    @property
    def _compat(self) -> CompatConfig:
        compat = self._control.config.compat
        assert compat is not None
        return compat

    @asynccontextmanager
    async def living(self, _: Any = None) -> AsyncIterator[None]:
        """Follow the series of the service, whoever arms them."""
        logging.getLogger(PACKAGE).addHandler(self.journal)
        log.info("the writer of %s will answer at port %d", self._control.config.detector, self._compat.writer_port)
        following = asyncio.create_task(self._follow_all(), name="PCO writer")
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait([following])
            await self._end_writer()
            logging.getLogger(PACKAGE).removeHandler(self.journal)

    # What clients ask for.

    async def start(self, request: Request) -> Response:
        """Arm a series, as asked; the answer and /error say why not."""
        try:
            # Read before anybody has to wait for it: a client may never send the rest.
            asked = pco_request.read(await body_of(request))
            async with self._one_at_a_time:
                await self._start(asked)
        except StreamdetError as error:
            text = TAKEN if isinstance(error, DatasetTaken) else str(error)
            self.account.refused = self.account.runs is None
            log.warning("no series was started: %s", text)
            return JSONResponse({"success": False, **self.journal.complain(text)}, status_of(error))
        return JSONResponse({"success": True})

    def status(self, port: str) -> str:
        """Of the writer at this port, which is ours or nobody's."""
        return self.account.state if port == str(self._compat.writer_port) else UNKNOWN

    def finished(self) -> dict[str, Any]:
        """The summary of the last series, if it has ended."""
        nothing = UNKNOWN if self.account.runs is not None else self.account.state
        return self.account.summary() or {"success": False, "status": nothing}

    async def _start(self, asked: pco_request.StartRequest) -> None:
        order = asked.order(self._compat)
        if (running := self.account.runs) is not None:
            raise Busy(f"The writer is running already: series {running.id}.", "Stop it, or wait for its end.")
        await self._end_writer()  # Of a series that has ended this moment.
        await self._connect(asked.connection_address)
        listener = self._listen()
        try:
            series = await self._control.arm(order)
        except BaseException:
            listener.close()
            raise
        self.account.note(series.id, asked.asked)
        self.journal.forgive()
        self._begin_writer(listener)
        self._followed = series.id
        log.info("series %s was started, %s frames into %s", series.id, asked.n_frames or "all", asked.output_file)
        await self._let_frames_come(series)

    async def _let_frames_come(self, series: SeriesReport) -> None:
        try:
            await self._control.pause(False)
        except StreamdetError:
            await self._control.abort(series.id)
            raise

    async def _connect(self, address: str) -> None:
        """Have frames come from there. Raises `RequestRefused` for an address that is none of the camera's."""
        config = self._control.config
        if address not in self._sources or not isinstance(config, DetectorConfig):
            raise RequestRefused(
                f"connection_address {address[:100]!r} is none that this camera sends from.",
                f"It is {' or '.join(self._sources)}; others can be listed in compat.sources.",
            )
        if address not in config.source.endpoints:
            await self._control.set_source(config.source.model_copy(update={"endpoints": [address]}))

    # What happens while a series runs, and behind it.

    async def _follow_all(self) -> None:
        status = self._board.status
        while status is not None:
            try:
                async with self._one_at_a_time:
                    await self._follow()
            except StreamdetError as error:
                # The next status brings another try. A data plane that is ending obeys no more, and is gone by then.
                log.debug("the source does not follow the series yet: %s", error)
            status = await self._board.newer_than(status.revision)

    async def _follow(self) -> None:
        """Have the writer's port and the source follow a series that has begun or ended."""
        status = self._board.status
        series = status.series
        if series is not None and self._followed != series.id:
            self._begin_writer_if_it_can()
            await self._control.pause(False)
            self.account.refused = False
            self._followed = series.id
        elif series is not None:
            self._complain_of(series.reason)
        elif self._followed is not None:
            last = status.last_series
            if last is not None and last.id == self._followed:
                self._complain_of(why_failed(last))
            try:
                await self._control.pause(True)
            finally:
                await self._end_writer()
            self._followed = None

    def _begin_writer_if_it_can(self) -> None:
        """For a series that somebody else has armed, who can do without it."""
        if self._web is not None:
            return
        try:
            self._begin_writer(self._listen())
        except StreamdetError as error:
            self.journal.complain(str(error))
            log.warning("the old writer's interface can't be had: %s", error)

    def _complain_of(self, failure: str) -> None:
        """Say that a series does not get its frames into its file, once."""
        if failure and failure != (self.journal.error or {}).get("error"):
            self.journal.complain(failure)

    def _listen(self) -> socket.socket:
        """The writer's port. Raises `AddressTaken`, `ConfigError`."""
        return listen(self._compat.host, self._compat.writer_port, "compat.writer_port")

    def _begin_writer(self, listener: socket.socket) -> None:
        router = pco_writer.router_of(self._control, self.account, self._stop)
        names = self._control.config.rest.allowed_hosts
        self._web = Web(application(router, self._compat, "pco-writer", names), listener)

    async def _stop(self, id: str) -> None:
        """End a series, after what is on its way, and after `REST` seconds whatever a camera that goes on may send."""
        await self._control.stop(id, Stop())
        try:
            async with asyncio.timeout(REST):
                status = self._board.status
                while status is not None and status.series is not None and status.series.id == id:
                    status = await self._board.newer_than(status.revision)
        except TimeoutError:
            # Without the lock: who has it may be waiting until the writer's port has given this very answer.
            series = self.account.runs
            if series is not None and series.id == id:
                await self._control.pause(True)

    async def _end_writer(self) -> None:
        if self._web is not None:
            self._web.end()
            await self._web.ended()
            self._web = None


def router(control: Control, board: StatusBoard) -> APIRouter:
    """The old paths."""
    supervisor = PcoSupervisor(control, board)
    routes = APIRouter(lifespan=supervisor.living)
    journal = supervisor.journal

    @routes.get("/ack")
    async def ack() -> dict[str, Any]:
        return {"success": True}

    routes.post("/start_pco_writer")(supervisor.start)

    @routes.get("/status/{port}")
    async def status(port: str) -> dict[str, Any]:
        return {"success": True, "status": supervisor.status(port)}

    @routes.get("/finished")
    async def finished() -> dict[str, Any]:
        return supervisor.finished()

    @routes.get("/error")
    async def error() -> dict[str, Any]:
        # Without "success", by which the client would know that there was an error.
        if journal.error is None:
            raise Refusal(404, "no_error", "No error has happened since the last series was started.")
        return {"success": True, **journal.error}

    @routes.get("/server_log/{service}")
    async def server_log(service: str) -> dict[str, Any]:
        _check(service)
        return {"success": True, "log": journal.log}

    @routes.get("/server_uptime/{service}")
    async def server_uptime(service: str) -> dict[str, Any]:
        _check(service)
        return {"success": True, "uptime": journal.uptime}

    return routes


def _check(service: str) -> None:
    """Nobody's journal is read but our own. Raises `Refusal`."""
    if service not in SERVICES:
        raise Refusal(
            404, "no_such_service", f"There is no service {service[:80]!r}.", f"It is {' or '.join(SERVICES)}."
        )
