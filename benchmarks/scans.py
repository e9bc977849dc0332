"""What our devices and plots cost a RunEngine: dead time of a point, documents of a flight, slow plots, start of a
session. See README.md.

It is not called after what it measures, as a module `bluesky` in this folder would hide the library.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import bluesky.plan_stubs as bps
import bluesky.plans as bp
from bluesky import RunEngine
from ophyd.sim import SynAxis, SynGauss
from ophyd_async.core import StaticPathProvider, TriggerInfo, UUIDFilenameProvider, init_devices
from ophyd_async.sim import SimBlobDetector
from rich.console import Console
from rich.table import Table

from bluesky_streamdet.callbacks.image import LiveImage
from bluesky_streamdet.callbacks.surfaces import Picture, PngFile, Surface
from bluesky_streamdet.devices.asynchronous import StreamDetector as Asynchronous
from bluesky_streamdet.devices.classic import StreamDetector as Classic
from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as AsynchronousXspress3
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector as ClassicXspress3
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.local import LocalBeamline
from bluesky_streamdet.plans import fly
from bluesky_streamdet.sim.settings import SimulatorSettings

HERE = Path(__file__).parent
PROFILE = HERE.parent / "profile_collection"

EXPOSURE = 0.01
POINTS = 50
LONG = 120
"""Points of a scan with a plot, which has to draw several pictures meanwhile."""
AIM = 15.0
"""Milliseconds that a point may take beyond its exposure."""
SMALL = SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=(32, 32), dtype="uint16")
CAMERA = SimulatorSettings(endpoint="tcp://127.0.0.1:0")
"""A megapixel of 32 bits, compressed."""
PLOTTED = SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=(512, 512), dtype="uint16")
SYSTEM = {"simulate": {"channels": 4, "rate": 100_000, "precomputed": 8}}

FRAMES = (10_000, 100_000)
SECONDS = 12.0
"""Of each flight, whatever its number of frames."""

SLOWEST = 1.0
"""Seconds that each picture of the slow plot takes."""
START_AIM = 5.0
PATIENCE = 60.0


@dataclass
class Points:
    """A kind of detector, and seconds from one event to the next in step scans with it, without the exposure."""

    name: str
    detector: Any
    peer: str = ""
    dead: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return 1e3 * median(self.dead)

    @property
    def p99(self) -> float:
        return 1e3 * quantiles(self.dead, n=100)[98]


class Moments:
    """When the events of a run came."""

    def __init__(self) -> None:
        self.events: list[float] = []

    def __call__(self, name: str, document: Any) -> None:
        if name == "event":
            self.events.append(time.perf_counter())

    @property
    def dead(self) -> list[float]:
        return [after - before - EXPOSURE for before, after in zip(self.events, self.events[1:], strict=False)]


class Asleep:
    """Draws nothing, and takes very long for it."""

    def begin(self) -> None: ...

    def show(self, picture: Picture) -> None:
        time.sleep(SLOWEST)


class SlowPng(PngFile):
    """Draws, and takes very long for it."""

    def show(self, picture: Picture) -> None:
        time.sleep(SLOWEST)
        super().show(picture)


# Step scans.


def kinds(camera: LocalBeamline, xspress3: LocalXspress3, folder: Path) -> list[Points]:
    """Our detectors, each after the peer of its framework."""
    keywords: dict[str, Any] = {"exposure": EXPOSURE}
    synthetic: Any = SynGauss("synthetic", SynAxis(name="motor"), "motor", center=0, Imax=1)
    synthetic.val.exposure_time = EXPOSURE
    with init_devices():
        blobs = SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), folder))
        fast = Asynchronous(**camera.device, **keywords)
        plain = Asynchronous(**camera.device, **keywords, totals=False)
        spectra = AsynchronousXspress3(**xspress3.device, **keywords)
    here, there = "ophyd.sim's det", "ophyd-async SimBlobDetector"
    return [
        Points(here, synthetic),
        Points("classic", Classic(name="classic", **camera.device, **keywords), here),
        Points("classic, no totals", Classic(name="less", **camera.device, **keywords, totals=False), here),
        Points("classic Xspress3", ClassicXspress3(name="classic_xspress3", **xspress3.device, **keywords), here),
        Points(there, blobs),
        Points("async", fast, there),
        Points("async, no totals", plain, there),
        Points("async Xspress3", spectra, there),
    ]


def step_scans(engine: RunEngine, rounds: int, folder: Path) -> Table:
    """Dead time of a point, with all kinds of detectors in turns."""
    frames = folder / "steps"
    frames.mkdir()
    with (
        LocalBeamline(frames, CAMERA, catalog=False, frames=frames) as camera,
        LocalXspress3({"system": SYSTEM}, frames) as xspress3,
    ):
        measured = kinds(camera, xspress3, frames)
        for _ in range(rounds):
            for one in measured:
                moments = Moments()
                engine(_steps(one.detector), moments)
                # The first points open files.
                one.dead += moments.dead[3:]
    return _points_table(measured)


def _steps(detector: Any) -> Any:
    if not isinstance(detector, SimBlobDetector):
        return bp.count([detector], POINTS)

    def shot(detectors: Any) -> Any:
        # It knows no exposure of its own.
        yield from bps.prepare(detector, TriggerInfo(livetime=EXPOSURE), wait=True)
        yield from bps.one_shot(detectors)

    per_shot: Any = shot
    return bp.count([detector], POINTS, per_shot=per_shot)


def _points_table(measured: list[Points]) -> Table:
    shown = Table(title=f"Dead time of a point in ms: from event to event, without {1e3 * EXPOSURE:g} ms of exposure")
    for heading in ("detector", "p50", "p99", "p50 - peer's", "p99 - peer's", "p50 / peer's", f"aim < {AIM:g}"):
        shown.add_column(heading, justify="left" if heading == "detector" else "right")
    peers = {one.name: one for one in measured if not one.peer}
    for one in measured:
        row = [one.name, f"{one.p50:.1f}", f"{one.p99:.1f}"]
        if one.peer:
            peer = peers[one.peer]
            added = one.p50 - peer.p50
            row += [f"{added:+.1f}", f"{one.p99 - peer.p99:+.1f}", f"{one.p50 / peer.p50:.1f}"]
            row.append("yes" if added < AIM else "no")
        shown.add_row(*row)
    return shown


# Flights.


def flights(engine: RunEngine, folder: Path) -> Table:
    """Documents, and this process' time, for flights of the same duration with more and more frames."""
    shown = Table(title=f"Documents of a flight of {SECONDS:g} s, and the processor's time in the RunEngine's process")
    for heading in ("face", "frames", "seconds", "documents", "documents/s", "CPU s/s", "CPU us/frame"):
        shown.add_column(heading, justify="left" if heading == "face" else "right")
    frames = folder / "flights"
    frames.mkdir()
    with LocalBeamline(frames, SMALL, catalog=False, frames=frames) as camera:
        with init_devices():
            fast = Asynchronous(name="fast", **camera.device)
        for face, detector in (("classic", Classic(name="classic", **camera.device)), ("async", fast)):
            flown = [_flight(engine, detector, number) for number in FRAMES]
            for number, one in zip(FRAMES, flown, strict=True):
                rates = [one.documents / one.seconds, one.cpu / one.seconds]
                shown.add_row(
                    face,
                    f"{number:,}",
                    f"{one.seconds:.1f}",
                    f"{one.documents}",
                    f"{rates[0]:.1f}",
                    f"{rates[1]:.3f}",
                    f"{1e6 * one.cpu / number:.1f}",
                )
            few, many = flown
            ratios = [
                (many.documents / many.seconds) / (few.documents / few.seconds),
                (many.cpu / many.seconds) / (few.cpu / few.seconds),
                many.cpu / few.cpu * FRAMES[0] / FRAMES[1],
            ]
            shown.add_row("", f"x {FRAMES[1] // FRAMES[0]}", "", "", *(f"x {ratio:.2f}" for ratio in ratios))
    return shown


class Flown(NamedTuple):
    """seconds, documents, and seconds of the processor in this process, of one flight."""

    seconds: float
    documents: int
    cpu: float


def _flight(engine: RunEngine, detector: Any, frames: int) -> Flown:
    documents: list[str] = []
    stop: dict[str, Any] = {}

    def count(name: str, document: Any) -> None:
        documents.append(name)
        if name == "stop":
            stop.update(document)

    begin, cpu = time.perf_counter(), time.process_time()
    engine(fly([detector], frames, SECONDS / frames), count)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - begin
    assert stop["num_events"] == {"primary": frames}, stop
    return Flown(elapsed, len(documents), cpu)


# A slow plot.


def slow_plots(engine: RunEngine, rounds: int, folder: Path) -> Table:
    """The time of a run with a plot that is slow on purpose, and without."""
    frames = folder / "plots"
    frames.mkdir()
    surfaces: dict[str, Surface] = {"it only waits": Asleep(), "it draws a PNG file, too": SlowPng(folder / "slow.png")}
    alone: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in surfaces}
    with LocalBeamline(frames, PLOTTED, catalog=False, frames=frames) as camera:
        detector = Classic(name="camera", exposure=EXPOSURE, **camera.device)
        # The first plot loads its libraries; that is not what is measured.
        _scan_time(engine, detector, SlowPng(folder / "slow.png"))
        alone.append(_scan_time(engine, detector))
        for _ in range(rounds):
            for name, surface in surfaces.items():
                plotted = _scan_time(engine, detector, surface)
                # Compared with before and after, as the machine may become slower or faster meanwhile.
                alone.append(_scan_time(engine, detector))
                ratios[name].append(2 * plotted / (alone[-2] + alone[-1]))
    title = f"A plot that takes {SLOWEST:g} s a picture, beside {LONG} points, {median(alone):.2f} s without it"
    shown = Table(title=title)
    for heading in ("plot", "run's time", "of each round", "aim: within 5 %"):
        shown.add_column(heading, justify="left" if heading == "plot" else "right")
    for name, values in ratios.items():
        more = 100 * (median(values) - 1)
        each = ", ".join(f"{100 * (one - 1):+.1f}" for one in values)
        shown.add_row(name, f"{more:+.1f} %", each, "yes" if more < 5 else "no")
    return shown


def _scan_time(engine: RunEngine, detector: Any, surface: Surface | None = None) -> float:
    """Seconds of a run, with a plot if it has a surface."""
    if surface is None:
        return _timed(lambda: engine(bp.count([detector], LONG)))
    with LiveImage(show=surface, keys=[detector.name]) as plot:
        seconds = _timed(lambda: engine(bp.count([detector], LONG), plot))
    assert plot.drawn > 0
    return seconds


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# A session.


def session_start(rounds: int, folder: Path) -> str:
    """Seconds from the command to the prompt."""
    import pexpect

    seconds, spent = [], []
    for number in range(rounds + 1):
        folders = {"IPYTHONDIR": str(folder / "ipython"), "STREAMDET_FOLDER": str(folder / f"{number}")}
        begin = time.perf_counter()
        shell = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", f"--profile-dir={PROFILE}", "--simple-prompt", "--colors=NoColor"],
            env=os.environ | folders,  # type: ignore[arg-type]
            timeout=PATIENCE,
        )
        shell.expect_exact("In [1]: ")
        seconds.append(time.perf_counter() - begin)
        spent.append(_cpu_seconds(shell.pid or 0))
        shell.sendline("exit")
        shell.expect(pexpect.EOF)
        shell.close()
    # The first one has to read everything from the disk.
    return (
        f"Start of a session to its prompt: {median(seconds[1:]):.1f} s (median of {rounds}), {seconds[0]:.1f} s the "
        f"first time (aim: under {START_AIM:g} s); {median(spent[1:]):.1f} s of a processor in the session itself"
    )


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def run_engine() -> Iterator[RunEngine]:
    """A RunEngine whose thread ends."""
    engine = RunEngine({})
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files go; the fastest disk you would use (default: /tmp's)")
    parts = ("steps", "flights", "plot", "start")
    parser.add_argument("--only", choices=parts, help="one part of it")
    options = parser.parse_args()
    wanted = (options.only,) if options.only else parts
    console = Console(width=150 if not sys.stdout.isatty() else None)
    console.print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", style="dim")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if "start" in wanted:
            console.print(session_start(2, folder))
        with run_engine() as engine:
            if "steps" in wanted:
                console.print(step_scans(engine, options.rounds, folder))
            if "flights" in wanted:
                console.print(flights(engine, folder))
            if "plot" in wanted:
                console.print(slow_plots(engine, options.rounds, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
