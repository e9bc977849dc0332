"""The repeater against a forwarder that does nothing else, with the same sockets, in turns. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import limits
import zmq
from rich.console import Console
from rich.table import Table
from service import children, cpu_seconds, peak_megabytes
from workloads import BANK, WORKLOADS, Workload

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.streaming.source import address_of

HERE = Path(__file__).parent
NAMES = ("eiger", "camera", "spectra", "small")
OUTPUTS = {1: 1.0, 3: 0.5, 8: 0.2}
"""How many outputs are measured, and with what part of the frames."""
FRAMES = {"eiger": 1000, "camera": 120, "spectra": 10_000, "small": 40_000}
LATENCY_FRAMES, LATENCY_PERIOD = 200, 0.004
PATIENCE = 60.0
AIM, AIM_MORE = 0.8, 0.15


@dataclass(frozen=True)
class Run:
    """One series through a repeater. rate: frames/s. cpu: seconds for a GB that came in. peak: MB of its process."""

    rate: float
    cpu: float
    peak: float


@dataclass
class Result:
    """All rounds of one workload and number of outputs."""

    workload: Workload
    outputs: int
    bare: list[Run] = field(default_factory=list)
    ours: list[Run] = field(default_factory=list)


def config_for(workload: Workload, address: str, outputs: int, folder: Path, **first: Any) -> DetectorConfig:
    """A repeater of such a stream, byte by byte, which drops nothing. first: other settings of the first output."""
    one = {"address": "tcp://127.0.0.1:*", "encoder": "as-received", "overflow": "block", "queue": workload.queue}
    ports = [{**one, "name": f"out-{index}", **(first if not index else {})} for index in range(outputs)]
    return DetectorConfig.model_validate(
        {
            "detector": "bench",
            "type": "stins",
            "source": {"endpoints": [address], "queue": workload.queue},
            "outputs": ports,
            "files": {"directory": folder},
            "unarmed": "forward",
            "rest": {"port": 0},
            "wait": {"gap_seconds": 0, "settle_seconds": 0},
            "log_level": "WARNING",
        }
    )


@contextmanager
def ours(workload: Workload, address: str, outputs: int, **first: Any) -> Iterator[tuple[list[str], list[int]]]:
    """Our repeater: addresses of its outputs, and its processes, the one that moves frames last."""
    with tempfile.TemporaryDirectory() as folder:
        config = config_for(workload, address, outputs, Path(folder), **first)
        with ServiceProcess(config) as process, ServiceClient(process.url, process.api_key) as client:
            assert process.pid is not None
            client.wait(lambda status: any(one.connected for one in status.sources), PATIENCE, "the sender")
            yield [one.address for one in client.status().outputs], [process.pid, *children(process.pid)]


@contextmanager
def bare(workload: Workload, address: str, outputs: int) -> Iterator[tuple[list[str], list[int]]]:
    """The forwarder that does nothing else."""
    command = [sys.executable, str(HERE / "forwarder.py"), address, str(outputs), str(workload.queue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            addresses = json.loads(process.stdout.readline())
            process.stdin.write("\n")
            process.stdin.flush()
            yield addresses, [process.pid]
        finally:
            process.kill()


@contextmanager
def sinks(workload: Workload, addresses: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(HERE / "sinks.py"), str(workload.queue), *addresses]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def measure(workload: Workload, outputs: int, repeater: Any) -> Run:
    """Send a series. Raises `AssertionError` when a client misses a frame, or has one out of order."""
    with (
        limits.waiting_sender(workload) as (sender, address),
        repeater(workload, address, outputs) as (addresses, pids),
        sinks(workload, addresses) as clients,
    ):
        assert clients.stdout is not None
        before = sum(map(cpu_seconds, pids))
        begin = limits.let_go(sender)
        got = json.loads(clients.stdout.readline())
        elapsed = time.perf_counter() - begin
        cpu = sum(map(cpu_seconds, pids)) - before
        peak = peak_megabytes(pids[-1])
    assert got == {"frames": [workload.frames] * outputs, "disordered": 0}, got
    nbytes = workload.frames * len(workload.payloads()[0])
    return Run(workload.frames / elapsed, cpu / (nbytes / 1e9), peak)


def run(names: list[str], rounds: int, console: Console) -> list[Result]:
    results = []
    for name in names:
        for outputs, share in OUTPUTS.items():
            workload = replace(WORKLOADS[name], frames=round(FRAMES[name] * share))
            result = Result(workload, outputs)
            for _ in range(rounds):
                result.bare.append(measure(workload, outputs, bare))
                result.ours.append(measure(workload, outputs, ours))
            console.print(f"{name}, {outputs} outputs", style="dim")
            results.append(result)
    return results


def latency(workload: Workload, outputs: int, repeater: Any) -> list[float]:
    """Seconds from sending a frame to having it from the last output, one frame at a time."""
    payloads, template = workload.payloads(), workload.header_template()
    moments = []
    with zmq.Context() as context, ExitStack() as stack:
        push = stack.enter_context(context.socket(zmq.PUSH))
        push.linger = 0
        push.bind("tcp://127.0.0.1:*")
        addresses, _ = stack.enter_context(repeater(workload, address_of(push), outputs))
        pulls = [stack.enter_context(context.socket(zmq.PULL)) for _ in addresses]
        for pull, address in zip(pulls, addresses, strict=True):
            pull.rcvtimeo = round(1000 * PATIENCE)
            pull.connect(address)
        push.send(b'{"htype":"header","msg_number":0,"filename":""}')
        for pull in pulls:
            pull.recv()
        for number in range(LATENCY_FRAMES):
            begin = time.perf_counter()
            push.send_multipart((template % (number + 1, number), payloads[number % BANK]))
            for pull in pulls:
                pull.recv_multipart()
            moments.append(time.perf_counter() - begin)
            time.sleep(LATENCY_PERIOD)
    return moments


def stopped(workload: Workload) -> tuple[float, float]:
    """Frames/s to three clients, beside a fourth that takes all, and beside one that has stopped."""
    rates = []
    for stops in (False, True):
        drops = {"overflow": "drop-newest"}
        with (
            limits.waiting_sender(workload) as (sender, address),
            ours(workload, address, 4, **drops) as ((slow, *others), _),
            sinks(workload, [slow]) as fourth,
            sinks(workload, others) as clients,
        ):
            assert clients.stdout is not None
            if stops:
                fourth.send_signal(signal.SIGSTOP)
            begin = limits.let_go(sender)
            got = json.loads(clients.stdout.readline())
            rates.append(workload.frames / (time.perf_counter() - begin))
            fourth.send_signal(signal.SIGCONT)
        assert got == {"frames": [workload.frames] * 3, "disordered": 0}, got
    return rates[0], rates[1]


def table(results: list[Result]) -> Table:
    shown = Table(title="frames/s that come in, each sent to every output byte by byte (aim)")
    headings = (
        "workload",
        "outputs",
        "bare",
        "ours",
        "MB/s",
        "share",
        "CPU s/GB bare",
        "ours",
        "each more",
        "peak RSS MB",
    )
    for heading in headings:
        shown.add_column(heading, justify="left" if heading == "workload" else "right")
    first = {result.workload.name: result for result in results if result.outputs == 1}
    for result in results:
        bare_rate, rate = median(one.rate for one in result.bare), median(one.rate for one in result.ours)
        cpu = median(one.cpu for one in result.ours)
        alone = first.get(result.workload.name)
        more = ""
        if alone is not None and alone is not result:
            base = median(one.cpu for one in alone.ours)
            more = f"{(cpu / base - 1) / (result.outputs - 1):.0%} ({AIM_MORE:.0%})"
        shown.add_row(
            result.workload.name,
            str(result.outputs),
            f"{bare_rate:,.0f}",
            f"{rate:,.0f}",
            f"{rate * len(result.workload.payloads()[0]) / 1e6:,.0f}",
            f"{rate / bare_rate:.2f} ({AIM:g})",
            f"{median(one.cpu for one in result.bare):.2f}",
            f"{cpu:.2f}",
            more,
            f"{max(one.peak for one in result.ours):.0f}",
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=[], help=f"of {', '.join(NAMES)}; all when left out")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.workloads) - set(NAMES):
        parser.error(f"unknown workloads: {', '.join(sorted(unknown))}")
    console = Console(width=150 if not sys.stdout.isatty() else None)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder  # where services keep their keys
        results = run(options.workloads or list(NAMES), options.rounds, console)
        console.print(table(results))
        for name in ("spectra", "eiger"):
            for outputs in (1, 3):
                parts = []
                for kind in (bare, ours):
                    cuts = quantiles(latency(WORKLOADS[name], outputs, kind), n=100)
                    parts.append(f"{kind.__name__} p50 {1e3 * cuts[49]:.2f} ms, p99 {1e3 * cuts[98]:.2f} ms")
                console.print(f"{name}, in to {outputs} outputs: {'; '.join(parts)}")
        for name in ("eiger", "spectra"):
            takes, stops = stopped(replace(WORKLOADS[name], frames=FRAMES[name] // 2))
            console.print(f"{name}: {takes:,.0f} frames/s to three clients; {stops:,.0f} when a fourth has stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
