"""`streamdet repeat`: one stream in, many out; the service of `streamdet serve`, which writes nothing unless told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from bluesky_streamdet.core.errors import ConfigError

if TYPE_CHECKING:
    from bluesky_streamdet.service.config import DetectorConfig

MANY = "--send-every-nth"
OUT_PORT, BUFFER_SIZE = 9610, 100


class _TakesLists(TyperCommand):
    """Lets an option have several values, one behind another, as the old program's had."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        listing = False
        for one in args:
            if listing and one.lstrip("-").isdecimal() and spread[-1] != MANY:
                spread.append(MANY)
            elif one.startswith("-"):
                listing = one == MANY
            else:
                listing = listing and spread[-1] == MANY
            spread.append(one)
        return super().parse_args(ctx, spread)


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=_TakesLists)
def repeat(
    config: Annotated[str | None, typer.Argument(help="a YAML file, or the old repeater's JSON")] = None,
    name: Annotated[str | None, typer.Argument(help="of the detector in the file, if it has several")] = None,
    config_file: Annotated[str | None, typer.Option(help="the same as CONFIG")] = None,
    in_address: Annotated[str | None, typer.Option(help="where the stream comes from, as tcp://HOST:PORT")] = None,
    in_zmq_mode: Annotated[str, typer.Option(help="PULL or SUB")] = "PULL",
    out_init_port: Annotated[
        int, typer.Option(min=1, max=65535, help="port of the first output; each other has the next")
    ] = OUT_PORT,
    n_output_streams: Annotated[
        int | None, typer.Option(min=1, help="how many outputs; as many as send-every-nth has numbers if left out")
    ] = None,
    send_every_nth: Annotated[
        list[int] | None, typer.Option(help="for each output, one behind another: every how many frames it sends one")
    ] = None,
    buffer_size: Annotated[
        int, typer.Option(min=1, help="frames that wait for the clients of an output")
    ] = BUFFER_SIZE,
    io_threads: Annotated[int, typer.Option(min=1, max=16, help="of ZeroMQ")] = 1,
    mode_metadata: Annotated[str, typer.Option(help="as the old program had it; of no effect")] = "file",
    kind: Annotated[
        str, typer.Option("--type", help="what comes, by a name that `streamdet detectors` lists")
    ] = "gigafrost",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="of REST and page; 0 takes any")] = None,
    start: Annotated[
        bool, typer.Option("--start", help="begin at once, where otherwise clients of the old repeater start it")
    ] = False,
) -> None:
    """Send an incoming stream on, to any number of outputs, until Ctrl-C.

    Without a file, PUSH sockets of this machine send each frame byte by byte as it came, and drop the oldest for who is
    slow: streamdet repeat --in-address tcp://camera:9609 --send-every-nth 1 2 10
    """
    from bluesky_streamdet.cli.serve import run_service

    file = config or config_file
    if config is not None and config_file is not None:
        raise ConfigError("Two configurations are given.", "Name the file once.")
    if (file is None) == (in_address is None):
        raise ConfigError(
            "Say where the stream comes from.", "Give a configuration file, or --in-address tcp://HOST:PORT; not both."
        )
    if file is not None:
        chosen = _from_file(file, name)
    else:
        values = {"address": in_address, "mode": in_zmq_mode, "type": kind, "io_threads": io_threads}
        counts = _counts(n_output_streams, send_every_nth or [])
        chosen = _from_flags(values, counts, out_init_port, buffer_size)
    if start:
        chosen.paused = False
    run_service(chosen, port)


def _from_file(file: str, name: str | None) -> DetectorConfig:
    from bluesky_streamdet.service.config import load

    chosen = load(Path(file), name)
    if "unarmed" not in chosen.model_fields_set:
        chosen.unarmed = "forward"
    return chosen


def _counts(outputs: int | None, every: list[int]) -> list[int]:
    """Every how many frames each output sends one. Raises `ConfigError`."""
    if wrong := [one for one in every if one < 1]:
        raise ConfigError(f"{MANY} has {wrong[0]}.", "It is a whole number, 1 or more, for each output.")
    if outputs is not None and every and outputs != len(every):
        raise ConfigError(f"There are {outputs} outputs, and {MANY} has {len(every)} numbers.", "Give one for each.")
    return every or [1] * (outputs or 1)


def _from_flags(source: dict[str, Any], every: list[int], port: int, buffer_size: int) -> DetectorConfig:
    import os

    from bluesky_streamdet.service.compat.repeater_config import SOCKETS
    from bluesky_streamdet.service.compat.repeater_json import AT_ONCE, new_output
    from bluesky_streamdet.service.config import validated

    mode = source["mode"].upper()
    if mode not in SOCKETS:
        raise ConfigError(f"There is no mode {source['mode']!r}.", f"Take {' or '.join(SOCKETS)}.")
    if port + len(every) - 1 > 65535:
        raise ConfigError(f"{len(every)} outputs from port {port} on go beyond 65535.")
    outputs = [
        new_output(
            {
                "name": f"stream-{index}",
                "port": port + index,
                "zmq_mode": "PUSH",
                "mode": "send_every_nth",
                "param": one,
            },
            buffer_size,
        )
        for index, one in enumerate(every)
    ]
    values = {
        "type": source["type"],
        "source": {"endpoints": [source["address"]], "socket": SOCKETS[mode]},
        "outputs": outputs,
        "wait": AT_ONCE,
        "unarmed": "forward",
        "io_threads": source["io_threads"],
        "rest": {"port": 0},
    }
    return validated({"detectors": {"repeater": values}}, "repeater", os.environ)
