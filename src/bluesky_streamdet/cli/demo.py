"""`streamdet demo`: the whole path once, on embedded defaults, with every frame compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[Path, typer.Option(help="where files and picture go")] = Path("demo"),
    points: Annotated[int, typer.Option(min=2, help="points of the step scan")] = 11,
    frames: Annotated[int, typer.Option(min=1, help="frames of the fly scan")] = 300,
    keep: Annotated[bool, typer.Option("--keep", help="leave service and catalog running, to play with")] = False,
) -> None:
    """Run a simulated detector, a step scan and a fly scan; read the frames back from the catalog and compare each.

    Needs no hardware, no network and no configuration; takes less than a minute. Exits 1 when a frame differs.
    """
    import os

    # Before NumPy's friends start: on two processors, threads that wait by turning slow down everybody else.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from rich.console import Console

    from bluesky_streamdet.core.extras import extra

    console = Console()
    with console.status("loading Bluesky and Tiled"), extra("demo", "The scans of the demo"):
        from bluesky_streamdet.cli.tour import Tour
    raise typer.Exit(0 if Tour(folder, console).run(points, frames, keep=keep) else 1)
