"""Who may use an old program's interface, which knew no keys: the clients that the configuration lists."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers
from starlette.types import Scope

from bluesky_streamdet.service import problems
from bluesky_streamdet.service.compat.config import CompatConfig
from bluesky_streamdet.service.gate import Gate, address_of
from bluesky_streamdet.service.problems import Refusal

FROM_ELSEWHERE = frozenset({"cross-site", "same-site"})
"""What browsers say, in a header that no page can change, of a request that a page of another origin made."""


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
        # Some old programs change their state by GET, which a page can have a browser do by showing a picture.
        if headers.get("sec-fetch-site") in FROM_ELSEWHERE:
            raise Refusal(403, "origin_not_allowed", "A page of another site may not use this service.")


def application(router: APIRouter, config: CompatConfig, dialect: str, names: Sequence[str]) -> FastAPI:
    """The web application of these paths. names: hosts by which clients may call this machine, besides those it has."""
    app = FastAPI(title=f"streamdet, as the {dialect} that was here before", docs_url=None, redoc_url=None)
    app.include_router(router)
    problems.install(app)
    app.add_middleware(Gate, admission=Listed(config.allow), names=[config.host, *names])
    return app
