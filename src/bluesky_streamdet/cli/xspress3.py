"""`streamdet xspress3`: the streamer that owns an Xspress3, and what to tell it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bluesky_streamdet.cli.xspress3_tango import tango

if TYPE_CHECKING:
    from bluesky_streamdet.xspress3.config import Xspress3Config

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Xspress3 and its successors: stream from the SDK or its simulation, steer it, serve it over Tango.",
)

DIALECTS = {"native": "xspress3", "multipart": "xspress3-2024", "loose": "xspress3-2021"}


@app.command()
def stream(
    config: Annotated[Path | None, typer.Argument(help="a YAML file with the system and its service")] = None,
    name: Annotated[str | None, typer.Argument(help="of the detector in the file, if it has several")] = None,
    simulate: Annotated[
        str | None, typer.Option(help="without hardware: a simulated X3, X3V7, Mini or X4", metavar="GENERATION")
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="of the simulation; otherwise all there are")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="counts/s in each channel of the simulation")] = None,
    cards: Annotated[int | None, typer.Option(min=1, help="of the system")] = None,
    address: Annotated[str | None, typer.Option(help="of the first card, if not the SDK's default")] = None,
    library: Annotated[str | None, typer.Option(help="path of libxspress3.so, if it is not found by itself")] = None,
    settings: Annotated[Path | None, typer.Option(help="directory of settings to restore at the start")] = None,
    directory: Annotated[Path | None, typer.Option(help="where files go")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="of REST and page; 0 takes any")] = None,
    data_port: Annotated[int | None, typer.Option(min=0, max=65535, help="that waits for its receiver")] = None,
    public_port: Annotated[int | None, typer.Option(min=0, max=65535, help="for everybody; drops for the slow")] = None,
    monitor_port: Annotated[int | None, typer.Option(min=0, max=65535, help="of the latest frame on request")] = None,
    host: Annotated[
        str | None, typer.Option(help="interface of the three data ports: 127.0.0.1 if left out; * for all")
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(help="of the public port: native if left out; for old receivers multipart, or loose (3 messages)"),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="start with a series of so many frames, at once")] = None,
    exposure: Annotated[float, typer.Option(min=0, help="seconds of each of them")] = 0.1,
    save: Annotated[bool, typer.Option("--save/--no-save", help="write series that nobody armed by REST")] = True,
) -> None:
    """Own the SDK and stream its frames: into a file, to the data port, the public port, the monitor port.

    Without a file, options describe the system; what they leave out is the SDK's default. Prints address and API key,
    and once a second how it goes. Ctrl-C ends the series that runs, with everything read and written.
    """
    import asyncio
    import logging
    import os

    # Before NumPy's friends start: threads that wait for work by turning would take the data plane's processor.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bluesky_streamdet.service.console import run

    ports = {"host": host, "data": data_port, "public": public_port, "monitor": monitor_port, "dialect": dialect}
    system = {"cards": cards, "address": address, "library": library, "settings": settings}
    simulation = {"generation": simulate, "channels": channels, "rate": rate}
    if simulate is None and (channels is not None or rate is not None):
        raise typer.BadParameter("--channels and --rate are of a simulation; say which: --simulate X3.")
    if simulate is not None:
        system["simulate"] = _given(simulation)
    chosen = _configuration(config, name, _given(system), _given(ports))
    if directory is not None:
        chosen.files.directory = directory.expanduser().absolute()
    if port is not None:
        chosen.rest.port = port
    if config is None:
        _set_ports(chosen, **_given(ports))
    if frames is not None:
        chosen.start = {"frames": frames, "exposure": exposure}
    if not save:
        chosen.unarmed = "forward"
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bluesky_streamdet").setLevel(chosen.log_level)
    asyncio.run(run(chosen, sys.stdout))


@app.command()
def tell(
    command: Annotated[str, typer.Argument(help="such as arm, trigger, stop, state, set_window")] = "state",
    arguments: Annotated[list[str] | None, typer.Argument(help="as NAME=VALUE, values as in YAML")] = None,
    url: Annotated[str, typer.Option(help="of the service")] = "http://127.0.0.1:8010",
) -> None:
    """Tell a running streamer something, and print what it says: `streamdet xspress3 tell arm exposure=0.1 frames=10`.

    An unknown command is answered with the list of those there are.
    """
    import yaml

    from bluesky_streamdet.core.errors import ConfigError
    from bluesky_streamdet.service.client import ServiceClient

    values: dict[str, Any] = {}
    for one in arguments or []:
        key, equals, text = one.partition("=")
        if not equals:
            raise ConfigError(f"{one!r} is no argument.", "Write it as NAME=VALUE, such as exposure=0.1.")
        values[key] = yaml.safe_load(text)
    with ServiceClient(url) as client:
        answer = client.detector() if command == "state" else client.instruct(command, **values)
    typer.echo(yaml.safe_dump(answer, sort_keys=False, default_flow_style=None, width=120), nl=False)


app.command()(tango)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _configuration(
    path: Path | None, name: str | None, system: dict[str, Any], ports: dict[str, Any]
) -> Xspress3Config:
    """From a file, or of options. Raises `ConfigError`; `typer.BadParameter` for options that don't fit."""
    from bluesky_streamdet.core.errors import ConfigError
    from bluesky_streamdet.service.config import load
    from bluesky_streamdet.xspress3.config import Xspress3Config, for_system

    if path is None:
        return for_system({"system": system})
    if not path.is_file():
        raise ConfigError(f"There is no file {path}.", "Leave it out and describe the system by options; see --help.")
    if system or ports:
        what = "system is" if system else "outputs are"
        raise typer.BadParameter(f"the {what} described in the file; take the options out.")
    return load(path, name, model=Xspress3Config)


def _set_ports(
    config: Xspress3Config,
    host: str = "127.0.0.1",
    data: int | None = None,
    public: int | None = None,
    monitor: int | None = None,
    dialect: str = "native",
) -> None:
    from bluesky_streamdet.xspress3.config import MONITOR_PORT

    if dialect not in DIALECTS:
        raise typer.BadParameter(f"there is no dialect {dialect!r}; there are {', '.join(DIALECTS)}.")
    for output, port in zip(config.outputs, (data, public), strict=True):
        usual = int(output.address.rpartition(":")[2])
        output.address = f"tcp://{host}:{usual if port is None else port}"
    config.outputs[1].encoder = DIALECTS[dialect]
    config.monitor = f"tcp://{host}:{MONITOR_PORT if monitor is None else monitor}"
