"""The web application of several cameras: each one's own below /cameras/NAME, and what is of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from bluesky_streamdet import __version__
from bluesky_streamdet.service import app as of_one
from bluesky_streamdet.service import metrics, problems, reference
from bluesky_streamdet.service.config import RestConfig
from bluesky_streamdet.service.gate import Gate, WithKey
from bluesky_streamdet.service.keys import ApiKey
from bluesky_streamdet.service.problems import Refusal
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.status import CameraReport

PAGE = "cameras.html"
FOLDER = "/cameras"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Supervisors = Mapping[str, Supervisor]


def create_app(supervisors: Supervisors, key: ApiKey, rest: RestConfig) -> FastAPI:
    """supervisors: by the names of their cameras; they are started and closed by whoever made them."""
    # Each application behind this one has a gate of its own.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for name, one in supervisors.items():
        app.mount(f"{FOLDER}/{name}", of_one.create_app(one, key, rest))
    app.mount("/", _of_all(supervisors, key, rest))
    return app


def _of_all(supervisors: Supervisors, key: ApiKey, rest: RestConfig) -> FastAPI:
    app = FastAPI(
        title="streamdet: cameras",
        version=__version__,
        description=f"Receives and writes the frames of {', '.join(supervisors)}. Each has an interface of its own "
        f"below {FOLDER}/NAME, which is described at {FOLDER}/NAME/docs.",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_reading(supervisors))
    _add_pages(app)
    problems.install(app)
    app.add_middleware(Gate, admission=WithKey(key), names=[rest.host, *rest.allowed_hosts])
    return app


def _reading(supervisors: Supervisors) -> APIRouter:
    router = APIRouter()

    @router.get("/api/v1/cameras")
    async def cameras() -> list[CameraReport]:
        """All cameras: where each is, and how it is."""
        return [report_of(name, one) for name, one in supervisors.items()]

    @router.get("/healthz", tags=["probes"])
    async def healthz() -> dict[str, str]:
        """Whether the service lives."""
        return {"status": "ok"}

    @router.get("/readyz", tags=["probes"], responses={503: {"description": "Not all of them"}})
    async def readyz() -> Response:
        """Whether each camera can take a series; 503 when one can't, which is named."""
        troubles = {name: one.board.status.error or "not ready" for name, one in supervisors.items() if not one.ready}
        text = "; ".join(f"{name}: {trouble}" for name, trouble in troubles.items()) or "ready"
        return JSONResponse({"status": text}, 503 if troubles else 200)

    @router.get("/metrics", tags=["probes"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def show_metrics() -> Response:
        """Counters and gauges of all cameras, for Prometheus."""
        return Response(metrics.exposition(*supervisors.values()), media_type=CONTENT_TYPE_LATEST)

    @router.get(FOLDER + "/{name}", include_in_schema=False)
    async def camera(name: str) -> Response:
        if name not in supervisors:
            raise unknown(name)
        return RedirectResponse(f"{FOLDER}/{name}/")

    @router.api_route(FOLDER + "/{name}/{path:path}", methods=METHODS, include_in_schema=False)
    async def no_camera(name: str, path: str) -> Response:
        raise unknown(name)

    @router.api_route("/api/v1/{path:path}", methods=METHODS, include_in_schema=False)
    async def of_which(path: str) -> Response:
        own = ", ".join(f"{FOLDER}/{name}" for name in supervisors)
        raise Refusal(
            404, "not_found", f"There is no /api/v1/{path} of all cameras.", f"Each has its own, below {own}."
        )

    def unknown(name: str) -> Refusal:
        return Refusal(404, "no_such_camera", f"There is no camera {name!r}.", f"There are: {', '.join(supervisors)}.")

    return router


def report_of(name: str, supervisor: Supervisor) -> CameraReport:
    """What is said of one camera among the others."""
    config = supervisor.config
    old = config.compat
    return CameraReport(
        name=name,
        kind=config.kind,
        origin=config.origin,
        path=f"{FOLDER}/{name}",
        compat=f"{old.dialect} at {old.host}:{old.port}" if old is not None else None,
        writer=supervisor.process,
        status=supervisor.board.status,
    )


def _add_pages(app: FastAPI) -> None:
    page = files(__package__).joinpath(PAGE).read_text(encoding="utf-8")
    headers: dict[str, Any] = {"Content-Security-Policy": of_one.policy(page), "Cache-Control": "no-cache"}

    @app.get("/", include_in_schema=False)
    async def all_cameras() -> Response:
        return HTMLResponse(page, headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        text = reference.page(app.openapi())
        return HTMLResponse(text, headers={"Content-Security-Policy": of_one.policy(text)})
