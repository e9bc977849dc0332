"""What the matrix of plans, faces and routes is made of: real services, what their simulators send, and checks.

Each detector can say what it sent without asking the service: an area detector's frames are made again from their
numbers, spectra from the seed of the simulation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import h5py
import numpy as np
import yaml
from event_model import DocumentNames, schema_validators
from numpy.typing import NDArray
from ophyd.sim import SynAxis
from ophyd_async.core import init_devices

from bluesky_streamdet.devices.asynchronous import StreamDetector as AsyncStreamDetector
from bluesky_streamdet.devices.classic import StreamDetector
from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as AsyncXspress3Detector
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector
from bluesky_streamdet.plans import burst_scan, fly
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.detector import Detector, Exposure, Shot
from bluesky_streamdet.xspress3.simulation.sample import Composition, Sample
from tests.system.station import Process

Arrays = dict[str, NDArray[Any]]
FACES = ("classic", "async")
SHAPE, DTYPE = (32, 48), "uint16"
CHANNELS = 2
CHANNEL_KEYS = [f"xspress3_channel{channel}_spectrum" for channel in range(CHANNELS)]
"""Of spectra, in documents of the kind "resource"."""
EXPOSURE = 0.002
SIMULATED: dict[str, Any] = {"channels": CHANNELS, "rate": 100_000.0}
SIMULATION = SimulationConfig(**SIMULATED)
MOST_RUNS = 300
"""Of the simulation while the tests last."""


@dataclass(frozen=True)
class Services:
    """Of both detectors, and the control port of the area detector."""

    eiger: str
    control: str
    xspress3: str


@contextmanager
def services(folder: Path, frames: Path) -> Iterator[Services]:
    """`streamdet simulate` with its `streamdet serve`, and `streamdet xspress3 stream`; keys lie in `folder`."""
    environ = {"OMP_NUM_THREADS": "1", "LOG_LEVEL": "WARNING", "XDG_RUNTIME_DIR": str(folder)}
    config = folder / "xspress3.yaml"
    quiet: dict[str, Any] = {"outputs": [], "monitor": None, "rest": {"port": 0}, "files": {"directory": str(frames)}}
    config.write_text(yaml.safe_dump({"detectors": {"xspress3": {"system": {"simulate": SIMULATED}, **quiet}}}))
    page = r"page +(\S+)/#key="
    with ExitStack() as stack:

        def started(ready: str, *arguments: str) -> Process:
            process = Process(arguments, ready, environ)
            stack.callback(process.end)
            return process

        shape = "x".join(map(str, SHAPE))
        options = ("--port", "0", "--control-port", "0", "--shape", shape, "--dtype", DTYPE)
        simulator = started(r"control port: (\S+)", "simulate", "eiger", *options)
        (address,) = re.findall(r"sends on (\S+):", "".join(simulator.lines))
        eiger = started(page, "serve", "eiger", "--from", address, "--directory", str(frames), "--port", "0")
        xspress3 = started(page, "xspress3", "stream", str(config))
        yield Services(eiger.said[0], simulator.said[0], xspress3.said[0])


# What was sent.


@dataclass
class Sent:
    """What one detector's frames of a run were. beside: what came with each, by the names of columns."""

    frames: NDArray[Any]
    totals: NDArray[np.float64]
    beside: Arrays


def pictures(frames: int) -> Sent:
    """The first so many frames that an area detector sends once it is armed."""
    sent = np.stack([_bank().frame(number) for number in range(frames)])
    masked = np.iinfo(sent.dtype).max
    totals = np.array([one[one < masked].sum(dtype=float) for one in sent])
    return Sent(sent, totals, {"sequence_number": np.arange(frames)})


def spectra(frames: int, burst: int, first: NDArray[Any]) -> Sent:
    """So many frames of the Xspress3. burst: of how many a run of the hardware is; 1 for one run of all of them.

    first: what was read of the first of them, (channels, bins), that tells which run it was; only that is taken of it.
    """
    numbers = [divmod(number, burst if burst > 1 else frames) for number in range(frames)]
    began = next((run for run in range(1, MOST_RUNS) if np.array_equal(_shot(run, 0).raw, first)), None)
    assert began is not None, "the simulation never sent such a frame"
    shots = [_shot(began + run, number) for run, number in numbers]
    events, resets = (np.stack([getattr(one.counted, name) for one in shots]) for name in ("events", "reset_ticks"))
    sent, ticks = np.stack([one.raw for one in shots]), np.stack([one.ticks for one in shots])
    factor = ticks / (ticks - events * (SIMULATION.event_width + 1) - resets)
    totals = (sent.sum(axis=2) * factor).sum(axis=1)
    # All bins are in both windows.
    windows = np.stack([sent.sum(axis=2)] * 2, axis=1)
    known = {"clock_ticks": ticks, "reset_ticks": resets, "all_events": events, "window_counts": windows}
    return Sent(sent, totals, known | {"dead_time_correction": factor})


@lru_cache
def _bank() -> Pictures:
    return Pictures(SHAPE, DTYPE)


@lru_cache
def _simulation() -> tuple[Detector, Composition]:
    reference = Sample(SIMULATION.sample, lambda: 0).reference
    return Detector(SIMULATION, reference), reference


@cache
def _shot(run: int, number: int) -> Shot:
    """What the simulation makes of a frame of a run."""
    detector, composition = _simulation()
    ticks = np.full(CHANNELS, round(EXPOSURE / SIMULATION.clock_period))
    return detector.expose(run, number, Exposure(ticks, np.full(CHANNELS, SIMULATION.event_width), composition))


# How it is taken.


def made(name: str, face: str, where: Services, **keywords: Any) -> Any:
    """The device of a detector; a RunEngine must exist before."""
    keywords = {"exposure": EXPOSURE, "margin": 20.0} | keywords
    if name == "eiger":
        of = {"url": where.eiger, "driver": where.control, "shape": SHAPE, "dtype": np.dtype(DTYPE).str}
        kind: Any = StreamDetector if face == "classic" else AsyncStreamDetector
    else:
        of = {"url": where.xspress3, "channels": CHANNELS, "regions": {"Fe": {"bins": [600, 680]}}}
        kind = Xspress3Detector if face == "classic" else AsyncXspress3Detector
    if face == "classic":
        return kind(name=name, **of, **keywords)
    with init_devices():
        device = kind(name=name, **of, **keywords)
    return device  # noqa: RET504, it is connected as a variable that was not there before


@dataclass(frozen=True)
class Case:
    """A plan of the matrix. plan: made of the detectors. positions: of each motor, at each event."""

    plan: Callable[[Sequence[Any]], Any]
    events: int
    positions: dict[str, list[float]] = field(default_factory=dict)
    detectors: tuple[str, ...] = ("eiger",)
    frames: int = 1
    flies: bool = False


BOTH = ("eiger", "xspress3")


def _motor(name: str = "motor") -> Any:
    return SynAxis(name=name)


def _grid(detectors: Sequence[Any]) -> Any:
    return bp.grid_scan(detectors, _motor("slow"), 0, 1, 2, _motor("fast"), 0, 2, 3, snake_axes=True)


def _scan(detectors: Sequence[Any]) -> Any:
    return bp.scan(detectors, _motor(), -1, 1, 5)


def _fly(detectors: Sequence[Any]) -> Any:
    return fly(detectors, 24, flush_period=0.01)


def _burst(detectors: Sequence[Any]) -> Any:
    return burst_scan(detectors, _motor(), 0, 1, num=3, frames=4)


SPREAD = {"motor": [-1.0, -0.5, 0.0, 0.5, 1.0]}
POINTS = {"motor": [0.0, 0.5, 1.0]}
CASES = {
    "count": Case(lambda detectors: bp.count(detectors, 4), 4),
    "scan": Case(_scan, 5, SPREAD),
    "grid_scan": Case(_grid, 6, {"slow": [0, 0, 0, 1, 1, 1], "fast": [0, 1, 2, 2, 1, 0]}),
    "list_scan": Case(lambda detectors: bp.list_scan(detectors, _motor(), [0.5, -1, 3]), 3, {"motor": [0.5, -1, 3]}),
    "fly": Case(_fly, 24, flies=True),
    "burst": Case(_burst, 3, POINTS, frames=4),
    "two detectors": Case(_scan, 5, SPREAD, BOTH),
    "two detectors fly": Case(_fly, 24, {}, BOTH, flies=True),
    "two detectors burst": Case(_burst, 3, POINTS, BOTH, frames=4),
}


# What is to be read back.


def expected(case: Case, face: str, asset_docs: str, read: Arrays) -> Arrays:
    """The value of each data key, over all events. read: what was read back, see `spectra`."""
    separator = "_" if face == "classic" else "-"
    values: Arrays = {motor: np.array(places) for motor, places in case.positions.items()}
    for name in case.detectors:
        sent = _sent(case, name, asset_docs, read)
        if not case.flies:
            values[f"{name}{separator}total"] = sent.totals[case.frames - 1 :: case.frames]
            values[f"{name}{separator}frames_written"] = case.frames * np.arange(1, case.events + 1)
        if asset_docs == "stream":
            columns = {f"{name}{separator}{column}": one for column, one in sent.beside.items()}
            values |= {key: _by_event(one, case) for key, one in {name: sent.frames, **columns}.items()}
        elif name == "xspress3":
            values |= {key: sent.frames[:, channel] for channel, key in enumerate(CHANNEL_KEYS)}
        else:
            # The handlers of areaDetector files return a stack of frames, be it of one.
            values[name] = sent.frames.reshape(case.events, case.frames, *SHAPE)
    return values


def _sent(case: Case, name: str, asset_docs: str, read: Arrays) -> Sent:
    frames = case.events * case.frames
    if name == "eiger":
        return pictures(frames)
    if asset_docs == "stream":
        first = read[name][0, 0] if case.frames > 1 else read[name][0]
    else:
        first = np.stack([read[key][0] for key in CHANNEL_KEYS])
    return spectra(frames, case.frames, first)


def _by_event(frames: NDArray[Any], case: Case) -> NDArray[Any]:
    return frames.reshape(case.events, case.frames, *frames.shape[1:]) if case.frames > 1 else frames


def check(read: Arrays, wanted: Arrays) -> None:
    """All that was wanted was read, in the same order and, but for what was calculated, to the last bit."""
    assert set(wanted) <= set(read)
    for key, values in wanted.items():
        found = np.asarray(read[key])
        assert found.shape == values.shape, key
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found, values, rtol=1e-12, err_msg=key)
        else:
            np.testing.assert_array_equal(found, values, err_msg=key)


class Checked:
    """A callback that checks each document as it comes: its schema, and that files hold what it promises."""

    def __init__(self) -> None:
        self.ranges: dict[str, list[tuple[int, int]]] = {}
        self._resources: dict[str, Any] = {}
        self._keys: dict[str, str] = {}

    def __call__(self, name: str, document: Any) -> None:
        schema_validators[DocumentNames[name]].validate(document)
        if name in {"resource", "stream_resource"}:
            self._resources[document["uid"]] = document
        elif name == "stream_datum":
            resource = self._resources[document["stream_resource"]]
            begin, end = document["indices"]["start"], document["indices"]["stop"]
            self.ranges.setdefault(resource["data_key"], []).append((begin, end))
            path = resource["uri"].removeprefix("file://localhost")
            assert _rows(path, resource["parameters"]["dataset"]) >= end, "documents are ahead of the file"
        elif name == "datum":
            resource, wanted = self._resources[document["resource"]], document["datum_kwargs"]
            frames = resource["resource_kwargs"].get("frame_per_point", 1)
            end = frames * (wanted.get("point_number", wanted.get("frame")) + 1)
            assert _rows(Path(resource["root"], resource["resource_path"]), "/entry/data/data") >= end

    def check_ranges(self, case: Case) -> None:
        """Ranges are disjoint and increasing, and have all events."""
        for key, ranges in self.ranges.items():
            begins, ends = zip(*ranges, strict=True)
            assert (begins, ends[-1]) == ((0, *ends[:-1]), case.events), key
            assert all(begin < end for begin, end in ranges), key


def _rows(path: str | Path, dataset: str) -> int:
    """Of a dataset, as a reader sees it while the file is being written."""
    with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
        return file[dataset].shape[0]
