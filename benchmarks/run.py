"""The service against the limits of this machine: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import limits
from rich.console import Console
from rich.table import Table
from service import Measured, measure
from workloads import WORKLOADS, Workload

HERE = Path(__file__).parent


@dataclass
class Result:
    """All rounds of one workload."""

    workload: Workload
    zeromq: list[float] = field(default_factory=list)
    chunks: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    alone: list[Measured] = field(default_factory=list)
    with_client: list[Measured] = field(default_factory=list)

    @property
    def limit(self) -> float:
        return min(median(self.zeromq), median(self.chunks))

    def rate(self, runs: list[Measured]) -> float:
        return median(run.rate for run in runs)

    def row(self) -> list[str]:
        alone, client = self.rate(self.alone), self.rate(self.with_client)
        megabytes = alone * self.alone[0].nbytes / self.workload.frames / 1e6
        return [
            self.workload.name,
            f"{median(self.zeromq):,.0f}",
            f"{median(self.chunks):,.0f}",
            f"{median(self.plain):,.0f}",
            f"{alone:,.0f}",
            f"{megabytes:,.0f}",
            f"{alone / self.limit:.2f} ({self.workload.aim:g})",
            f"{client:,.0f}",
            f"{client / self.limit:.2f} ({self.workload.aim_with_client:g})",
            f"{median(run.cpu_per_gigabyte for run in self.alone):.2f}",
            f"{max(run.peak_megabytes for run in self.alone + self.with_client):.0f}",
        ]


def run(names: list[str], rounds: int, folder: Path, console: Console) -> list[Result]:
    results = []
    for name in names:
        workload = WORKLOADS[name]
        result = Result(workload)
        nbytes = len(workload.payloads()[0]) * workload.frames
        for number in range(rounds):
            console.print(f"{name}: round {number + 1} of {rounds}", style="dim")
            for step in (_limits, _alone, _with_client):
                limits.warm(nbytes + (256 << 20), folder)
                step(result, folder)
        results.append(result)
    return results


def _limits(result: Result, folder: Path) -> None:
    result.zeromq.append(limits.zeromq(result.workload))
    result.chunks.append(limits.chunks(result.workload, folder))
    result.plain.append(limits.plain_file(result.workload, folder))


def _alone(result: Result, folder: Path) -> None:
    result.alone.append(measure(result.workload, folder, client=False))


def _with_client(result: Result, folder: Path) -> None:
    result.with_client.append(measure(result.workload, folder, client=True))


def table(results: list[Result]) -> Table:
    """Everything in one picture."""
    shown = Table(title="frames/s, and the share of the slower limit (aim)")
    for heading in (
        *("workload", "ZeroMQ", "chunks", "plain file", "service", "MB/s", "share"),
        *("with client", "share", "CPU s/GB", "peak RSS MB"),
    ):
        shown.add_column(heading, justify="left" if heading == "workload" else "right")
    for result in results:
        shown.add_row(*result.row())
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=[], help=f"of {', '.join(WORKLOADS)}; all when left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files go; the fastest disk you would use (default: /tmp's)")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    if unknown := set(options.workloads) - set(WORKLOADS):
        parser.error(f"unknown workloads: {', '.join(sorted(unknown))}")
    console = Console(width=150 if not sys.stdout.isatty() else None)
    console.print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {_commit()}", style="dim")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = run(options.workloads or list(WORKLOADS), options.rounds, Path(folder), console)
    console.print(table(results))
    if options.json:
        options.json.write_text(json.dumps({one.workload.name: one.row() for one in results}, indent=1))
    return 0


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "no repository"


if __name__ == "__main__":
    sys.exit(main())
