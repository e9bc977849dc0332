"""The Xspress3 path against the limits of this machine: simulated SDK, streamer, service, file. See README.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import h5py
import limits
import numpy as np
import zmq
from rich.console import Console
from rich.table import Table
from workloads import WORKLOADS

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.streaming.config import PlaneConfig
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.pipeline import Pipeline
from bluesky_streamdet.streaming.status import SeriesReport, Status
from bluesky_streamdet.xspress3.config import SystemConfig, Xspress3Plane, for_system
from bluesky_streamdet.xspress3.sdk import Xspress3
from bluesky_streamdet.xspress3.streamer import Streamer
from bluesky_streamdet.xspress3.timing import Timing

HERE = Path(__file__).parent
BANK = 8
EXISTING = 280
"""Frames/s that the existing writing receiver manages, for 4 and 8 channels alike; the aim is twenty times that."""
EXPOSURE = 2e-5
"""Faster than anything that follows, so that the detector is never waited for."""
FRAMES = 20_000
PATIENCE = 300.0
LATENCY_FRAMES, LATENCY_EXPOSURE = 500, 0.01
SMALL_BINS = 64


@dataclass
class Result:
    """All rounds of one number of channels, in frames/s."""

    channels: int
    zeromq: list[float] = field(default_factory=list)
    chunks: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    through: list[float] = field(default_factory=list)

    def row(self) -> list[str]:
        limit = min(median(self.zeromq), median(self.chunks))
        alone, through = median(self.alone), median(self.through)
        return [
            f"{self.channels} x 4096",
            f"{median(self.zeromq):,.0f}",
            f"{median(self.chunks):,.0f}",
            f"{alone:,.0f}",
            f"{alone / median(self.chunks):.2f}",
            f"{through:,.0f}",
            f"{through / limit:.2f}",
            f"{through * self.channels * 4096 * 4 / 1e6:,.0f}",
            f"{through / EXISTING:.0f}",
        ]


def system(channels: int, frames: int) -> dict[str, Any]:
    """A simulated system that never waits for its memory, with a bank of frames that come again and again."""
    return {"max_frames": frames, "simulate": {"channels": channels, "rate": 1e6, "precomputed": BANK}}


@contextmanager
def streamer(
    folder: Path, channels: int, frames: int, *, output: bool
) -> Iterator[tuple[ServiceClient, ServiceProcess]]:
    """The service that owns the SDK; its data port waits for its receiver."""
    port = {"name": "data", "address": "tcp://127.0.0.1:*", "overflow": "block", "queue": 64}
    config = for_system(
        {
            "system": system(channels, frames),
            "files": {"directory": str(folder)},
            "outputs": [port] if output else [],
            "monitor": None,
            "rest": {"port": 0},
            "log_level": "WARNING",
        },
        environ={},
    )
    with ServiceProcess(config) as process, ServiceClient(process.url, process.api_key) as client:
        yield client, process


def alone(channels: int, folder: Path) -> float:
    """Frames/s from the SDK into the file of the process that owns it."""
    with streamer(folder, channels, FRAMES, output=False) as (client, _):
        series = client.arm(ArmRequest(expected_frames=FRAMES))
        begin = time.perf_counter()
        client.instruct("arm", exposure=EXPOSURE, frames=FRAMES)
        report = _ended(client, series.id)
        elapsed = time.perf_counter() - begin
    _check(report, channels, EXPOSURE)
    return FRAMES / elapsed


def through(channels: int, folder: Path) -> float:
    """Frames/s from the SDK over the data port into the file of a second service."""
    with streamer(folder, channels, FRAMES, output=True) as (source, _):
        config = for_row("xspress3", source.status().outputs[0].address, folder, environ={})
        config.rest.port = 0
        config.source.queue = 64
        config.log_level = "WARNING"
        with ServiceProcess(config) as process, ServiceClient(process.url, process.api_key) as client:
            series = client.arm(ArmRequest(expected_frames=FRAMES))
            source.arm(ArmRequest(save=False))
            source.wait(lambda status: status.outputs[0].clients > 0, PATIENCE, "the receiver")
            begin = time.perf_counter()
            source.instruct("arm", exposure=EXPOSURE, frames=FRAMES)
            report = _ended(client, series.id)
            elapsed = time.perf_counter() - begin
        assert source.detector()["overruns"] == 0
    _check(report, channels, EXPOSURE)
    return FRAMES / elapsed


def _ended(client: ServiceClient, id: str) -> SeriesReport:
    def over(status: Status) -> bool:
        return status.series is None and status.last_series is not None and status.last_series.id == id

    client.wait(over, PATIENCE, f"the end of series {id}")
    return client.series(id)


def _check(report: SeriesReport, channels: int, exposure: float) -> None:
    """Compare every frame and every scaler in the file with what the SDK has."""
    assert report.outcome == "complete", report
    assert report.file is not None
    spectra, scalers = _bank(channels, exposure)
    with h5py.File(report.file, "r", locking=False) as file:
        group = file[f"/entry/instrument/{report.detector}"]
        rows = len(group["data"])
        assert rows == FRAMES, rows
        for first in range(0, rows, 800):
            block = group["data"][first : first + 800]
            sent = spectra[np.arange(first, first + len(block)) % BANK]
            assert np.array_equal(block, sent), f"frames {first} and following differ"
        for name, index in {
            "clock_ticks": 0,
            "reset_ticks": 1,
            "all_events": 3,
            "all_good": 4,
            "total_ticks": 8,
        }.items():
            assert np.array_equal(group[name][()], scalers[np.arange(rows) % BANK, :, index]), name
        assert np.isfinite(group["dead_time_correction"][()]).all()
    Path(report.file).unlink()


def _bank(channels: int, exposure: float) -> tuple[Any, Any]:
    """The frames that come again and again, read with the SDK itself."""
    config = SystemConfig.model_validate(system(channels, FRAMES))
    with Xspress3(config) as sdk:
        sdk.arm(Timing(exposure=exposure, frames=BANK))
        while sdk.progress().complete < BANK:
            pass
        return sdk.read_spectra(0, BANK), sdk.read_scalers(0, BANK)


def memory(folder: Path, frames: int) -> tuple[list[float], float]:
    """MB of the data plane after a tenth and a half of so many frames of 8 x 64 bins, and in the end; and frames/s."""
    with streamer(folder, 8, 1 << 16, output=False) as (client, _):
        client.instruct("set_range", first=0, bins=SMALL_BINS)
        series = client.arm(ArmRequest(expected_frames=frames))
        begin = time.perf_counter()
        client.instruct("arm", exposure=5e-5, frames=frames)
        used = []
        for part in (0.1, 0.5, 1.0):
            status = client.wait(lambda now, due=part * frames: _written(now) >= due, PATIENCE, f"{part:.0%}")
            used.append(status.resident_megabytes)
        report = _ended(client, series.id)
        elapsed = time.perf_counter() - begin
        assert report.outcome == "complete", report
    assert report.file is not None
    Path(report.file).unlink()
    return used, frames / elapsed


def _written(status: Status) -> int:
    return status.series.ledger.written if status.series is not None else 1 << 60


def latency() -> list[float]:
    """Seconds from a frame's end to its arrival at a client of the monitor port, which asks all the time."""
    values = {"channels": 4, "rate": 1e5, "precomputed": BANK}
    plane = Xspress3Plane(
        detector="xspress3",
        outputs=[],
        monitor="tcp://127.0.0.1:*",
        system=SystemConfig.model_validate({"simulate": values}),
        unarmed="forward",
    )
    with zmq.Context() as context:
        pipeline = Pipeline(plane, context, open_intake=_open)
        assert pipeline.monitor is not None
        client = subprocess.Popen(
            [sys.executable, HERE / "monitor_client.py", pipeline.monitor.address, str(LATENCY_FRAMES)],
            stdout=subprocess.PIPE,
            text=True,
        )
        while not pipeline.monitor.answered:
            pipeline.turn(0.05)
        begin = _armed(pipeline.source, {"exposure": LATENCY_EXPOSURE, "frames": LATENCY_FRAMES})
        while client.poll() is None:
            pipeline.turn(0.05)
        pipeline.close()
    assert client.stdout is not None
    arrived = {int(number): moment for number, moment in json.loads(client.stdout.read()).items()}
    period = Timing(exposure=LATENCY_EXPOSURE).period
    return sorted(moment - (begin + (number + 1) * period) for number, moment in arrived.items())


def _armed(streamer: Any, arguments: dict[str, Any]) -> float:
    """Arm, and return when the hardware began, by the system's monotonic clock."""
    sdk, begun = streamer.sdk, []
    arm = sdk.arm
    sdk.arm = lambda timing: (arm(timing), begun.append(time.monotonic()))
    streamer.obey("arm", arguments)
    sdk.arm = arm
    return begun[0]


def _open(config: PlaneConfig, _: Any) -> Streamer:
    assert isinstance(config, Xspress3Plane)
    return Streamer(config)


def run(rounds: int, folder: Path, console: Console) -> list[Result]:
    results = []
    for channels, name in ((4, "spectra4"), (8, "spectra")):
        result, workload = Result(channels), WORKLOADS[name]
        nbytes = channels * 4096 * 4 * FRAMES
        for number in range(rounds):
            console.print(f"{channels} channels: round {number + 1} of {rounds}", style="dim")
            for measure, into in (
                (partial(limits.zeromq, workload), result.zeromq),
                (partial(limits.chunks, workload, folder), result.chunks),
                (partial(alone, channels, folder), result.alone),
                (partial(through, channels, folder), result.through),
            ):
                limits.warm(nbytes + (256 << 20), folder)
                into.append(measure())
        results.append(result)
    return results


def table(results: list[Result]) -> Table:
    shown = Table(title="Xspress3: frames/s with all scalars, every frame compared")
    for heading in (
        *("frame", "ZeroMQ", "chunks", "SDK → file", "of chunks", "SDK → stream → service → file"),
        *("of the slower limit", "MB/s", "times the existing"),
    ):
        shown.add_column(heading, justify="left" if heading == "frame" else "right")
    for result in results:
        shown.add_row(*result.row())
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--million", type=int, default=1_000_000, help="frames of the measurement of memory; 0 for none"
    )
    parser.add_argument("--folder", type=Path, help="where files go; the fastest disk you would use (default: /tmp's)")
    options = parser.parse_args()
    console = Console(width=150 if not sys.stdout.isatty() else None)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        console.print(table(run(options.rounds, Path(folder), console)))
        moments = latency()
        cuts = quantiles(moments, n=100)
        console.print(
            f"Frame ready to monitor reply: p50 {1e3 * cuts[49]:.2f} ms, p99 {1e3 * cuts[98]:.2f} ms "
            f"({len(moments)} frames of 4 x 4096, one each {1e3 * LATENCY_EXPOSURE:g} ms)"
        )
        if options.million:
            used, rate = memory(Path(folder), options.million)
            megabytes = ", ".join(f"{one:.0f}" for one in used)
            console.print(
                f"{options.million:,} frames of 8 x {SMALL_BINS}: {megabytes} MB after a tenth, a half and all; "
                f"{rate:,.0f} frames/s"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
