"""Makes xspress3-map.png: a raster of a simulated sample with a simulated Xspress3, read back from a catalog and drawn.

python docs/images/xspress3_map.py [FILE ROWS COLUMNS]
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky_tiled_plugins import TiledWriter
from matplotlib.figure import Figure

from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.devices.xspress3.maps import region_map
from bluesky_streamdet.local import TiledProcess, open_catalog
from bluesky_streamdet.plans import raster

LINES = {"Ca": "Ca Ka", "Fe": "Fe Ka", "Cu": "Cu Ka", "Zn": "Zn Ka"}
COLOURS = {"Ca": "Blues_r", "Fe": "Reds_r", "Cu": "Oranges_r", "Zn": "Greens_r"}


def measured(folder: Path, rows: int, columns: int, exposure: float = 0.01) -> tuple[dict[str, Any], Any]:
    """The maps of all lines, and the spectrum of the whole sample, as the catalog has them after a raster."""
    sample = {"picture": "shapes", "raster": {"rows": rows, "columns": columns, "snake": True}}
    values = {"system": {"simulate": {"channels": 4, "rate": 200_000, "sample": sample}}}
    frames = folder / "frames"
    with TiledProcess(folder / "catalog", frames) as tiled, LocalXspress3(values, frames) as local:
        db = open_catalog(tiled.uri)
        RE = RunEngine()  # noqa: N806, that is what everybody calls it
        RE.subscribe(TiledWriter(db))  # with batch_size=1 the run could be followed, and would take longer
        xspress3 = Xspress3Detector(name="xspress3", regions=LINES, **local.device)
        stage = SimulatedStage(name="stage", give_triggers=local.pulse, stop_triggers=local.stop_pulses)
        RE(raster([xspress3], stage, rows, columns, exposure, snake=True))
        maps = {name: region_map(db[-1], name) for name in LINES}
        spectrum = np.asarray(db[-1]["primary"]["xspress3"].read()).sum(axis=(0, 1))
        db.context.close()
    return maps, spectrum


def drawn(maps: dict[str, Any], spectrum: Any) -> Figure:
    """The maps in a row, and the spectrum below them."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    grid = figure.add_gridspec(2, len(maps), height_ratios=[3, 2])
    for place, (name, counts) in enumerate(maps.items()):
        axes = figure.add_subplot(grid[0, place])
        picture = axes.imshow(counts, cmap=COLOURS[name], origin="lower", extent=(0, 1, 0, 1), aspect="equal")
        axes.set(title=LINES[name], xlabel="stage x", ylabel="stage y" if place == 0 else "")
        figure.colorbar(picture, ax=axes, shrink=0.7, label="counts" if place == len(maps) - 1 else "")
    axes = figure.add_subplot(grid[1, :])
    energies = np.arange(len(spectrum)) * 0.01
    axes.semilogy(energies, np.maximum(spectrum, 0.5), color="0.2", linewidth=0.8)
    axes.set(xlim=(1, 17), xlabel="energy / keV", ylabel="counts", title="all points and channels, as counted")
    return figure


if __name__ == "__main__":
    given = sys.argv[1:]
    target = Path(given[0]) if given else Path(__file__).with_name("xspress3-map.png")
    rows, columns = (int(one) for one in given[1:] or (40, 60))
    with TemporaryDirectory() as scratch:
        drawn(*measured(Path(scratch), rows, columns)).savefig(target, dpi=90)
