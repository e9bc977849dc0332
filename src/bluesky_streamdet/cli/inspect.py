"""`streamdet inspect`: what a file holds, and whether it can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from bluesky_streamdet.streaming.files.inspect import FileReport
    from bluesky_streamdet.streaming.status import LedgerReport


def inspect(
    file: Annotated[Path, typer.Argument(help="a file that streamdet wrote, or was writing when it died")],
    json: Annotated[bool, typer.Option("--json", help="print everything as JSON")] = False,
    dataset: Annotated[str | None, typer.Option(help="one of several, such as data_white; left out: all")] = None,
) -> None:
    """Print the ledger, the layout and a verdict; exit 1 when a series in the file is not complete.

    As JSON, a file of several datasets gives that of the last one, with the names of all.
    """
    from bluesky_streamdet.streaming.files.inspect import inspect as read

    report = read(file, dataset)
    reports = [report] if dataset is not None else [read(file, one) for one in report.datasets]
    if json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        for one in reports:
            _show(one)
    raise typer.Exit(0 if all(one.complete for one in reports) else 1)


def _show(report: FileReport) -> None:
    from rich.console import Console

    console = Console()
    console.print(f"[bold]{report.path}[/bold]", highlight=False)
    console.print(_layout(report))
    if report.earlier:
        console.print(_earlier(report))
    if report.ledger is not None:
        console.print(ledger_table(report.ledger, f" of {report.series}" if report.earlier else ""))
    style = "green" if report.complete else "bold red"
    console.print(f"[{style}]{report.verdict}[/{style}]", highlight=False)


def _layout(report: FileReport) -> Table:
    from rich.table import Table

    numbers = "none" if report.first_number is None else f"{report.first_number} to {report.last_number}"
    rows = {
        "detector": report.detector,
        "layout": report.layout + (f", dataset {report.dataset}" if len(report.datasets) > 1 else ""),
        "series": report.series,
        "started": report.started_at or "unknown",
        "ended": report.ended_at or "not yet, or never",
        "frames": f"{report.readable} readable, numbers {numbers}"
        + (f"; those of {report.series} from row {report.first_row} on" if report.earlier else ""),
        **_files(report),
        "each": f"{' x '.join(map(str, report.shape))} {report.dtype}",
        "filters": ", ".join(report.filters) or "none",
        "size": f"{report.nbytes / 1e6:,.1f} MB",
        "in Python": f'h5py.File("{report.path.name}")["{report.data}"]'
        + (", after import hdf5plugin" if report.filters else ""),
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/dim]", str(value))
    return table


def _files(report: FileReport) -> dict[str, str]:
    """Where the other frames are, of a series that has several files."""
    if report.part is not None:
        part = report.part
        return {"file": f"{part.index} of its series, from row {part.first_row} on; {part.master} shows all"}
    if report.parts:
        first, last = report.parts[0].file, report.parts[-1].file
        return {"in files": f"{len(report.parts)}, from {first} to {last}" if len(report.parts) > 1 else first}
    return {}


def _earlier(report: FileReport) -> Table:
    """The series that the file had before it went on with the last one, with what was lost of each."""
    from rich.table import Table

    table = Table("rows", "series", "started", "verdict", "lost", title="series before", title_justify="left")
    for one in report.earlier:
        rows = f"{one.first_row} to {one.first_row + one.frames - 1}" if one.frames else "none"
        started = f"{one.started_at:%Y-%m-%d %H:%M:%S}" if one.started_at is not None else "unknown"
        counts = {"missing": one.ledger.missing, **one.ledger.failed, **one.ledger.malformed}
        lost = ", ".join(f"{count} {why}" for why, count in counts.items() if count)
        verdict = f"{one.outcome}: {one.reason}" if one.reason else str(one.outcome)
        table.add_row(rows, one.series, started, verdict, lost)
    return table


def ledger_table(ledger: LedgerReport, of: str = "") -> Table:
    """The account of a series, for people."""
    from rich.table import Table

    table = Table(title=f"ledger{of}, in whole frames", title_justify="left")
    table.add_column("")
    table.add_column("frames", justify="right")
    table.add_column("why")
    for name, value in ledger.model_dump(exclude={"missing_ranges", "shared"}).items():
        if isinstance(value, dict):
            table.add_row(name, str(sum(value.values())), ", ".join(f"{why}: {count}" for why, count in value.items()))
        else:
            table.add_row(name, "unknown" if value is None else str(value), _remark(name, ledger))
    return table


def _remark(name: str, ledger: LedgerReport) -> str:
    if name != "missing" or not ledger.missing_ranges:
        return ""
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in ledger.missing_ranges[:8]]
    return "numbers " + ", ".join(shown) + (", …" if len(ledger.missing_ranges) > 8 else "")
