"""The service from end to end: a detector's process, `streamdet serve`, and by choice a client of its fan-out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import limits
import numpy as np
import yaml
from numpy.typing import NDArray
from workloads import BANK, Workload

from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.status import SeriesReport, Status

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """One series through the service. rate: frames/s. nbytes: payload of the series.

    last_tenth: rate of the last tenth of the frames, as a part of that of the first.
    """

    rate: float
    nbytes: int
    last_tenth: float
    cpu_seconds: float
    peak_megabytes: float

    @property
    def cpu_per_gigabyte(self) -> float:
        return self.cpu_seconds / (self.nbytes / 1e9)


def measure(workload: Workload, folder: Path, *, client: bool, files: Mapping[str, Any] = {}) -> Measured:
    """Send a series through the service. files: of its configuration.

    Raises `AssertionError` when a frame is missing or differs.
    """
    with (
        limits.waiting_sender(workload) as (sender, address),
        TemporaryDirectory(dir=folder) as data,
        service_for(workload, Path(data), address, client=client, files=files) as (service, pids),
    ):
        sink = _start_client(service, workload) if client else None
        before = sum(map(cpu_seconds, pids))
        begin = limits.let_go(sender)
        status = service.wait(_ended, 120, "the end of the series")
        elapsed = time.perf_counter() - begin
        cpu = sum(map(cpu_seconds, pids)) - before
        peak = max(map(peak_megabytes, pids[1:]))
        if sink is not None:
            _check_client(sink, workload)
        assert status.last_series is not None
        assert status.last_series.outcome == "complete", status.last_series
        numbers, times, nbytes = check_files(status.last_series, workload)
    assert np.array_equal(numbers, np.arange(workload.frames)), "frame numbers out of order, or frames are missing"
    tenth = len(times) // 10
    last_tenth = (times[tenth] - times[0]) / (times[-1] - times[-1 - tenth])
    return Measured(workload.frames / elapsed, nbytes, last_tenth, cpu, peak)


def _ended(status: Status) -> bool:
    return status.last_series is not None and status.series is None


@contextmanager
def service_for(
    workload: Workload,
    folder: Path,
    address: str,
    *,
    client: bool = False,
    files: Mapping[str, Any] = {},
    source: Mapping[str, Any] = {},
) -> Iterator[tuple[ServiceClient, list[int]]]:
    """A service that receives from `address`; a client of it, and its processes: control plane, then data plane.

    files, source: of its configuration, besides what all have.
    """
    output = {"name": "stream", "address": "tcp://127.0.0.1:*", "overflow": "block", "queue": workload.queue}
    detector = {
        "type": "stins",
        "source": {"endpoints": [address], "queue": workload.queue, **source},
        "files": {"directory": str(folder), **files},
        "outputs": [output] if client else [],
        "rest": {"port": 0},
        "log_level": "WARNING",
    }
    config = folder / "bench.yaml"
    config.write_text(yaml.safe_dump({"detectors": {"bench": detector}}))
    key = "benchmark-" + os.urandom(8).hex()
    process = subprocess.Popen(
        [sys.executable, "-m", "bluesky_streamdet.cli.main", "serve", str(config), "bench"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"STREAMDET_API_KEY": key},
    )
    try:
        with ServiceClient(_url(process), api_key=key) as service:
            service.wait(lambda status: any(source.connected for source in status.sources), 30, "the sender")
            yield service, [process.pid, *children(process.pid)]
    finally:
        process.terminate()
        process.wait(30)


def _url(process: subprocess.Popen[str]) -> str:
    """The address that the service prints when it is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        for word in line.split():
            if word.startswith("http://"):
                return word.rstrip("/.,")
    raise RuntimeError("the service ended before it was ready")


def _start_client(service: ServiceClient, workload: Workload) -> subprocess.Popen[str]:
    address = service.status().outputs[0].address
    sink = subprocess.Popen(
        [sys.executable, HERE / "client.py", address, str(workload.queue)], stdout=subprocess.PIPE, text=True
    )
    service.wait(lambda status: status.outputs[0].clients > 0, 30, "the client of the fan-out")
    return sink


def _check_client(sink: subprocess.Popen[str], workload: Workload) -> None:
    out, _ = sink.communicate(timeout=60)
    assert json.loads(out) == {"frames": workload.frames, "disordered": 0}, f"the client got {out}"


def check_files(series: SeriesReport, workload: Workload) -> tuple[NDArray[np.uint64], NDArray[np.int64], int]:
    """Compare every frame with what was sent. Returns the frames' numbers and times (ns), and the bytes of payload."""
    assert series.data is not None
    payloads = workload.payloads()
    columns = {one.name: one.dataset for one in series.data.columns}
    numbers, times, nbytes = [], [], 0
    for path in _files(series):
        with h5py.File(path, "r", locking=False) as file:
            data = file[series.data.dataset]
            numbers.append(file[columns["sequence_number"]][()].reshape(-1))
            times.append(file[columns["receive_time"]][()].reshape(-1))
            assert len(data) == len(numbers[-1]), data.shape
            together = data.chunks[0]
            for first in range(0, len(data), together):
                _, chunk = data.id.read_direct_chunk((first, *(0 for _ in workload.shape)))
                rows = numbers[-1][first : first + together]
                sent = b"".join(payloads[row % BANK] for row in rows)
                assert chunk[: len(sent)] == sent, f"frames {rows[0]} to {rows[-1]} differ"
                nbytes += len(sent)
    return np.concatenate(numbers), np.concatenate(times), nbytes


def _files(series: SeriesReport) -> list[Path]:
    """Those that have frames of their own, in their order."""
    assert series.file is not None
    master = Path(series.file)
    if not series.parts:
        return [master]
    return sorted(master.parent.glob(f"{master.stem}_*.h5"), key=lambda path: (len(path.name), path.name))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6
