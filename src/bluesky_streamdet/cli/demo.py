"""`streamdet demo`: the whole path once, on embedded defaults, with every frame compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[Path, typer.Option(help="where the file, the catalog and the picture go")] = Path("demo"),
    points: Annotated[int, typer.Option(min=2, help="points of the step scan")] = 11,
    frames: Annotated[int, typer.Option(min=1, help="frames of the fly scan")] = 300,
    keep: Annotated[bool, typer.Option("--keep", help="leave service and catalog running, to play with")] = False,
) -> None:
    """Run a simulated detector, a step scan and a fly scan; read the frames back from the catalog and compare each.

    Needs no hardware, no network and no configuration; takes less than a minute. Exits 1 when a frame differs.
    """
    from bluesky_streamdet.core.errors import MissingLibrary

    try:
        from bluesky_streamdet.tour import Tour
    except ImportError as error:
        raise MissingLibrary(
            f"The demo needs {error.name}, which is not installed.", "Install it: pip install 'bluesky-streamdet[demo]'"
        ) from error

    tour = Tour(folder, points, frames)
    with tour.beamline() as beamline:
        agreed = tour.run(beamline)
        if keep:
            tour.wait_for_interrupt(beamline)
    raise typer.Exit(0 if agreed else 1)
