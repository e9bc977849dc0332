"""`streamdet crystfel geometry` and `command`: what indexamajig has to be told of our frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlparse

import typer

from bluesky_streamdet.core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
    from bluesky_streamdet.streaming.status import CrystfelReport

USUAL_URL = "http://127.0.0.1:8010"

Source = Annotated[str, typer.Argument(help="URL of a running service, or a file that one wrote")]
Name = Annotated[str | None, typer.Option("--endpoint", help="of the service, if it has several for CrystFEL")]


def geometry(
    source: Source = USUAL_URL,
    endpoint: Name = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="file; left out, it is printed")] = None,
    form: Annotated[str | None, typer.Option("--format", help="msgpack or hdf5, where no service says it")] = None,
    pixels: Annotated[str | None, typer.Option("--type", help="i4 or f4, where no service says it")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="m, in place of what the detector says")] = None,
    beam: Annotated[
        tuple[float, float] | None, typer.Option(help="column and row of the beam, in place of what the detector says")
    ] = None,
    distance: Annotated[float | None, typer.Option(help="mm, as a number rather than one of each frame")] = None,
    photon_energy: Annotated[float | None, typer.Option(help="eV, as a number rather than one of each frame")] = None,
    mask: Annotated[
        str | None, typer.Option(help="FILE:/DATASET, HDF5 where indexamajig runs; not 0 where a pixel is bad")
    ] = None,
) -> None:
    """Write a geometry file for indexamajig, of what a service's detector or a file says.

    Rows and columns of pixels without counts in the last frame part the detector into panels; modules that come one
    below another are panels, where the header says their places.
    """
    from bluesky_streamdet.core.geometry import described
    from bluesky_streamdet.streaming.crystfel.geometry import MaskFile, geometry_file

    known = _of_service(source, endpoint) if source.startswith(("http://", "https://")) else _of_file(Path(source))
    settings = {name: value for name, value in (("format", form), ("type", pixels)) if value is not None}
    config = _changed(known.config, settings)
    where = described(
        known.said,
        known.shape,
        pixel=pixel_size,
        beam=beam,
        distance=None if distance is None else distance / 1e3,
        photon_energy=photon_energy,
        gaps=known.bad if len(known.shape) == 2 else None,
    )
    given = {"distance": distance, "photon_energy": photon_energy}
    fixed = [name for name, value in given.items() if value is not None]
    file, _, dataset = (mask or "").rpartition(":")
    if mask is not None and not file:
        raise ConfigError(f"{mask!r} is no mask.", "Write it as FILE:/DATASET, such as mask.h5:/mask.")
    kept = None if mask is None else MaskFile(file, dataset)
    text = geometry_file(where, config, dtype=known.dtype, fixed=fixed, mask=kept)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text)


def command(
    url: Annotated[str, typer.Argument(help="of the running service")] = USUAL_URL,
    endpoint: Name = None,
    geometry: Annotated[str, typer.Option("--geometry", "-g", help="file by `crystfel geometry`")] = "detector.geom",
    output: Annotated[str, typer.Option("--output", "-o", help="stream file")] = "out.stream",
    jobs: Annotated[int | None, typer.Option("-j", min=1, help="workers; one for each processor if left out")] = None,
    header: Annotated[list[str] | None, typer.Option(help="what else of each frame goes into the stream")] = None,
    indexing: Annotated[str | None, typer.Option(help="methods, as indexamajig has them")] = None,
    cell: Annotated[str | None, typer.Option(help="unit cell file")] = None,
) -> None:
    """Print the command line of indexamajig for a running service, with the options that it needs."""
    from bluesky_streamdet.streaming.crystfel.command import HEADERS, command_line

    report = _report(url, endpoint)
    line = command_line(
        _settings(report, url),
        geometry=geometry,
        output=output,
        jobs=jobs,
        headers=[*HEADERS, *(header or [])],
        indexing=indexing,
        cell=cell,
        host=urlparse(url).hostname,
    )
    typer.echo(line, nl=False)


class _Known(NamedTuple):
    """What is known of a detector: its header, a frame, and the endpoint."""

    said: dict[str, Any]
    shape: tuple[int, ...]
    dtype: str
    bad: NDArray[np.bool_]
    config: CrystfelConfig


def _of_service(url: str, name: str | None) -> _Known:
    """Raises `RequestRefused` while no frame has come."""
    from bluesky_streamdet.service.client import ServiceClient
    from bluesky_streamdet.transforms.masks import masked

    report = _report(url, name)
    with ServiceClient(url) as client:
        pixels = client.frame().pixels
    return _Known(report.header, pixels.shape, pixels.dtype.str, masked(pixels), _settings(report, url))


def _of_file(path: Path) -> _Known:
    from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
    from bluesky_streamdet.streaming.header import read_header

    return _Known(*read_header(path), CrystfelConfig())


def _report(url: str, name: str | None) -> CrystfelReport:
    """Raises `ConfigError` when the service has no such endpoint, or several."""
    from bluesky_streamdet.service.client import ServiceClient

    with ServiceClient(url) as client:
        reports = {report.name: report for report in client.status().crystfel}
    if not reports:
        raise ConfigError(f"The service at {url} has no endpoint for CrystFEL.", "Give it one: crystfel: [{}].")
    if name is None and len(reports) == 1:
        return next(iter(reports.values()))
    if name not in reports:
        asked = "it has several endpoints for CrystFEL" if name is None else f"it has no endpoint {name!r}"
        raise ConfigError(f"Of the service at {url}, {asked}.", f"Give --endpoint: {', '.join(reports)}.")
    return reports[name]


def _settings(report: CrystfelReport, url: str) -> CrystfelConfig:
    if report.settings is None:
        raise ConfigError(f"The service at {url} does not say how it sends frames.", "It is older than this command.")
    return report.settings.model_copy(update={"address": report.address})


def _changed(config: CrystfelConfig, settings: dict[str, Any]) -> CrystfelConfig:
    from pydantic import ValidationError

    try:
        return type(config).model_validate({**config.model_dump(), **settings})
    except ValidationError as error:
        raise ConfigError("; ".join(one["msg"] for one in error.errors())) from error
