"""Pixels that are changed on the way, and what decoding costs: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os

# As the service does: the library that compresses has threads of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bluesky_streamdet.catalog import CODECS, DETECTORS
from bluesky_streamdet.core.events import CBF, MONO12P, RAW, Event, Frame, FrameFormat, SeriesStart
from bluesky_streamdet.streaming.chain import Chain
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.intake import BATCH_BYTES, Taken
from bluesky_streamdet.streaming.transforming import Transforming
from bluesky_streamdet.transforms import bslz4, pixels

BANK = 4
"""Different frames; frame `i` has the pixels `i % BANK`."""
WORKERS = (1, 2)
SMALL = (64, 64)
DECODES = 300


@dataclass(frozen=True)
class Workload:
    """A detector and what is done to its frames. wanted: what has to come out of the pixels that go in."""

    name: str
    form: FrameFormat
    steps: list[dict[str, dict[str, Any]]]
    frames: int
    image: Callable[[np.random.Generator], NDArray[Any]]
    wanted: Callable[[NDArray[Any]], NDArray[Any]]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> int:
        return math.prod(self.form.shape)


def _form(shape: tuple[int, ...], dtype: str, encoding: str) -> FrameFormat:
    return FrameFormat(shape, dtype, encoding, shape)


PILATUS = (619, 487)
ORCA = (2592, 4608)
LAMBDA = (4, 516, 772)
PLACES = {"x": [0, 780, 0, 780], "y": [0, 0, 520, 520], "rotation": [0, 180, 0, 180], "full_shape": [1036, 1552]}


def _dim(random: np.random.Generator) -> NDArray[Any]:
    """Some counts in each pixel, and peaks in one of a hundred."""
    counts = random.poisson(3, PILATUS)
    return np.where(random.random(PILATUS) < 0.01, random.poisson(50_000, PILATUS), counts).astype("<i4")


def _bright(random: np.random.Generator) -> NDArray[Any]:
    """So many counts that each pixel needs two bytes and what announces them."""
    return random.poisson(200_000, PILATUS).astype("<i4")


def _camera(random: np.random.Generator) -> NDArray[Any]:
    return random.integers(100, 240, ORCA, np.uint16)


def _modules(random: np.random.Generator) -> NDArray[Any]:
    return random.integers(0, 140, LAMBDA, np.uint16)


def _placed(image: NDArray[Any]) -> NDArray[Any]:
    picture = np.full(PLACES["full_shape"], 65535, image.dtype)
    for module, x, y, angle in zip(image, PLACES["x"], PLACES["y"], PLACES["rotation"], strict=True):
        picture[y : y + LAMBDA[1], x : x + LAMBDA[2]] = module[::-1, ::-1] if angle else module
    return picture


TURNED = [{"rotate": {"quarter_turns": -1}}, {"mask": {"rectangles": [[[0, 10], [0, 10]]]}}]


def _turned(image: NDArray[Any]) -> NDArray[Any]:
    turned = np.rot90(image, -1).copy()
    turned[:10, :10] = -1
    return turned


WORKLOADS = [
    Workload("PILATUS 300K, CBF", _form(PILATUS, "<i4", CBF), [], 600, _dim, lambda image: image),
    Workload("… bright: 3 bytes a pixel", _form(PILATUS, "<i4", CBF), [], 40, _bright, lambda image: image),
    Workload("… turned and masked", _form(PILATUS, "<i4", CBF), TURNED, 500, _dim, _turned),
    Workload("Orca, mono12p", _form(ORCA, "<u2", MONO12P), [], 30, _camera, lambda image: image),
    Workload("4 modules placed", _form(LAMBDA, "<u2", RAW), [{"place_modules": {}}], 200, _modules, _placed, PLACES),
]


class Bank:
    """An `Intake` that always has frames, so that it isn't what is measured."""

    lanes = 1
    sockets: Sequence[zmq.Socket[bytes]] = ()
    patience = 0.0
    trouble = None
    busy = False

    def __init__(self, workload: Workload, payloads: list[bytes]) -> None:
        self._events: Iterator[Event] = self._all(workload, payloads)
        self._batch = max(1, min(64, BATCH_BYTES // len(payloads[0])))

    @staticmethod
    def _all(workload: Workload, payloads: list[bytes]) -> Iterator[Event]:
        yield SeriesStart(metadata=workload.metadata)
        for number in range(workload.frames):
            yield Frame(number, number, None, workload.form, (payloads[number % BANK],), 0)

    def take(self, lane: int) -> Iterator[Taken]:
        events = list(islice(self._events, self._batch))
        if events:
            yield Taken(events)

    def take_no_frames(self) -> Iterator[Taken]:
        return iter(())

    def end(self) -> None: ...

    def pause(self, paused: bool) -> None: ...

    def move(self, config: SourceConfig) -> None: ...

    def keep_messages(self, keep: bool) -> None: ...

    def report(self) -> list[Any]:
        return []

    def work(self) -> None: ...

    def obey(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...


@dataclass
class Result:
    """All rounds of one workload. rates: frames/s, by workers.

    seconds: of a processor for a frame. copy, encode: seconds of copying its pixels, and of compressing them.
    """

    workload: Workload
    rates: dict[int, list[float]] = field(default_factory=lambda: {workers: [] for workers in WORKERS})
    seconds: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)
    encode: list[float] = field(default_factory=list)

    def row(self) -> list[str]:
        work, copy, encode = median(self.seconds), median(self.copy), median(self.encode)
        nanoseconds = 1e9 / self.workload.pixels
        return [
            self.workload.name,
            *(f"{median(self.rates[workers]):,.0f}" for workers in WORKERS),
            f"{work * nanoseconds:.2f}",
            f"{encode * nanoseconds:.2f}",
            f"{copy * nanoseconds:.2f}",
            f"{work / copy:.0f}",
        ]


def measure(workload: Workload, rounds: int) -> Result:
    """Everything of one workload; every frame of the bank is compared. Raises `RuntimeError` for a wrong one."""
    random = np.random.default_rng(7)
    images = [workload.image(random) for _ in range(BANK)]
    payloads = [pixels.ENCODERS[workload.form.encoding](image) for image in images]
    wanted = [workload.wanted(image) for image in images]
    result = Result(workload)
    for _ in range(rounds):
        for workers in WORKERS:
            rate, seconds = _run(workload, payloads, wanted, workers)
            result.rates[workers].append(rate)
            if workers == 1:
                result.seconds.append(seconds)
        result.copy.append(_best(images[0].copy))
        result.encode.append(_best(lambda: pixels.ENCODERS[bslz4.usual()](np.ascontiguousarray(wanted[0]))))
    return result


def _run(workload: Workload, payloads: list[bytes], wanted: list[NDArray[Any]], workers: int) -> tuple[float, float]:
    """Frames/s, and seconds of a processor for a frame."""
    with zmq.Context() as context:
        source = Transforming(Bank(workload, payloads), Chain(workload.steps), None, workers, context)
        done = 0
        last: list[Frame] = []
        begin = time.perf_counter()
        while done < workload.frames:
            for events, complaint in source.take(0):
                if complaint is not None:
                    raise RuntimeError(f"{workload.name}: {complaint}")
                frames = [event for event in events if isinstance(event, Frame)]
                done += len(frames)
                last = [*last, *frames][-BANK:]
            if source.sockets and done < workload.frames:
                source.sockets[0].poll(100)
        elapsed = time.perf_counter() - begin
        report = source.work()
        source.close()
    for frame in last:
        if not np.array_equal(pixels.decode(frame), wanted[frame.number % BANK]):
            raise RuntimeError(f"{workload.name}: frame {frame.number} is not what it should be")
    return workload.frames / elapsed, report.seconds / workload.frames


def _best(call: Callable[[], Any], times: int = 7) -> float:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def decoders() -> list[list[str]]:
    """Microseconds of decoding a frame's message: a small one, and one as the codec's first detector sends it."""
    return [[name, _decoding(name, SMALL, RAW), *_usual(name)] for name in CODECS]


def _usual(name: str) -> list[str]:
    row = next((row for row in DETECTORS.values() if row.codec == name), None)
    if row is None or not _is_a_picture(name):
        return ["", ""]
    shape, kind = row.picture.shape, row.picture.dtype
    encoding = row.picture.encoding or bslz4.usual()
    return [f"{shape[0]} x {shape[1]} {kind}, {encoding}", _decoding(name, shape, encoding, kind)]


def _is_a_picture(name: str) -> bool:
    return not name.startswith("xspress3")


def _decoding(name: str, shape: tuple[int, int], encoding: str, kind: str = "uint16") -> str:
    codec = CODECS[name]
    encoder, decoder = codec.encoder(), codec.decoder()
    form = _form(shape, np.dtype(kind).newbyteorder("<").str, encoding)
    image = np.random.default_rng(7).integers(0, 140, shape).astype(form.dtype)
    payload = pixels.ENCODERS[encoding](image)
    if start := encoder.start(SeriesStart("1", frames=DECODES)):
        decoder.decode(start, 0)
    messages = [
        encoder.frame(Frame(number, None, "1", form, (payload,), 0, {"start_time": 0, "stop_time": 1, "real_time": 1}))
        for number in range(DECODES)
    ]
    seconds = []
    for message in messages:
        begin = time.perf_counter()
        decoder.decode(message, 0)
        seconds.append(time.perf_counter() - begin)
    return f"{median(seconds) * 1e6:.1f}"


def tables(results: list[Result], costs: list[list[str]]) -> list[Table]:
    rates = Table(title="pixels changed on the way, bslz4 out")
    headings = [f"{workers} workers" if workers > 1 else "1 worker" for workers in WORKERS]
    for heading in ("workload", *headings, "ns/pixel", "of it bslz4", "copying", "times a copy"):
        rates.add_column(heading, justify="left" if heading == "workload" else "right")
    for result in results:
        rates.add_row(*result.row())
    decoding = Table(title="decoding the message of a frame, its pixels untouched, in microseconds")
    for heading in ("codec", "64 x 64 uint16, none", "as its detector sends", ""):
        decoding.add_column(heading, justify="left" if heading in ("codec", "as its detector sends") else "right")
    for cost in costs:
        decoding.add_row(*cost)
    return [rates, decoding]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    console = Console(width=150 if not sys.stdout.isatty() else None)
    results = []
    for workload in WORKLOADS:
        console.print(workload.name, style="dim")
        results.append(measure(workload, options.rounds))
    costs = decoders()
    for table in tables(results, costs):
        console.print(table)
    if options.json:
        figures = {"transforms": [one.row() for one in results], "decoders": costs}
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
