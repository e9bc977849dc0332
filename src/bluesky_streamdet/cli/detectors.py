"""`streamdet detectors`: what can be received."""

from __future__ import annotations


def detectors() -> None:
    """List the detectors that are known, with the format that each speaks and its usual port."""
    from rich.console import Console
    from rich.table import Table

    from bluesky_streamdet.catalog import CODECS, DETECTORS

    table = Table("name", "detector", "format", "socket", "port")
    for name, row in DETECTORS.items():
        table.add_row(name, row.description, CODECS[row.codec].description, row.socket.upper(), str(row.port))
    Console().print(table)
