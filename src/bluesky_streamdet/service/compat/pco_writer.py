"""The REST interface of the PCO's old writer, which lived as long as its series did.

    GET  /status       {"status": "receiving" | "writing" | "finished", "success": "True", "value": "Ok"}
    GET  /stop         the same; the series ends after what is on its way
    GET  /kill         the same with "killed"; it ends now, with what is in the file
    GET  /statistics   {"n_frames", "n_received_frames", "n_written_frames", "n_lost_frames", "first_frame_id",
                        "user_id", "start_time", "end_time", "receiving_rate", "writing_rate", "status", "success"}
    GET  /parameters   {name: value} of those that were set for this series, or null
    POST /parameters   {name: value, …} to {"message": "Parameters set."}; they go into the file

Two of them change something by GET, which is why only listed clients may use them. What can't be done is answered with
its status code and "success": false; "value" says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bluesky_streamdet.core.errors import NoSuchSeries, StreamdetError
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.compat.body import body_of
from bluesky_streamdet.service.compat.pco_account import YES, Account
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.problems import status_of
from bluesky_streamdet.streaming.messages import Stop

End = Callable[[str], Awaitable[None]]
"""Ends the series of an id."""


class Writer:
    """What the old program did to the one series that it had."""

    def __init__(self, control: Control, account: Account, stop: End) -> None:
        self.account = account
        self._control, self._stop = control, stop
        self._parameters: tuple[str, dict[str, Any]] = ("", {})

    def said(self) -> dict[str, Any]:
        return {"status": self.account.state, "success": YES, "value": "Ok"}

    async def stop(self) -> dict[str, Any]:
        if (series := self.account.runs) is not None:
            await self._stop(series.id)
        return self.said()

    async def kill(self) -> dict[str, Any]:
        if (series := self.account.runs) is not None:
            await self._control.abort(series.id)
        return {**self.said(), "status": "killed"}

    @property
    def parameters(self) -> dict[str, Any] | None:
        """Those that were set for the series that runs."""
        id, values = self._parameters
        series = self.account.runs
        return values if series is not None and series.id == id else None

    async def set_parameters(self, values: dict[str, Any]) -> dict[str, Any]:
        """Raises `NoSuchSeries` when none runs."""
        series = self.account.runs
        if series is None:
            raise NoSuchSeries("No series runs that the parameters could go to.")
        await self._control.set_parameters(series.id, values)
        self._parameters = series.id, {**(self.parameters or {}), **values}
        return {"message": "Parameters set."}

    async def answer(self, act: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
        """Do what is asked, and say how it went."""
        try:
            return JSONResponse(await act())
        except StreamdetError as error:
            return JSONResponse({**self.said(), "success": False, "value": str(error)}, status_of(error))


def router(control: Control, board: StatusBoard) -> APIRouter:
    """The old paths, for a service whose series are armed by others."""

    async def stop(id: str) -> None:
        await control.stop(id, Stop())

    return router_of(control, Account(board), stop)


def router_of(control: Control, account: Account, stop: End) -> APIRouter:
    """The old paths, which tell of the series as `account` does. stop: ends a series."""
    routes, writer = APIRouter(), Writer(control, account, stop)

    @routes.get("/status")
    async def status() -> dict[str, Any]:
        return writer.said()

    @routes.get("/statistics")
    async def statistics() -> dict[str, Any]:
        return account.statistics()

    @routes.get("/stop")
    async def end() -> Response:
        return await writer.answer(writer.stop)

    @routes.get("/kill")
    async def kill() -> Response:
        return await writer.answer(writer.kill)

    @routes.get("/parameters")
    async def parameters() -> dict[str, Any] | None:
        return writer.parameters

    @routes.post("/parameters")
    async def set_parameters(request: Request) -> Response:
        async def act() -> dict[str, Any]:
            return await writer.set_parameters(await body_of(request))

        return await writer.answer(act)

    return routes
