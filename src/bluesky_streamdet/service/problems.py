"""Every failure of a request as one body, {"error": {"code", "message", "hint"}}, with the right status code."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from bluesky_streamdet.core import errors
from bluesky_streamdet.streaming.problems import problem_of
from bluesky_streamdet.streaming.status import Problem
from bluesky_streamdet.streaming.wording import in_words

log = logging.getLogger(__name__)

STATUS_CODES: dict[type[errors.StreamdetError], int] = {
    errors.Unauthorised: 401,
    errors.NoSuchSeries: 404,
    errors.NoSuchOutput: 404,
    errors.PathRefused: 422,
    errors.RequestRefused: 409,
    errors.AddressTaken: 409,
    errors.ConfigError: 422,
    errors.ServiceUnreachable: 503,
    errors.DeadlineExceeded: 504,
    errors.WriteFailed: 507,
}
"""An error has the code of its own class, or of the nearest above; 500 past that."""

TITLES = {404: "not_found", 405: "method_not_allowed", 406: "not_acceptable", 413: "too_large"}


class ErrorBody(BaseModel):
    """What every failed request answers."""

    error: Problem


class Refusal(HTTPException):
    """A request that is refused for what it is as HTTP; it keeps its status code wherever it is raised."""

    def __init__(self, status_code: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(status_code, message)
        self.problem = Problem(code=code, message=message, hint=hint)


def status_of(error: errors.StreamdetError) -> int:
    """The status code of an error."""
    return next((STATUS_CODES[kind] for kind in type(error).__mro__ if kind in STATUS_CODES), 500)


def answer(status: int, problem: Problem) -> JSONResponse:
    """The one body."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(ErrorBody(error=problem).model_dump(), status, headers)


def answer_for(error: errors.StreamdetError) -> JSONResponse:
    return answer(status_of(error), problem_of(error))


def install(app: FastAPI) -> None:
    """Have `app` answer all its failures so."""
    app.add_exception_handler(errors.StreamdetError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_defect)


async def _on_ours(_: Request, error: Any) -> Response:
    return answer_for(error)


async def _on_invalid(_: Request, error: Any) -> Response:
    faults = error.errors()
    if any(isinstance(one.get("input"), bytes) for one in faults):
        # FastAPI has not looked into it, as curl says that a body is a form unless it is told otherwise.
        message, hint = "The body does not say that it is JSON.", "Send the header Content-Type: application/json."
        return answer(422, Problem(code="invalid_request", message=message, hint=hint))
    return answer(422, Problem(code="invalid_request", message=in_words(faults), hint="See /docs."))


async def _on_http(request: Request, error: Any) -> Response:
    status = error.status_code
    if isinstance(error, Refusal):
        return answer(status, error.problem)
    message = str(error.detail)
    if status in {404, 405}:
        message = f"There is no {request.method} {request.url.path} here."
    return answer(status, Problem(code=TITLES.get(status, "refused"), message=message, hint="See /docs."))


async def _on_defect(request: Request, error: Any) -> Response:
    # It is logged with its traceback by the server, which gets it after this answer.
    message = f"{request.method} {request.url.path} failed by a defect of the service: {type(error).__name__}."
    return answer(500, Problem(code="internal_error", message=message, hint="Its log says more; please report it."))
