"""What became of each frame of a run, as its files say: how many were expected, which are missing, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bluesky_streamdet.analysis.axes import RECEIVED, moments, owner
from bluesky_streamdet.analysis.runs import opened
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.streaming.files.inspect import FileReport, inspect
from bluesky_streamdet.streaming.files.reader import local_path, read_frames
from bluesky_streamdet.streaming.status import LedgerReport

UNWRITTEN = -1


def ledgers(
    run: Any, detector: str | None = None, *, path_map: Mapping[str, str] | None = None, stream: str = "primary"
) -> list[FileReport]:
    """What each file of a run says of itself, in the order in which they were written: `verdict` in words, `ledger`.

    detector: only its files. path_map: prefixes of paths as the catalog has them, and what this machine calls them.
    Raises `NotOurFile` for a file that is not there, or that something else has written.
    """
    source = opened(run)
    values = source[stream]
    uris = [
        uri
        for key, found in source.files(stream).items()
        if detector is None or owner(values, key) == detector
        for uri in found
    ]
    return [inspect(local_path(one, path_map)) for one in dict.fromkeys(uris)]


def arrivals(report: FileReport) -> xr.Dataset:
    """What became of each frame of a file, by its number: written, and when it came and in which row; or missing.

    Of a file that went on with other series, the frames of the last; `earlier` of the report has the others' ledgers.
    A frame that is neither came, and was not kept; the ledger says why. row is -1 and receive_time not a time for what
    was not written. Raises `ConfigError` for a file in which the detector began to count anew.
    """
    own = slice(report.first_row, report.readable)
    came = read_frames(report.path, report.columns["sequence_number"]).reshape(-1)[own].astype(np.int64)
    if len(np.unique(came)) < len(came):
        raise ConfigError(f"{report.path} has several frames of the same number.", "Look at its rows instead.")
    ledger = report.ledger or LedgerReport()
    frames = max(ledger.expected or 0, ledger.unique + ledger.missing, *(came + 1), 0)
    missing = np.zeros(frames, bool)
    for first, last in ledger.missing_ranges:
        missing[first : last + 1] = True
    rows = np.full(frames, UNWRITTEN)
    rows[came] = report.first_row + np.arange(len(came))
    times = np.full(frames, np.datetime64("NaT"), "datetime64[ns]")
    times[came] = moments(read_frames(report.path, report.columns["receive_time"]).reshape(-1)[own])
    columns = {"written": rows != UNWRITTEN, "missing": missing, "row": rows, RECEIVED: times}
    made = {name: ("frame", values) for name, values in columns.items()}
    return xr.Dataset(made, {"frame": np.arange(frames)}, {"verdict": report.verdict})
