"""`streamdet crystfel`: frames for CrystFEL's indexamajig as they are measured, and what it has to be told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bluesky_streamdet.cli.console import say, stopped_by_signal
from bluesky_streamdet.cli.crystfel_files import command, geometry
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.progress import EVERY

if TYPE_CHECKING:
    from bluesky_streamdet.streaming.config import DataPlaneConfig
    from bluesky_streamdet.streaming.status import CrystfelReport

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="CrystFEL: give frames to indexamajig's workers as they are measured.",
)


@app.callback()
def _commands() -> None:
    """CrystFEL: give frames to indexamajig's workers as they are measured."""


@app.command()
def serve(
    endpoint: Annotated[
        str, typer.Option("--from", help="where frames come from: a detector, or an output of a service")
    ],
    row: Annotated[str, typer.Option("--type", help="what sends them, a row of `streamdet detectors`")] = "stins",
    address: Annotated[str, typer.Option(help="that workers connect to")] = "tcp://*:23500",
    policy: Annotated[
        str, typer.Option(help="fresh: newest first, old ones dropped; complete: none dropped, pushes back")
    ] = "fresh",
    publish: Annotated[
        str | None,
        typer.Option(help="all frames to all that subscribe to this; empty for any", metavar="PREFIX"),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="msgpack or hdf5")] = "msgpack",
    pixels: Annotated[str, typer.Option(help="type of pixels in msgpack: i4 or f4")] = "i4",
    queue: Annotated[int, typer.Option(min=1, help="frames that may wait")] = 100,
    photon_energy: Annotated[float | None, typer.Option(help="eV, where the stream does not say it")] = None,
    distance: Annotated[float | None, typer.Option(help="mm, where the stream does not say it")] = None,
    header: Annotated[list[str] | None, typer.Option(help="as NAME=VALUE, in each message")] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="that decode and convert")] = 2,
    peaks: Annotated[
        int | None, typer.Option(min=1, max=256, help="look for peaks, with so many processes", metavar="PROCESSES")
    ] = None,
    threshold: Annotated[float, typer.Option(help="counts above which a pixel may belong to a peak")] = 0.0,
    min_snr: Annotated[float, typer.Option(min=1, help="signal-to-noise ratio of a peak")] = 5.0,
    min_peaks: Annotated[int, typer.Option(min=1, help="that make a frame a hit")] = 10,
    hits_only: Annotated[bool, typer.Option("--hits-only", help="leave out frames of fewer peaks")] = False,
    drain: Annotated[float, typer.Option(min=0, help="seconds for what waits, once told to end")] = 10.0,
) -> None:
    """Receive a stream and give each frame to one worker that asks, without a file, until Ctrl-C.

    Says once a second what became of the frames. Ctrl-C takes no more from the detector, and ends when all workers wait
    again; a second one ends at once. Taking a detector's stream takes its frames away from other receivers; the output
    of a service does not.
    """
    from bluesky_streamdet.streaming.crystfel.serve import opened, run

    crystfel = {
        "address": address,
        "policy": policy,
        "mode": "request" if publish is None else "publish",
        "prefix": publish or "",
        "format": form,
        "type": pixels,
        "queue": queue,
        "photon_energy": photon_energy,
        "distance": distance,
        "headers": dict(_header(one) for one in header or []),
        "threads": threads,
        "hits_only": hits_only,
    }
    if peaks is not None:
        crystfel["peaks"] = {
            "workers": peaks,
            "threshold": threshold,
            "min_snr": min_snr,
            "min_peaks": min_peaks,
        }
    config = _configuration(row, endpoint, crystfel)
    with stopped_by_signal() as stop, opened(config) as pipeline:
        responder = pipeline.crystfel[0]
        say(f"frames for CrystFEL at {responder.address}, from {endpoint}; Ctrl-C ends")
        shown = time.monotonic()

        def show(report: CrystfelReport) -> None:
            nonlocal shown
            if time.monotonic() - shown >= EVERY:
                shown = time.monotonic()
                say(line(report))

        run(pipeline, stop, drain, show)
        say(line(responder.report()))


app.command()(geometry)
app.command()(command)


def _configuration(row: str, endpoint: str, crystfel: dict[str, Any]) -> DataPlaneConfig:
    """A data plane that writes no file. Raises `ConfigError`."""
    import os

    from bluesky_streamdet.catalog import DETECTORS, endpoints_of
    from bluesky_streamdet.service.config import validated

    if row not in DETECTORS:
        raise ConfigError(f"There is no detector {row!r}.", f"The catalog has: {', '.join(DETECTORS)}.")
    values = {
        "type": row,
        "source": {"endpoints": endpoints_of(endpoint, DETECTORS[row].modules)},
        "unarmed": "forward",
        "crystfel": [crystfel],
    }
    return validated({"detectors": {row: values}}, row, os.environ).data_plane()


def _header(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{text!r} is no header.", "Write it as NAME=VALUE, such as laser=1.")
    return name, yaml.safe_load(value)


def line(report: CrystfelReport) -> str:
    """What became of the frames, in one line."""
    failed = f", {sum(report.failed.values())} failed" if report.failed else ""
    failed += f", {report.left_out} left out" if report.left_out else ""
    if report.peaks is not None and report.peaks.recent_hit_rate is not None:
        failed += f"; hits {report.peaks.recent_hit_rate:.1%}"
    waiting = "all wait" if report.all_wait else f"{report.asking} wait"
    return (
        f"{report.delivered} delivered ({report.frames_per_second:.1f}/s), {report.waiting} waiting, "
        f"{report.in_hand} in hand, {report.lost} lost, {report.dropped} dropped{failed}; "
        f"{report.workers} workers, {waiting}"
    )
