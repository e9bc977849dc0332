"""`streamdet serve`: one detector's service, and what it does, line by line."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bluesky_streamdet.service.config import DetectorConfig


def serve(
    config: Annotated[
        str | None, typer.Argument(help="a YAML file, or the name of a detector (see `streamdet detectors`)")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="of the detector in the file, if it has several")] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--from", help="without a file: where frames come from, as tcp://HOST:PORT"),
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="without a file: where files go")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="of REST and page; 0 takes any")] = None,
) -> None:
    """Receive, write and forward the frames of one detector, until Ctrl-C; then what is on its way is still written.

    Prints address and API key, what happens, and once a second how it goes. Exits 1 when it can't start.
    """
    run_service(configuration(config, name, endpoint, directory), port)


def run_service(chosen: DetectorConfig, port: int | None) -> None:
    """Serve until Ctrl-C. port: of REST, as configured when left out. Raises `StreamdetError` at the start."""
    import asyncio
    import logging

    # Before NumPy's friends start: threads that wait for work by turning would take the data plane's processor.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bluesky_streamdet.service.console import run

    if port is not None:
        chosen.rest.port = port
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bluesky_streamdet").setLevel(chosen.log_level)
    asyncio.run(run(chosen, sys.stdout))


def configuration(
    config: str | None, name: str | None, endpoint: str | None = None, directory: Path | None = None
) -> DetectorConfig:
    """From a file, or a row of the catalog. Raises `ConfigError`; `typer.BadParameter` for options that don't fit."""
    from bluesky_streamdet.catalog import DETECTORS
    from bluesky_streamdet.core.errors import ConfigError
    from bluesky_streamdet.service.compat.detectors_yaml import VARIABLE
    from bluesky_streamdet.service.config import for_environment, for_row, load

    if config is None:
        if VARIABLE in os.environ:
            return for_environment()
        raise typer.BadParameter(f"say which detector: a YAML file, or a name of the catalog; {VARIABLE} is not set.")
    path = Path(config)
    if path.is_dir():
        raise ConfigError(f"{config} is a folder.", "Name the YAML file in it.")
    if path.is_file():
        if endpoint is not None or directory is not None:
            raise typer.BadParameter("--from and --directory are for a detector without a file; the file has both.")
        return load(path, name)
    if config in DETECTORS and name is None:
        return for_row(config, endpoint, directory)
    if path.suffix or len(path.parts) > 1:
        raise ConfigError(f"There is no file {path.absolute()}.", "Mend its name.")
    close = get_close_matches(config, DETECTORS, n=1)
    raise ConfigError(
        f"There is no file {config}, and no detector of that name.",
        f"Did you mean {close[0]}?" if close else f"The catalog has: {', '.join(DETECTORS)}.",
    )
