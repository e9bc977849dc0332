"""The REST interface, version 1: what can be read and asked of a service under /api/v1."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, ValidationError

from bluesky_streamdet.service import frames, pushing
from bluesky_streamdet.service.control import FRAME_AGE, LogLevel
from bluesky_streamdet.service.problems import ErrorBody
from bluesky_streamdet.service.pushing import Asked, Board, Id, Log
from bluesky_streamdet.streaming.endpoints import OutputConfig, Outputs, SourceConfig
from bluesky_streamdet.streaming.messages import ArmRequest, Parameters, Stop
from bluesky_streamdet.streaming.status import FrameTotal, OutputState, SeriesReport, Status

Name = Annotated[str, Path(description="of the output", max_length=80)]

FAILURES: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorBody, "description": "The key is missing or wrong"},
    422: {"model": ErrorBody, "description": "The request says what can't be"},
    503: {"model": ErrorBody, "description": "The data plane is being started again"},
    504: {"model": ErrorBody, "description": "The data plane did not answer in time"},
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "There is no such series"}}
NO_OUTPUT: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "There is no such output"}}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": ErrorBody, "description": "Busy, or the file exists"}}

# The gate checks the key before anything else; this makes the key part of the description.
CHANGES = [Security(HTTPBearer(auto_error=False, description="The API key"))]

router = APIRouter(prefix="/api/v1", responses=FAILURES)


class LogLevelRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    level: LogLevel


@router.get("/status")
async def status(board: Board) -> Status:
    """The whole state of the service."""
    return board.status


@router.post("/series", status_code=201, responses=CONFLICT, dependencies=CHANGES)
async def arm(control: Asked, http: Request, response: Response, request: ArmRequest | None = None) -> SeriesReport:
    """Expect a series: of the next frames, or of those that already wait."""
    report = await control.arm(request or ArmRequest())
    response.headers["Location"] = f"{http.scope.get('root_path', '')}{router.prefix}/series/{report.id}"
    return report


@router.get("/series")
async def list_series(log: Log, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[SeriesReport]:
    """The last series, the newest first."""
    return log.newest_first()[:limit]


@router.get("/series/{id}", responses=NOT_FOUND)
async def series(log: Log, id: Id) -> SeriesReport:
    """One series with its ledger, also after a restart of the service."""
    return log.report(id)


@router.post("/series/{id}/stop", responses=NOT_FOUND, dependencies=CHANGES)
async def stop(control: Asked, id: Id, request: Stop | None = None) -> SeriesReport:
    """End a series after what is on its way has been written; its outcome follows in the status."""
    return await control.stop(id, request or Stop())


@router.post("/series/{id}/abort", responses=NOT_FOUND, dependencies=CHANGES)
async def abort(control: Asked, id: Id) -> SeriesReport:
    """End a series now; what is not in the file yet is discarded and counted."""
    return await control.abort(id)


@router.patch("/series/{id}/parameters", responses=NOT_FOUND | CONFLICT, dependencies=CHANGES)
async def set_parameters(control: Asked, id: Id, parameters: Parameters) -> SeriesReport:
    """Add metadata to a series that is armed, runs, or has ended; it goes into the file.

    While that file is being written for another series, what comes for an earlier one waits for its end.
    """
    return await control.set_parameters(id, parameters)


@router.get(
    "/frame",
    response_class=Response,
    responses=NOT_FOUND | {200: {"content": {form.media_type: {} for form in frames.FORMS.values()}}},
)
async def frame(
    control: Asked,
    accept: Annotated[str, Header()] = "*/*",
    form: Annotated[str | None, Query(alias="format", pattern=f"^({'|'.join(frames.FORMS)})$")] = None,
    downsample: Annotated[int, Query(ge=1, le=256)] = 1,
    max_age: Annotated[float, Query(ge=0, le=10, description="seconds; 0 for the very latest")] = FRAME_AGE,
) -> Response:
    """The latest frame, by Accept or ?format=: a picture or its pixels, taken together in blocks by `downsample`."""
    name = form or frames.choose(accept)
    report, parts = await control.frame(max_age)
    body = await asyncio.to_thread(frames.encode, name, report, parts, downsample)
    return Response(body, media_type=frames.FORMS[name].media_type, headers=frames.headers_of(report, downsample))


@router.get("/frame/total", responses=NOT_FOUND)
async def frame_total(control: Asked) -> FrameTotal:
    """Counts of the very latest frame, for whoever does not want all its pixels."""
    report, parts = await control.frame(0.0)
    return await asyncio.to_thread(frames.total_of, report, parts)


@router.get("/outputs")
async def outputs(control: Asked) -> list[OutputState]:
    """The ports of the fan-out: who is connected, what was sent, skipped and dropped, and what is asked of each."""
    return control.outputs()


@router.put("/outputs", responses=CONFLICT, dependencies=CHANGES)
async def set_outputs(control: Asked, outputs: Outputs) -> list[OutputState]:
    """Have these outputs and no others; those that stay as they are stream on. All of it is done, or nothing."""
    await control.set_outputs(outputs)
    return control.outputs()


@router.put("/outputs/{name}", responses=CONFLICT, dependencies=CHANGES)
async def set_output(control: Asked, name: Name, settings: dict[str, Any]) -> list[OutputState]:
    """Add an output, or change one, while the others stream on."""
    try:
        output = OutputConfig.model_validate({**settings, "name": name})
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from error
    await control.set_output(output)
    return control.outputs()


@router.delete("/outputs/{name}", responses=NO_OUTPUT, dependencies=CHANGES)
async def remove_output(control: Asked, name: Name) -> list[OutputState]:
    """Close an output, while the others stream on."""
    await control.remove_output(name)
    return control.outputs()


@router.get("/source")
async def source(control: Asked) -> SourceConfig:
    """Where frames come from, with all that was said of it."""
    return control.source


@router.put("/source", responses=CONFLICT, dependencies=CHANGES)
async def set_source(control: Asked, board: Board, source: SourceConfig) -> Status:
    """Take frames from elsewhere, after what has come."""
    await control.set_source(source)
    return board.status


@router.post("/pause", responses=CONFLICT, dependencies=CHANGES)
async def pause(control: Asked, board: Board) -> Status:
    """Take nothing more from the detector, so that one that pushes waits."""
    await control.pause(True)
    return board.status


@router.post("/resume", responses=CONFLICT, dependencies=CHANGES)
async def resume(control: Asked, board: Board) -> Status:
    """Take again what comes from the detector."""
    await control.pause(False)
    return board.status


@router.get("/detector")
async def detector(control: Asked) -> dict[str, Any]:
    """The state of the detector's hardware, where this service owns it."""
    return await control.instruct("state", {})


@router.post("/detector/{command}", responses=CONFLICT, dependencies=CHANGES)
async def instruct(
    control: Asked,
    command: Annotated[str, Path(pattern="^[a-z_]{1,40}$", description="which the hardware's reference page lists")],
    arguments: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Have the detector's hardware do something; returns what it says to that."""
    return await control.instruct(command, arguments or {})


@router.put("/log-level", dependencies=CHANGES)
async def set_log_level(control: Asked, board: Board, request: LogLevelRequest) -> Status:
    """Let the service say more, or less."""
    await control.set_log_level(request.level)
    return board.status


router.include_router(pushing.router)
