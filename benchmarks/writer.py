"""What files cost, by layout, SWMR and roll-over; a million frames; parallel writers: see README.md beside this."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from statistics import median
from threading import Barrier
from typing import Any, NamedTuple

import limits
import numpy as np
from rich.console import Console
from rich.table import Table
from service import Measured, check_files, cpu_seconds, measure, service_for
from workloads import ALL, BANK, LONG, Workload

from bluesky_streamdet.core.events import BSLZ4, RAW, Frame, FrameFormat
from bluesky_streamdet.core.resequence import Resequencer
from bluesky_streamdet.core.series import Order, Series
from bluesky_streamdet.service.together import Together
from bluesky_streamdet.streaming.config import PlaneConfig
from bluesky_streamdet.streaming.files import layouts
from bluesky_streamdet.streaming.files.config import FileConfig
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.targets import Targets
from bluesky_streamdet.streaming.messages import ArmRequest

PARTS = ("ways", "long", "parallel")
FRAMES = {"eiger": 1500, "camera": 300, "small": 100_000, "long": LONG.frames}
"""Of each series, so that none takes more than some seconds."""
ROLL_OVER = 100
MOST_FILES = 200
"""Of a series of many small frames, which would take thousands."""
WRITERS = (1, 2, 4)
BATCH = 64
"""Frames that a batch has at most, where they come from memory."""
FLUSH = 0.1
PATIENCE = 120.0
AIM_LAST_TENTH = 0.95


class Case(NamedTuple):
    """One way to write. files: of the service's configuration."""

    part: str
    name: str
    workload: Workload
    files: dict[str, Any]

    @property
    def limit(self) -> dict[str, Any]:
        """How the limit is taken: with the same chunks, in as many files."""
        layout = layouts.Layouts("nexus", {}).chosen(self.files.get("layout")).layout
        return {"most": layout.frames.frames_per_chunk, "frames_per_file": self.files.get("frames_per_file")}


def cases() -> Iterator[Case]:
    of = {name: replace(ALL[name], frames=frames) for name, frames in FRAMES.items()}
    for workload in (of["eiger"], of["camera"], of["small"]):
        # What a layout costs is the same for each frame, so that large ones tell nothing new.
        for name in ["nexus"] if workload.name == "camera" else layouts.shipped():
            yield Case("ways", name, workload, {"layout": name})
        yield Case("ways", "nexus, SWMR off", workload, {"swmr": "off"})
        rolled = replace(workload, frames=min(workload.frames, MOST_FILES * ROLL_OVER))
        yield Case("ways", f"nexus, {ROLL_OVER} a file", rolled, {"frames_per_file": ROLL_OVER})
    yield Case("long", "nexus", of["long"], {})
    yield Case("long", "nexus, SWMR off", of["long"], {"swmr": "off"})
    yield Case("long", "exchange", of["long"], {"layout": "exchange"})


class Fed(NamedTuple):
    """A series from memory. rate: frames/s from the first one to the closed file. last_tenth: by processor time."""

    rate: float
    last_tenth: float


class Spent:
    """What is spent in its blocks, in seconds, by the clock and of this process."""

    def __init__(self) -> None:
        self.clock = self.cpu = 0.0

    def __enter__(self) -> None:
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.clock += time.perf_counter() - self._clock
        self.cpu += time.process_time() - self._cpu


@dataclass
class Result:
    """All rounds of one case."""

    case: Case
    zeromq: list[float] = field(default_factory=list)
    chunks: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    fed: list[Fed] = field(default_factory=list)
    served: list[Measured] = field(default_factory=list)

    def take(self, folder: Path) -> None:
        """One more round, in which limits and subjects take turns."""
        case = self.case
        steps = (
            lambda: self.plain.append(limits.plain_file(case.workload, folder)),
            lambda: self.chunks.append(limits.chunks(case.workload, folder, **case.limit)),
            lambda: self.fed.append(fed(case.workload, folder, case.files)),
            lambda: self.zeromq.append(limits.zeromq(case.workload)),
            lambda: self.served.append(measure(case.workload, folder, client=False, files=case.files)),
        )
        for step in steps:
            limits.warm(len(case.workload.payloads()[0]) * case.workload.frames + (256 << 20), folder)
            step()

    def row(self) -> list[str]:
        zeromq, chunks, plain = (median(one) for one in (self.zeromq, self.chunks, self.plain))
        path, service = median(one.rate for one in self.fed), median(one.rate for one in self.served)
        tenths = [median(one.last_tenth for one in runs) for runs in (self.fed, self.served)]
        return [
            self.case.workload.name,
            self.case.name,
            *(f"{rate:,.0f}" for rate in (plain, chunks, path)),
            f"{path / chunks:.2f}",
            f"{path / plain:.2f}",
            *(f"{rate:,.0f}" for rate in (zeromq, service)),
            f"{service / min(zeromq, chunks):.2f}",
            *([f"{share:.2f} ({AIM_LAST_TENTH:g})" for share in tenths] if self.case.part == "long" else []),
            f"{median(one.cpu_per_gigabyte for one in self.served):.2f}",
            f"{max(one.peak_megabytes for one in self.served):.0f}",
        ]


def fed(workload: Workload, folder: Path, files: Mapping[str, Any]) -> Fed:
    """The path from a batch of frames to the disk, with nothing before it; making the frames doesn't count."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        config = PlaneConfig(detector="bench", files=FileConfig.model_validate({"directory": data, **files}))
        series = Series(Order("bench"), None, None, Resequencer(0, 1 << 20, 1.0))
        writer = Targets(config).armed("bench", ArmRequest())
        writer.begin(series, None)
        spent, flushed, moments = Spent(), 0.0, []
        for batch in _batches(workload):
            series.ledger.received += len(batch)
            series.ledger.unique += len(batch)
            with spent:
                writer.write(batch)
            if spent.clock >= flushed + FLUSH:
                flushed = spent.clock
                with spent:
                    writer.flush()
            moments.append(spent.cpu)
        with spent:
            writer.finish(series)
        said = writer.report()
        assert said.outcome == "complete" and said.ledger.written == workload.frames, said
        assert inspect(Path(str(said.file))).readable == workload.frames
    tenth = len(moments) // 10
    # The first batch opens the file.
    last_tenth = (moments[tenth] - moments[0]) / (moments[-1] - moments[-1 - tenth]) if tenth else 1.0
    return Fed(workload.frames / spent.clock, last_tenth)


def _batches(workload: Workload) -> Iterator[list[Frame]]:
    """The frames, in batches that one turn of the service's loop would take: a few large ones, many small ones."""
    payloads, dtype = workload.payloads(), np.dtype(workload.dtype).str
    form = FrameFormat(workload.shape, dtype, BSLZ4 if workload.compression == "bslz4" else RAW, workload.shape)
    said = {"htype": "array-1.0", "shape": list(workload.shape), "type": workload.dtype, "source": "bench"}
    size = min(BATCH, workload.queue)
    for first in range(0, workload.frames, size):
        numbers = range(first, min(first + size, workload.frames))
        now = time.time_ns()
        yield [Frame(n, n, None, form, (payloads[n % BANK],), now, said={"frame": n, **said}) for n in numbers]


class Parallel(NamedTuple):
    """One stream to several services. rate: frames/s until all are readable. joined: seconds from then to a master.

    cpu: seconds of all services for a GB.
    """

    rate: float
    plain: float
    zeromq: float
    joined: float
    cpu: float


def parallel(workload: Workload, folder: Path, writers: int) -> Parallel:
    """Send a series to services that share it. Raises `AssertionError` when a frame is missing or differs."""
    nbytes = len(workload.payloads()[0]) * workload.frames
    limits.warm(nbytes + (256 << 20), folder)
    plain, zeromq = _plain_files(workload, folder, writers), limits.zeromq(workload)
    limits.warm(nbytes + (256 << 20), folder)
    with limits.waiting_sender(workload) as (sender, address), ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        clients, pids = [], []
        for number in range(writers):
            (own := data / str(number)).mkdir()
            client, its = stack.enter_context(service_for(workload, own, address, source={"shared": True}))
            clients.append(client)
            pids += its
        together = Together(clients)
        together.arm(ArmRequest(name="bench"))
        before = sum(map(cpu_seconds, pids))
        limits.let_go(sender)
        together.wait(workload.frames, PATIENCE)
        began = time.perf_counter()
        report = together.stop(workload.frames)
        joined = time.perf_counter() - began
        cpu = (sum(map(cpu_seconds, pids)) - before) / (nbytes / 1e9)
        assert report.outcome == "complete" and report.ledger.written == workload.frames, report
        shares = [one for one in (client.list_series()[-1] for client in clients) if one.ledger.written]
        numbers = np.sort(np.concatenate([check_files(one, workload)[0] for one in shares]))
        assert np.array_equal(numbers, np.arange(workload.frames)), "frames are missing"
    moments = [
        (one.statistics.first_frame_at, one.ledger.written / one.statistics.written_per_second) for one in shares
    ]
    first = min(one.timestamp() for one, _ in moments if one is not None)
    last = max(one.timestamp() + seconds for one, seconds in moments if one is not None)
    return Parallel(workload.frames / (last - first), plain, zeromq, joined, cpu)


def _plain_files(workload: Workload, folder: Path, writers: int) -> float:
    """Frames/s of plain writes into as many files at the same time."""
    share = replace(workload, frames=workload.frames // writers)
    context = get_context("spawn")
    barrier, rates = context.Barrier(writers), context.SimpleQueue()
    processes = [context.Process(target=_plain_share, args=(share, folder, barrier, rates)) for _ in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return writers * min(rates.get() for _ in processes)


def _plain_share(share: Workload, folder: Path, barrier: Barrier, rates: SimpleQueue[float]) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        rates.put(limits.plain_file(share, Path(own), lambda: barrier.wait(PATIENCE)))


def table(results: list[Result], title: str, *, tenths: bool) -> Table:
    """One picture. tenths: whether the rate of the last tenth is shown."""
    shown = Table(title=f"{title}: frames/s")
    last = ("last tenth by CPU (aim)", "by clock (aim)") if tenths else ()
    for heading in (
        *("workload", "how", "plain file", "chunks", "from memory", "of chunks", "of plain", "ZeroMQ", "service"),
        *("of the slower limit", *last, "CPU s/GB", "peak RSS MB"),
    ):
        shown.add_column(heading, justify="left" if heading in ("workload", "how") else "right")
    for result in results:
        shown.add_row(*result.row())
    return shown


def parallel_table(names: list[str], rounds: int, folder: Path, console: Console) -> Table:
    shown = Table(title="parallel writers of one stream: frames/s")
    for heading in (
        "workload",
        "writers",
        "plain files",
        "ZeroMQ",
        "services",
        "of one",
        "of the slower limit",
        "join, s",
        "CPU s/GB",
    ):
        shown.add_column(heading, justify="left" if heading == "workload" else "right")
    for name in names:
        workload = replace(ALL[name], frames=FRAMES[name])
        runs: dict[int, list[Parallel]] = {writers: [] for writers in WRITERS}
        for number in range(rounds):
            console.print(f"parallel, {name}: round {number + 1} of {rounds}", style="dim")
            for writers in WRITERS:
                runs[writers].append(parallel(workload, folder, writers))
        one = median(run.rate for run in runs[1])
        for writers, found in runs.items():
            rate, plain, zeromq, joined, cpu = (median(values) for values in zip(*found, strict=True))
            rates = (f"{value:,.0f}" for value in (plain, zeromq, rate))
            ratios = f"{rate / one:.2f}", f"{rate / min(plain, zeromq):.2f}"
            shown.add_row(name, str(writers), *rates, *ratios, f"{joined:.2f}", f"{cpu:.2f}")
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given several times")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files go; the fastest disk you would use (default: /tmp's)")
    options = parser.parse_args()
    parts = options.only or PARTS
    console = Console(width=170 if not sys.stdout.isatty() else None)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for part in (one for one in PARTS[:-1] if one in parts):
            results = [Result(case) for case in cases() if case.part == part]
            for number in range(options.rounds):
                for result in results:
                    what = f"{result.case.workload.name}, {result.case.name}"
                    console.print(f"{what}: round {number + 1} of {options.rounds}", style="dim")
                    result.take(folder)
            console.print(table(results, part, tenths=part == "long"))
        if "parallel" in parts:
            console.print(parallel_table(["eiger", "small"], options.rounds, folder, console))
    return 0


if __name__ == "__main__":
    sys.exit(main())
