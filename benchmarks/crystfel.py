"""Frames to workers that ask as CrystFEL's do: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os

# As the service does: the library that compresses has threads of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import zmq
from rich.console import Console
from rich.table import Table

from bluesky_streamdet.codecs import crystfel
from bluesky_streamdet.core.events import BSLZ4, RAW, Frame, FrameFormat, SeriesStart
from bluesky_streamdet.streaming.buffers import Buffers
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.responder import Responder
from bluesky_streamdet.transforms import pixels

SIZES = {"1 Mpixel": (1024, 1024), "4 Mpixel": (2048, 2048)}
ENCODINGS = {"int32": RAW, "int32, bslz4": BSLZ4}
WORKERS = (1, 4, 16, 64)
BANK = 4
IN_USE = 8
PROCESSES = 2
ROUNDS_OF_EACH = 2
"""Frames that workers are done with, on average, before a rate is taken."""
LATENCIES = 100
PERIOD = 0.02
"""Seconds between frames whose latency is taken, so that all workers wait again."""
SMALL, EACH = (256, 256), 60
"""Pixels of frames by which workers are compared, and how many of them each should get."""
WORKER = Path(__file__).with_name("crystfel_worker.py")
PATIENCE = 20.0
COSTS = ("hop + convert, CPU ms", "ours, CPU ms")


class Rate(NamedTuple):
    """Frames/s, and seconds of a processor for each in the process that sends."""

    rate: float
    used: float


class Farm:
    """Processes of workers, and what they say in the end."""

    def __init__(self, address: str, workers: int) -> None:
        processes = min(PROCESSES, workers)
        self._processes = [
            subprocess.Popen(
                [sys.executable, str(WORKER), address, str(workers // processes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]

    def end(self) -> tuple[list[int], list[float]]:
        """Frames that each worker got, and seconds from a frame's time to its arrival."""
        said = [json.loads(process.communicate("\n", PATIENCE)[0]) for process in self._processes]
        counts, latencies = ([value for one in said for value in one[key]] for key in ("counts", "latencies"))
        return counts, latencies

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@contextmanager
def farm(address: str, workers: int) -> Iterator[Farm]:
    one = Farm(address, workers)
    try:
        yield one
    finally:
        one.kill()


def bank(shape: tuple[int, int], encoding: str) -> list[Frame]:
    """Different frames, as a counting detector has them: few counts, some peaks, gaps."""
    random = np.random.default_rng(7)
    form = FrameFormat(shape, "<i4", encoding, shape)
    frames = []
    for number in range(BANK):
        image = random.poisson(3, shape).astype("<i4")
        image[random.random(shape) < 1e-3] = 5000
        image[shape[0] // 2 : shape[0] // 2 + 20] = -1
        frames.append(Frame(number, None, None, form, (pixels.ENCODERS[encoding](image),), 0))
    return frames


def hop(nbytes: int, workers: int, seconds: float) -> Rate:
    """Messages of such a size from a ROUTER that does nothing else to REQ sockets that do nothing else."""
    # As many as are in use in ours: one that is always in the processor's cache would leave sooner.
    payloads = cycle([np.full(nbytes, number, np.uint8) for number in range(IN_USE)])
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    address = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
    asked: set[bytes] = set()
    done, begin, used = 0, 0.0, 0.0
    with farm(address, workers):
        while not begin or time.perf_counter() - begin < seconds or done < ROUNDS_OF_EACH * workers:
            if not router.poll(round(1000 * PATIENCE)):
                raise RuntimeError("workers ask no more")
            peer = router.recv_multipart()[0]
            # All begin together, and what counts is what has come.
            done += peer in asked
            asked.add(peer)
            if begin:
                router.send_multipart([peer, b"", next(payloads)], copy=False)
            elif len(asked) == workers:
                begin, used = time.perf_counter(), time.process_time()
                for one in asked:
                    router.send_multipart([one, b"", next(payloads)], copy=False)
        rate = Rate(done / (time.perf_counter() - begin), (time.process_time() - used) / done)
    context.destroy(linger=0)
    return rate


def conversion(frames: list[Frame], seconds: float) -> float:
    """Frames/s of decoding and converting on one core."""
    headers: dict[str, crystfel.Header] = {"frame_number": 1}
    buffers = Buffers()
    kept: deque[memoryview] = deque(maxlen=IN_USE)
    done, begin = 0, 0.0
    while not begin or time.thread_time() - begin < seconds:
        if done == IN_USE and not begin:
            done, begin = 0, time.thread_time()
        kept.append(crystfel.message(pixels.decode(frames[done % BANK]), headers, allocate=buffers.allocate))
        done += 1
    return done / (time.thread_time() - begin)


def ours(frames: list[Frame], workers: int, seconds: float) -> tuple[Rate, list[int]]:
    """How fast it is, and frames of each worker."""
    with _responder() as responder, farm(responder.address, workers) as one:
        _until(responder, lambda: responder.handout.asking == workers)
        numbers = count()
        begin, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - begin < seconds or responder.handout.done < ROUNDS_OF_EACH * workers:
            while not responder.blocked:
                number = next(numbers)
                responder.send([_now(frames[number % BANK], number)])
            responder.wait(10)
            responder.flush()
        done = responder.handout.done
        rate = Rate(done / (time.perf_counter() - begin), (time.process_time() - used) / done)
        responder.discard()
        _until(responder, lambda: responder.handout.all_wait)
        counts, _ = one.end()
    report = responder.report()
    if sum(counts) != report.delivered or report.lost or report.failed:
        raise RuntimeError(f"{sum(counts)} of {report.delivered} frames have come; {report}")
    return rate, counts


def latency(frames: list[Frame], workers: int) -> list[float]:
    """Seconds from a frame's arrival to that at a worker which waits, for many frames."""
    with _responder() as responder, farm(responder.address, workers) as one:
        _until(responder, lambda: responder.handout.asking == workers)
        for number in range(LATENCIES):
            responder.send([_now(frames[number % BANK], number)])
            until = time.perf_counter() + PERIOD
            _until(responder, lambda until=until: time.perf_counter() >= until and responder.handout.all_wait)
        return one.end()[1]


@contextmanager
def _responder() -> Iterator[Responder]:
    with zmq.Context() as context:
        config = CrystfelConfig(address="tcp://127.0.0.1:*", policy="complete", queue=8)
        responder = Responder(config, context)
        responder.name_series("bench", {})
        responder.start(SeriesStart(metadata={"photon_energy": 9500.0, "distance": 0.1}))
        try:
            yield responder
        finally:
            responder.close()


def _now(frame: Frame, number: int) -> Frame:
    return Frame(number, None, None, frame.format, frame.parts, time.time_ns())


def _until(responder: Responder, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"workers do not take what there is: {responder.report()}")
        responder.wait(5)
        responder.flush()


@dataclass
class Result:
    """All rounds of one size and encoding, by number of workers; rates in frames/s."""

    name: str
    convert: list[float] = field(default_factory=list)
    hop: dict[int, list[Rate]] = field(default_factory=lambda: {workers: [] for workers in WORKERS})
    ours: dict[int, list[Rate]] = field(default_factory=lambda: {workers: [] for workers in WORKERS})
    latencies: list[float] = field(default_factory=list)

    def row(self, workers: int) -> list[str]:
        hop, ours = ([median(column) for column in zip(*one[workers], strict=True)] for one in (self.hop, self.ours))
        convert = median(self.convert)
        return [
            self.name if workers == WORKERS[0] else "",
            str(workers),
            f"{hop[0]:,.0f}",
            f"{convert:,.0f}",
            f"{ours[0]:,.0f}",
            f"{ours[0] / min(hop[0], convert):.2f}",
            f"{1e3 * (hop[1] + 1 / convert):.2f}",
            f"{1e3 * ours[1]:.2f}",
        ]


def measure(rounds: int, seconds: float) -> list[Result]:
    results = []
    for size, shape in SIZES.items():
        for kind, encoding in ENCODINGS.items():
            frames = bank(shape, encoding)
            result = Result(f"{size}, {kind}")
            for _ in range(rounds):
                for workers in WORKERS:
                    result.convert.append(conversion(frames, seconds / 4))
                    result.hop[workers].append(hop(shape[0] * shape[1] * 4, workers, seconds))
                    result.ours[workers].append(ours(frames, workers, seconds)[0])
            result.latencies = latency(frames, 4)
            results.append(result)
    return results


def fairness() -> list[list[str]]:
    """Of equal workers, half of which wait at any time: their number, frames of each, largest share by smallest."""
    rows = []
    frame = bank(SMALL, RAW)[0]
    for workers in WORKERS[1:]:
        with _responder() as responder, farm(responder.address, workers) as one:
            _until(responder, lambda responder=responder, all_=workers: responder.handout.asking == all_)
            for number in range(EACH * workers):
                _until(responder, lambda responder=responder, few=workers // 2: responder.handout.asking > few)
                responder.send([_now(frame, number)])
            _until(responder, lambda responder=responder: responder.handout.all_wait)
            counts, _ = one.end()
        rows.append([str(workers), f"{sum(counts) / workers:,.0f}", f"{max(counts) / max(1, min(counts)):.2f}"])
    return rows


def tables(results: list[Result], shares: list[list[str]]) -> list[Table]:
    rates = Table(title="frames/s to workers that ask")
    for heading in (
        "frames",
        "workers",
        "REQ/ROUTER hop",
        "decode, convert",
        "ours",
        "share",
        *COSTS,
    ):
        rates.add_column(heading, justify="left" if heading == "frames" else "right")
    times = Table(title="milliseconds from a frame's arrival to that at a worker which waits, 4 workers")
    for heading in ("frames", "p50", "p99"):
        times.add_column(heading, justify="left" if heading == "frames" else "right")
    for result in results:
        for workers in WORKERS:
            rates.add_row(*result.row(workers))
        low, high = np.percentile(result.latencies, [50, 99]) * 1e3
        times.add_row(result.name, f"{low:.1f}", f"{high:.1f}")
    fair = Table(title="frames of 256 x 256 pixels to equal workers")
    for heading in ("workers", "frames of each", "largest/smallest"):
        fair.add_column(heading, justify="right")
    for row in shares:
        fair.add_row(*row)
    return [rates, times, fair]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    results = measure(options.rounds, options.seconds)
    shares = fairness()
    for table in tables(results, shares):
        Console(width=130 if not sys.stdout.isatty() else None).print(table)
    if options.json:
        figures = {"rates": [one.row(workers) for one in results for workers in WORKERS], "fairness": shares}
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
