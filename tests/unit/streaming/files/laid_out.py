"""Files by a layout, for tests: written, read back, and layouts as somebody would type them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import layouts
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.layouts import Chosen, Layouts
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.frames import frame

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = datetime(2026, 1, 2, tzinfo=UTC)
SHIPPED = sorted(layouts.shipped())
LEAST = """
about: of a test
frames: /raw/{dataset}
columns: /raw/of_{dataset}
account: /account/{dataset}
"""
"""The least that a layout needs."""


def shipped(name: str) -> Chosen:
    return Layouts(name, {}).chosen(name)


def typed(folder: Path, text: str, name: str = "mine") -> Chosen:
    """A layout of somebody's own: the least, and `text`, which goes before it."""
    said = dedent(text)
    keys = tuple(f"{line.partition(':')[0]}:" for line in said.splitlines() if line[:1].isalpha())
    least = [line for line in LEAST.splitlines() if not (keys and line.startswith(keys))]
    path = folder / f"{name}.yaml"
    path.write_text("\n".join([*least, said]), encoding="utf-8")
    return Layouts(name, {name: path}).chosen(name)


def report(series: str, written: int, **counts: Any) -> SeriesReport:
    ledger = LedgerReport(received=written, unique=written, written=written, **counts)
    return SeriesReport(id=series, detector="eiger", outcome=Outcome.COMPLETE, ended_at=ENDED, ledger=ledger)


def opened(
    path: Path,
    chosen: Chosen,
    series: str = "s0",
    first: Frame | None = None,
    metadata: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    detector: str = "eiger",
    **options: Any,
) -> SeriesFile:
    file = SeriesFile(path, detector, series, layout=chosen, **options)
    file.open(first or frame(0), STARTED, metadata or {}, parameters or {})
    return file


def write(
    path: Path,
    chosen: Chosen,
    frames: Sequence[Frame],
    series: str = "s0",
    late: Mapping[str, Any] | None = None,
    **options: Any,
) -> SeriesFile:
    """A file of these frames, closed."""
    file = opened(path, chosen, series, frames[0], **options)
    file.write(frames)
    assert file.flush() == len(frames)
    file.close(report(series, len(frames)), late or {})
    return file
