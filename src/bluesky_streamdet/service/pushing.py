"""What a service pushes over WebSockets: its status, one series until its end, and the picture of the latest frame.

None of them waits for a client, or keeps anything for one: who is slow gets the newest when it is ready for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, WebSocket, WebSocketDisconnect
from fastapi.requests import HTTPConnection
from starlette.exceptions import HTTPException

from bluesky_streamdet.core.errors import NoSuchSeries, StreamdetError
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.gate import PROTOCOL
from bluesky_streamdet.service.live import SLOWEST, Live
from bluesky_streamdet.service.serieslog import SeriesLog
from bluesky_streamdet.streaming.status import SeriesEvent, Status

FOLLOWED, ENDING, UNKNOWN = 1000, 1001, 4404
"""Codes with which a WebSocket is closed: all was said; the service ends; there is no such series."""


def _control(connection: HTTPConnection) -> Control:
    return connection.app.state.control


def _board(connection: HTTPConnection) -> StatusBoard:
    return connection.app.state.board


def _log(connection: HTTPConnection) -> SeriesLog:
    return connection.app.state.series


def _live(connection: HTTPConnection) -> Live:
    return connection.app.state.live


Asked = Annotated[Control, Depends(_control)]
Board = Annotated[StatusBoard, Depends(_board)]
Log = Annotated[SeriesLog, Depends(_log)]
Pictures = Annotated[Live, Depends(_live)]
Id = Annotated[str, Path(description="of the series", max_length=80)]

router = APIRouter()


@router.websocket("/events")
async def events(socket: WebSocket, board: Board) -> None:
    """The status at each change, and once a second at least. What the client sends is ignored."""
    await _push(socket, _send_statuses(socket, board))


@router.websocket("/series/{id}/events")
async def series_events(socket: WebSocket, board: Board, log: Log, id: Id) -> None:
    """One series at each change of its account, until it is closed and its hook has ended; then the socket is closed.

    The last message is its end, whatever began meanwhile, and however slow the client is.
    """
    await _push(socket, _send_series(socket, board, log, id))


@router.websocket("/live")
async def live(
    socket: WebSocket,
    board: Board,
    pictures: Pictures,
    every: Annotated[float, Query(ge=0.1, le=SLOWEST, description="seconds between pictures at least")] = 1.0,
    downsample: Annotated[int, Query(ge=0, le=256, description="0: so that it fits a screen")] = 0,
) -> None:
    """The latest frame as a picture, as often as asked and as frames come: which it is, as JSON, then a PNG."""
    await _push(socket, _send_pictures(socket, board, pictures, every, downsample))


async def _push(socket: WebSocket, sending: Coroutine[Any, Any, int]) -> None:
    """Send until there is no more to say, or the client is gone. sending: returns the code to close with."""
    await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
    speaking, listening = asyncio.create_task(sending), asyncio.create_task(_listen(socket))
    try:
        await asyncio.wait([speaking, listening], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (speaking, listening):
            task.cancel()
        await asyncio.wait([speaking, listening])
    if speaking.cancelled():
        return
    failure = speaking.exception()
    if failure is None:
        await socket.close(speaking.result())
    elif not isinstance(failure, WebSocketDisconnect):
        raise failure


async def _send_statuses(socket: WebSocket, board: StatusBoard) -> int:
    current: Status | None = board.status
    while current is not None:
        await socket.send_text(current.model_dump_json())
        current = await board.newer_than(current.revision)
    return ENDING


async def _send_series(socket: WebSocket, board: StatusBoard, log: SeriesLog, id: str) -> int:
    said = None
    while True:
        ending, revision = board.closed, board.status.revision
        try:
            report = log.report(id)
        except NoSuchSeries:
            return UNKNOWN
        if report != said:
            await socket.send_text(SeriesEvent(revision=revision, series=report).model_dump_json())
            said = report
        if report.outcome is not None and (report.hook is None or not report.hook.running):
            return FOLLOWED
        if ending:
            return ENDING
        await board.newer_than(revision)


async def _send_pictures(socket: WebSocket, board: StatusBoard, pictures: Live, every: float, factor: int) -> int:
    shown = None
    while not board.closed:
        status = board.status
        try:
            picture = await pictures.newest(every, factor)
        except (StreamdetError, HTTPException):
            picture = None  # None has come, or none can be drawn; the status says more.
        if picture is not None and picture.about != shown:
            await socket.send_text(picture.about)
            await socket.send_bytes(picture.png)
            shown = picture.about
        await asyncio.sleep(every)
        await board.newer_than(status.revision)
    return ENDING


async def _listen(socket: WebSocket) -> None:
    """Return when the client is gone."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
