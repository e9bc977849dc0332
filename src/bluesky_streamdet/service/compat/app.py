"""The web application of an old program: its paths, for the clients that the configuration lists."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers
from starlette.types import Scope

from bluesky_streamdet.service import problems
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.compat import receiver, repeater
from bluesky_streamdet.service.compat.config import CompatConfig
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.gate import Gate, address_of
from bluesky_streamdet.service.problems import Refusal

ROUTERS: dict[str, Callable[[Control, StatusBoard], APIRouter]] = {
    "receiver": receiver.router,
    "repeater": repeater.router,
}
"""For each dialect of `compat.config.DIALECTS`."""


class Listed:
    """Who calls from one of these addresses or networks may do what the old program let everybody do."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(one, strict=False) for one in networks]

    def __call__(self, scope: Scope, headers: Headers) -> None:
        address = address_of(scope)
        if address is None or not any(address in one for one in self._networks):
            raise Refusal(
                403,
                "address_not_listed",
                f"The old interface is not open to {address or 'a client without an address'}.",
                "Add it to compat.allow in the configuration of the service.",
            )


def create_app(config: CompatConfig, control: Control, board: StatusBoard, names: Sequence[str]) -> FastAPI:
    """names: hosts by which clients may call this machine, besides those it has."""
    app = FastAPI(title=f"streamdet, as the {config.dialect} that was here before", docs_url=None, redoc_url=None)
    app.include_router(ROUTERS[config.dialect](control, board))
    problems.install(app)
    app.add_middleware(Gate, admission=Listed(config.allow), names=[config.host, *names])
    return app
