"""The web application of an old program: its paths, for the clients that the configuration lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, FastAPI

from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.compat import pco_supervisor, pco_writer, receiver, repeater
from bluesky_streamdet.service.compat.config import CompatConfig
from bluesky_streamdet.service.compat.listed import application
from bluesky_streamdet.service.control import Control

ROUTERS: dict[str, Callable[[Control, StatusBoard], APIRouter]] = {
    "receiver": receiver.router,
    "repeater": repeater.router,
    "pco-writer": pco_writer.router,
    "pco-supervisor": pco_supervisor.router,
}
"""For each dialect of `compat.config.DIALECTS`."""


def create_app(config: CompatConfig, control: Control, board: StatusBoard, names: Sequence[str]) -> FastAPI:
    """To be served with its lifespan. names: hosts by which clients may call this machine, besides those it has."""
    return application(ROUTERS[config.dialect](control, board), config, config.dialect, names)
