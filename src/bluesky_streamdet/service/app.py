"""The web application: REST, live page, description, metrics and probes, behind one gate."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from bluesky_streamdet import __version__
from bluesky_streamdet.service import metrics, problems, reference, routes
from bluesky_streamdet.service.config import RestConfig
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.gate import Gate, WithKey
from bluesky_streamdet.service.keys import ApiKey
from bluesky_streamdet.service.live import Live
from bluesky_streamdet.service.supervisor import Supervisor

PAGE = "page.html"


def create_app(supervisor: Supervisor, key: ApiKey, rest: RestConfig | None = None) -> FastAPI:
    """The application of one detector. The supervisor is started and closed by whoever made it.

    rest: where it is served, which the detector's own configuration says when left out.
    """
    app = FastAPI(
        title=f"streamdet: {supervisor.config.detector}",
        version=__version__,
        description="Receives, writes and forwards the frames of a detector.",
        # Its own pages load their looks from the internet, which a beamline does not have.
        docs_url=None,
        redoc_url=None,
    )
    app.state.control = Control(supervisor)
    app.state.board = supervisor.board
    app.state.series = supervisor.series
    app.state.live = Live(app.state.control)
    app.include_router(routes.router)
    _add_pages(app, supervisor)
    problems.install(app)
    rest = rest or supervisor.config.rest
    app.add_middleware(Gate, admission=WithKey(key), names=[rest.host, *rest.allowed_hosts])
    return app


def _add_pages(app: FastAPI, supervisor: Supervisor) -> None:
    page = files(__package__).joinpath(PAGE).read_text(encoding="utf-8")
    page_headers = {"Content-Security-Policy": policy(page), "Cache-Control": "no-cache"}

    @app.get("/", include_in_schema=False)
    async def live_page() -> Response:
        return HTMLResponse(page, headers=page_headers)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        text = reference.page(app.openapi())
        return HTMLResponse(text, headers={"Content-Security-Policy": policy(text)})

    @app.get("/healthz", tags=["probes"])
    async def healthz() -> dict[str, str]:
        """Whether the service lives."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["probes"], responses={503: {"description": "Not now"}})
    async def readyz() -> Response:
        """Whether a series can be taken; 503 when not."""
        ready = supervisor.ready
        text = "ready" if ready else (supervisor.board.status.error or "the data plane does not answer")
        return JSONResponse({"status": text}, 200 if ready else 503)

    @app.get("/metrics", tags=["probes"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def show_metrics() -> Response:
        """Counters and gauges for Prometheus."""
        return Response(metrics.exposition(supervisor), media_type=CONTENT_TYPE_LATEST)


def policy(page: str) -> str:
    """A content security policy that lets a page run the scripts that stand in it, and talk to us alone."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts]
    allowed = " ".join(hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
