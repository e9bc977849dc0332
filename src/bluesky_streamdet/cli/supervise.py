"""`streamdet supervise`: several cameras behind one address, with one writer process for each series."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def supervise(
    config: Annotated[Path, typer.Argument(help="a YAML file of detectors, as for `streamdet serve`")],
    names: Annotated[list[str] | None, typer.Argument(help="of cameras in the file; all of them if left out")] = None,
    host: Annotated[str | None, typer.Option(help="where it answers; as in the file when left out")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="of REST and pages; 0 takes any")] = None,
) -> None:
    """Serve several cameras of one file, until Ctrl-C; then what is on its way is still written.

    Each camera is at /cameras/NAME, where it has what a service has. A process that receives and writes runs from the
    arm of a series to its end; when it dies, the series is closed with what is on disk, and says why. Exits 1 when the
    service can't start.
    """
    import asyncio
    import logging

    # Before NumPy's friends start: threads that wait for work by turning would take the writers' processors.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bluesky_streamdet.service.config import load_cameras
    from bluesky_streamdet.service.console import run_cameras

    cameras, rest = load_cameras(config, names or ())
    rest = rest.model_copy(update={key: one for key, one in (("host", host), ("port", port)) if one is not None})
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run_cameras(cameras, rest, sys.stdout))
