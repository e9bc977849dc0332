"""The REST interface of the stream receiver that this service takes the place of.

    GET  /status            {"state": "idle" | "running" | "error" [, "error": text]}
    GET  /received_frames   {"value": frames of the series that runs, or of the last one}
    GET  /downsample        {"value": N}
    POST /downsample?value=N
    GET  /last_frame        the latest frame, its blocks of N x N pixels taken together

The old program answered /last_frame with a pickle, which whoever reads it has to trust. Here it is MessagePack, a list
of the header and the pixels as bytes, or what Accept asks for of the forms that /api/v1/frame has.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Header, Query, Response

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.service import frames
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.streaming.status import Status

PORT = 5000
LARGEST_FACTOR = 256


def router(control: Control, board: StatusBoard) -> APIRouter:
    """The old paths. The factor of /downsample is the same for all clients, as it was."""
    routes = APIRouter()
    factor = 1

    @routes.get("/status")
    async def status() -> dict[str, str]:
        """Idle until a header has come, running until the file is closed."""
        return _state(board.status)

    @routes.get("/received_frames")
    async def received_frames() -> dict[str, int]:
        """Of the series that runs, with those that are not written; of the last one when none runs."""
        series = board.status.series or board.status.last_series
        return {"value": 0 if series is None else series.ledger.received}

    @routes.get("/downsample")
    async def downsample() -> dict[str, int]:
        return {"value": factor}

    @routes.post("/downsample")
    async def set_downsample(value: Annotated[int, Query(ge=1, le=LARGEST_FACTOR)]) -> dict[str, int]:
        nonlocal factor
        factor = value
        return {"value": factor}

    @routes.get("/last_frame", response_class=Response)
    async def last_frame(accept: Annotated[str, Header()] = "*/*") -> Response:
        """The latest frame; 404 when none has come."""
        report, parts = await control.frame()
        name = frames.choose(accept) if _is_choosy(accept) else None
        if name is not None:
            body = await asyncio.to_thread(frames.encode, name, report, parts, factor)
            return Response(body, media_type=frames.FORMS[name].media_type, headers=frames.headers_of(report, factor))
        body = await asyncio.to_thread(_header_and_pixels, report, parts, factor)
        return Response(body, media_type="application/msgpack", headers=frames.headers_of(report, factor))

    return routes


def _state(status: Status) -> dict[str, str]:
    if status.error is not None:
        return {"state": "error", "error": status.error}
    return {"state": "running" if status.state in {State.RUNNING, State.FINISHING} else "idle"}


def _is_choosy(accept: str) -> bool:
    return "*/*" not in accept


def _header_and_pixels(report: Any, parts: list[bytes], factor: int) -> bytes:
    """The old list [header, blob], with the pixels decoded."""
    pixels = np.ascontiguousarray(frames.pixels_of(report, parts, factor))
    header = {
        "htype": "image",
        "frame": report.number,
        "shape": pixels.shape,
        "type": pixels.dtype.name,
        "compression": "none",
    }
    return msgspec.msgpack.encode([header, pixels.tobytes()])
