"""`streamdet detectors`: what is known, on one screen."""

from __future__ import annotations

import sys

WIDE = 200
"""Columns of a table that goes into a file or a pipe."""


def detectors() -> None:
    """List the detectors that are known: what they speak, and where they usually send."""
    from rich.console import Console
    from rich.table import Table

    from bluesky_streamdet.catalog import CODECS, DETECTORS

    table = Table("name", "detector", "format", "port", "socket", box=None, header_style="bold", pad_edge=False)
    for name, row in DETECTORS.items():
        table.add_row(name, row.description, f"{row.codec}: {CODECS[row.codec].description}", str(row.port), row.socket)
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
