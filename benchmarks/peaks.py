"""Peaks of simulated diffraction: Mpixel/s of one core, and by processes. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bluesky_streamdet.core.geometry import described
from bluesky_streamdet.sim.diffraction import Crystal, Geometry, background, suitable_cell
from bluesky_streamdet.streaming.crystfel.peakconfig import PeaksConfig
from bluesky_streamdet.streaming.crystfel.peakwork import PeakWorkers
from bluesky_streamdet.transforms.peaks import PeakFinder

SHAPES = ((514, 1030), (1065, 1030), (2167, 2070))
KINDS = ("<u2", "<i4", "<f4")
FRAMES = 60


def frame(shape: tuple[int, int]) -> tuple[dict[str, float], NDArray[Any]]:
    """A header and a still."""
    geometry = Geometry(shape)
    random = np.random.default_rng(1)
    photons = Crystal(suitable_cell(geometry), random).spots(geometry, 0.0, 0.01) + background(geometry)
    header = {"beam_center_x": geometry.centre[1], "beam_center_y": geometry.centre[0]}
    return header, random.poisson(photons).astype("<u2")


def alone(rounds: int) -> Table:
    """Of one core, by its own clock."""
    table = Table("picture", "type", "peaks", "ms", "Mpixel/s of a core", title="one thread")
    for shape in SHAPES:
        header, image = frame(shape)
        finder = PeakFinder.of(described(header, shape, pixel=1.0))
        for kind in KINDS:
            pixels = image.astype(kind)
            peaks = finder.find(pixels)
            took = median(_seconds(finder, pixels) for _ in range(rounds))
            row = [
                f"{shape[0]} x {shape[1]}",
                kind,
                str(len(peaks)),
                f"{1e3 * took:.1f}",
                f"{image.size / took / 1e6:.0f}",
            ]
            table.add_row(*row)
    return table


def _seconds(finder: PeakFinder, pixels: NDArray[Any]) -> float:
    begin = time.thread_time()
    finder.find(pixels)
    return time.thread_time() - begin


def together(workers: tuple[int, ...]) -> Table:
    """Of processes, by the clock on the wall, with all that it costs to get frames there and peaks back."""
    table = Table("picture", "processes", "frames/s", "Mpixel/s", title="worker processes")
    for shape in SHAPES:
        header, image = frame(shape)
        for number in workers:
            crew = PeakWorkers(PeaksConfig(workers=number))
            try:
                with ThreadPoolExecutor(number + 1) as threads:
                    while crew.report().workers < number:
                        list(threads.map(crew.find, [image] * 2 * number, repeat(header)))
                    begin = time.monotonic()
                    list(threads.map(crew.find, [image] * FRAMES, repeat(header)))
                    rate = FRAMES / (time.monotonic() - begin)
            finally:
                crew.close()
            table.add_row(f"{shape[0]} x {shape[1]}", str(number), f"{rate:.0f}", f"{rate * image.size / 1e6:.0f}")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    arguments = parser.parse_args()
    console = Console()
    console.print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    console.print(alone(arguments.rounds))
    console.print(together(tuple(arguments.workers)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
