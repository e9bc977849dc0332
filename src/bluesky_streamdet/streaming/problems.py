"""Errors as they cross a process or the network, and back: the same class, code, message and hint on both sides."""

from __future__ import annotations

from bluesky_streamdet.core.errors import BY_CODE, StreamdetError
from bluesky_streamdet.streaming.status import Problem


def problem_of(error: StreamdetError) -> Problem:
    """What crosses of an error."""
    return Problem(code=error.code, message=error.message, hint=error.hint)


def error_of(problem: Problem, otherwise: type[StreamdetError] = StreamdetError) -> StreamdetError:
    """The error that crossed, to be raised again. `otherwise` is its class when nobody here knows its code."""
    kind = BY_CODE.get(problem.code, otherwise)
    # Not by the class's own constructor: that may compose its message from other arguments.
    error = kind.__new__(kind)
    StreamdetError.__init__(error, problem.message, problem.hint)
    error.code = problem.code
    return error
