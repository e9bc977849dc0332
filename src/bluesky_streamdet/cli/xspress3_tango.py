"""`streamdet xspress3 tango`: the Tango device, with a Tango database or without one."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated

import typer


def tango(
    instance: Annotated[str, typer.Argument(help="of the server, as the Tango database knows it")] = "1",
    device: Annotated[
        str | None, typer.Option(help="without a database: name of the device, such as test/xspress3/1")
    ] = None,
    host: Annotated[str, typer.Option(help="without a database: where clients find the device")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="without a database; 0 takes any")] = 0,
    service: Annotated[str | None, typer.Option(help="URL of a service that runs; otherwise one is started")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="a simulated detector")] = False,
    directory: Annotated[Path | None, typer.Option(help="no file is written outside of it")] = None,
    settings: Annotated[list[str] | None, typer.Option("--property", help="NAME=VALUE; may be repeated")] = None,
) -> None:
    """Offer an Xspress3 to Tango clients, until Ctrl-C. Prints the address of the device when it is ready.

    The device's properties come from the database; what is given here goes before. Exits 1 when it can't start.
    """
    properties = _properties(settings or [])
    if service is not None:
        properties["ServiceUrl"] = service
    if simulate:
        properties.setdefault("Simulate", "true")
    if directory is not None:
        properties["DataDirectory"] = str(directory.expanduser().absolute())
    arguments, address = [instance], f"instance {instance}, in the Tango database"
    if device is not None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+/[\w.-]+", device):
            raise typer.BadParameter(f"--device {device!r}: write it as DOMAIN/FAMILY/MEMBER.")
        port = _usable_port(host, port)
        arguments += ["-nodb", "-host", host, "-port", str(port), "-dlist", device]
        address = f"tango://{host}:{port}/{device}#dbase=no"
    _serve(arguments, properties, address)


def _serve(arguments: list[str], properties: dict[str, str], address: str) -> None:
    from bluesky_streamdet.cli.console import say
    from bluesky_streamdet.core.errors import MissingLibrary

    try:
        from bluesky_streamdet.xspress3.tango import serve
    except ModuleNotFoundError as error:
        if error.name != "tango":
            raise
        raise MissingLibrary("The Tango device needs PyTango.", "Install bluesky-streamdet[tango].") from error
    serve(arguments, properties, lambda: say(f"device   {address}"))


def _properties(settings: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in settings]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise typer.BadParameter(f"--property {wrong[0]!r}: write it as NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _usable_port(host: str, port: int) -> int:
    """The port, or any that is free. Tango can't choose one and tell it, nor say what is wrong with another."""
    from bluesky_streamdet.core.errors import AddressTaken

    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            raise AddressTaken(
                f"The port {port} on {host} can't be used: {error.strerror}.", "Take another."
            ) from error
        return one.getsockname()[1]
