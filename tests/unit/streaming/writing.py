"""Writes series until the disk refuses; a process of its own, as limits and full disks are. Prints what came of it."""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path

import h5py
import numpy as np

from bluesky_streamdet.core.resequence import Resequencer
from bluesky_streamdet.core.series import Order, Series
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import NotOurFile, inspect
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.writer import SeriesWriter
from tests.unit.streaming.frames import frame, pictures

BATCH = 5


def write(path: Path, count: int, shape: tuple[int, ...], encoding: str) -> dict[str, object]:
    """Write a series of `count` frames, flushing now and then; its report, and what its file says afterwards."""
    series = Series(Order("s"), None, None, Resequencer(0, 1 << 20, 1.0))
    writer = SeriesWriter("s", "eiger", SeriesFile(path, "eiger", "s"), ArmRequest())
    writer.begin(series, None)
    for first in range(0, count, BATCH):
        series.ledger.received += BATCH
        series.ledger.unique += BATCH
        writer.write([frame(first + index, shape, "<u4", encoding) for index in range(BATCH)])
        if first % (3 * BATCH) == 0:
            writer.flush()
    reason = writer.report().reason
    writer.finish(series)
    said: dict[str, object] = {"report": writer.report().model_dump(mode="json"), "exists": path.exists()}
    said["reason while it ran"] = reason
    if path.exists():
        written = series.ledger.written
        # As for a file that is being written, since one that could not be closed is cut short.
        with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
            rows = file["/entry/data/data"][:written]
        said["equal"] = bool(np.array_equal(rows, pictures(range(written), shape, "<u4")))
        try:
            said["inspect"] = inspect(path).model_dump(mode="json")
        except NotOurFile as error:
            said["inspect"] = str(error)
    return said


def main() -> None:
    root, limit = Path(sys.argv[1]), int(sys.argv[2])
    side, encoding = int(sys.argv[3]), sys.argv[4]
    shape = (side, side)
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    said = {"first": write(root / "a.h5", 200, shape, encoding), "second": write(root / "b.h5", 5, shape, encoding)}
    (root / "a.h5").unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    said["third"] = write(root / "c.h5", 5, shape, encoding)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
