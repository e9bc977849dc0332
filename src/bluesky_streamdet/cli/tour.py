"""What `streamdet demo` does and shows: two scans of a simulated detector, read back from a catalog."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky.plans import scan
from numpy.typing import NDArray
from ophyd.sim import SynAxis
from rich.console import Console
from rich.table import Table

from bluesky_streamdet.cli.inspect import ledger_table
from bluesky_streamdet.devices.classic import StreamDetector
from bluesky_streamdet.local import LocalBeamline
from bluesky_streamdet.plans import fly
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.sim.settings import SimulatorSettings
from bluesky_streamdet.streaming.status import SeriesReport
from bluesky_streamdet.transforms.masks import masked

SHAPE = (514, 1030)
"""Half of an EIGER 1M, so that reading back takes seconds."""
EXPOSURE = 0.01
AT_ONCE = 20
"""Frames that are read back together."""
ROI = 4
"""Half the edge of the region whose counts make the curve, in pixels."""


@dataclass(frozen=True)
class Run:
    """One run of the demo: what was asked for, how long it took, what its series says, how many frames agreed."""

    title: str
    frames: int
    seconds: float
    series: SeriesReport
    agreed: int


class Tour:
    """The demo. `folder` gets the files and the picture."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder.absolute()
        self._console = console

    def run(self, points: int, frames: int, *, keep: bool) -> bool:
        """All of it. True when each frame that was read back is what the detector sent."""
        settings = SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=SHAPE)
        with self._doing("starting detector, service and an embedded Tiled catalog"):
            beamline = LocalBeamline(self._folder, settings)
        with beamline:
            self._pictures = Pictures(SHAPE)
            runs = self._scans(beamline, points, frames)
            self._show(runs)
            if keep:
                self._wait_for_interrupt(beamline)
        return all(run.agreed == run.frames for run in runs)

    def _scans(self, beamline: LocalBeamline, points: int, frames: int) -> list[Run]:
        engine = RunEngine()
        engine.subscribe(beamline.writer())
        detector = StreamDetector(name="eiger", exposure=EXPOSURE, **beamline.device)
        motor = SynAxis(name="motor")
        try:
            step = self._measure("step scan", points, engine, scan([detector], motor, -1, 1, points), beamline)
            self._draw(beamline.db[-1].primary, detector)
            fast = self._measure("fly scan", frames, engine, fly([detector], frames, EXPOSURE), beamline)
        finally:
            _stop(engine)
        return [step, fast]

    def _measure(self, title: str, frames: int, engine: RunEngine, plan: Any, beamline: LocalBeamline) -> Run:
        with self._doing(f"{title} of {frames} frames"):
            begin = time.monotonic()
            engine(plan)
            seconds = time.monotonic() - begin
        with ServiceClient(beamline.service_url) as client:
            series = client.status().last_series
        assert series is not None
        with self._doing(f"comparing {frames} frames from db[-1] with what was sent"):
            agreed = sum(_agreeing(beamline.db[-1].primary["eiger"], self._pictures))
        return Run(title, frames, seconds, series, agreed)

    def _draw(self, stream: Any, detector: StreamDetector) -> None:
        """A frame, and the counts of its liveliest spot along the scan."""
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure

        sent = stream[detector.name].read()
        frames = np.ma.masked_array(sent, masked(sent))
        positions = stream["motor"].read()
        row, column = liveliest(frames)
        region = (slice(row - ROI, row + ROI + 1), slice(column - ROI, column + ROI + 1))
        counts = frames[:, region[0], region[1]].sum(axis=(1, 2))
        best = int(counts.argmax())
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        image, curve = figure.subplots(1, 2, width_ratios=[2, 1])
        low, high = np.percentile(frames[best].compressed(), [1, 99.8])
        shown = image.imshow(frames[best], norm=LogNorm(max(low, 1), high), cmap="viridis")
        image.add_patch(_frame_around(row, column))
        image.set_title(f"frame {best}, a spot marked")
        figure.colorbar(shown, ax=image, label="counts")
        curve.plot(positions, counts, "o-")
        curve.set(xlabel="motor", ylabel="counts of the spot", title="step scan")
        figure.savefig(self._picture, dpi=110)

    @property
    def _picture(self) -> Path:
        return self._folder / "demo.png"

    def _show(self, runs: list[Run]) -> None:
        table = Table(title="what was measured", title_justify="left")
        for heading in ("plan", "frames", "frames/s", "written", "missing", "equal to what was sent", "outcome"):
            table.add_column(heading, justify="left" if heading in ("plan", "outcome") else "right")
        for run in runs:
            ledger, rate = run.series.ledger, run.frames / run.seconds
            equal = f"{run.agreed} of {run.frames}"
            row = (run.title, run.frames, f"{rate:.0f}", ledger.written, ledger.missing, equal, run.series.outcome)
            table.add_row(*map(str, row))
        self._console.print()
        self._console.print(table)
        last = runs[-1].series
        self._console.print(ledger_table(last.ledger))
        self._say(f"picture    {self._picture}")
        self._say(f"file       {last.file}")
        self._say(f"verdict    streamdet inspect {last.file}")
        self._say(f'in Python  import h5py, hdf5plugin; frames = h5py.File("{last.file}")["/entry/data/data"]')

    def _wait_for_interrupt(self, beamline: LocalBeamline) -> None:
        code = (
            "from tiled.client import from_uri\n"
            f'db = from_uri("{beamline.db.uri}")\n'
            'db[-1].primary["eiger"][0]\n\n'
            "from bluesky_streamdet.devices.classic import StreamDetector\n"
            f'eiger = StreamDetector(name="eiger", url="{beamline.service_url}", driver="{beamline.simulator.control}")'
        )
        self._say(
            f"\nlive page  {beamline.service_url}/#key={beamline.service.api_key}\n\n{code}\n\nCtrl-C ends it all."
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self._console.print("ended")

    def _say(self, text: str) -> None:
        """Print without breaking lines, so that they can be copied."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _doing(self, what: str) -> _Step:
        return _Step(self._console, what)


class _Step:
    """A spinner on a terminal while it lasts; a line when it is done."""

    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what = console, what
        self._status = console.status(what)

    def __enter__(self) -> None:
        self._begin = time.monotonic()
        self._status.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._status.stop()
        if kind is None:
            self._console.print(f"{time.monotonic() - self._begin:5.1f} s  {self._what}", highlight=False)


def liveliest(frames: np.ma.MaskedArray[Any, Any]) -> tuple[int, int]:
    """Row and column of the pixel whose counts change most along `frames`, of shape (frames, rows, columns).

    The margin of half a region is left out, and so is the frame number that simulated pictures carry at their top.
    """
    spread = np.ma.filled(frames.std(axis=0), 0.0)
    spread[: frames.shape[1] // 10] = 0
    inner = spread[ROI:-ROI, ROI:-ROI]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(row) + ROI, int(column) + ROI


def _frame_around(row: int, column: int) -> Any:
    from matplotlib.patches import Rectangle

    edge = 2 * (ROI + 4) + 1
    return Rectangle((column - edge / 2, row - edge / 2), edge, edge, fill=False, color="red", linewidth=1.5)


def _agreeing(frames: Any, pictures: Pictures) -> Generator[bool, None, None]:
    """For each frame of a catalog's array, in order, whether it is what was sent."""
    count = frames.shape[0]
    for first in range(0, count, AT_ONCE):
        block: NDArray[Any] = frames[first : min(first + AT_ONCE, count)]
        for offset, frame in enumerate(block):
            yield bool(np.array_equal(frame, pictures.frame(first + offset)))


def _stop(engine: RunEngine) -> None:
    """End the engine's own thread."""
    engine.loop.call_soon_threadsafe(engine.loop.stop)
