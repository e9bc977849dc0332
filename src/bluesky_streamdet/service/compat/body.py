"""The body of a request to an old program, whose clients don't all say that it is JSON."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from bluesky_streamdet.core.errors import ConfigError


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object that came, empty when nothing came. Raises `ConfigError`."""
    text = await request.body()
    try:
        values = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise ConfigError("The body is no JSON.") from error
    if not isinstance(values, dict):
        raise ConfigError("The body is no JSON object.")
    return values
