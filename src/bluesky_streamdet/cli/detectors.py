"""`streamdet detectors`: what is known, on one screen."""

from __future__ import annotations

import sys

import typer

from bluesky_streamdet.core.errors import ConfigError

WIDE = 200
"""Columns of a table that goes into a file or a pipe."""


def detectors() -> None:
    """List the detectors that are known: what they speak, and where they usually send."""
    from rich.console import Console
    from rich.table import Table

    from bluesky_streamdet.catalog import CODECS, DETECTORS

    table = Table("name", "detector", "format", "port", "socket", box=None, header_style="bold", pad_edge=False)
    broken = []
    for name in DETECTORS:
        try:
            row = DETECTORS[name]
            what = f"{row.codec}: {CODECS[row.codec].description}"
        except ConfigError as error:
            broken.append(error)
            continue
        ports = str(row.port) if row.modules == 1 else f"{row.port}-{row.port + row.modules - 1}"
        table.add_row(name, row.description, what, ports, row.socket)
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    for error in broken:
        typer.echo(str(error), err=True)
