"""Datasets of one row a frame, beside the frames: gathered in memory, and written in blocks.

What comes with the frames as a record of scalars costs no more than the copy of that record, however many scalars it
has: it is taken apart when a block is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.codecs.codec import plain
from bluesky_streamdet.core.events import Frame, FrameFormat
from bluesky_streamdet.streaming.messages import ScalarReport

MOST_CHUNK_ROWS = 4096
MOST_CHUNK_BYTES = 64 << 10


class _Rows:
    """A dataset that grows by blocks of rows."""

    def __init__(self, group: h5py.Group, name: str, dtype: str, shape: tuple[int, ...], unit: str) -> None:
        row = math.prod(shape) * np.dtype(dtype).itemsize
        rows = max(1, min(MOST_CHUNK_ROWS, MOST_CHUNK_BYTES // row))
        dataset = group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape))
        if unit:
            dataset.attrs["units"] = unit
        self._id = dataset.id
        self._shape = shape
        self._zeros = (0,) * len(shape)
        self._written = 0

    def append(self, block: NDArray[Any]) -> None:
        start, self._written = self._written, self._written + len(block)
        self._id.set_extent((self._written, *self._shape))
        space = self._id.get_space()
        space.select_hyperslab((start, *self._zeros), block.shape)
        self._id.write(h5py.h5s.create_simple(block.shape), space, block)

    def trim(self, rows: int) -> None:
        """Keep so many."""
        if self._written > rows:
            self._id.set_extent((rows, *self._shape))
            self._written = rows


class NumberColumn:
    """A dataset of one number for each frame. What is to be written is appended to `waiting`."""

    def __init__(self, group: h5py.Group, name: str, dtype: str, unit: str = "") -> None:
        self._rows = _Rows(group, name, dtype, (), unit)
        self._dtype = np.dtype(dtype)
        self.waiting: list[Any] = []

    def write(self) -> None:
        """Append what is waiting."""
        try:
            block = np.array(self.waiting, self._dtype)
        except OverflowError:
            # A number that no detector means; it shows like one that was left out.
            block = np.array([value if abs(value) < 1 << 63 else 0 for value in self.waiting], self._dtype)
        self._rows.append(block)
        self.waiting.clear()

    def trim(self, rows: int) -> None:
        self._rows.trim(rows)

    def forget(self) -> None:
        """Drop what is waiting."""
        self.waiting.clear()


class RecordColumns:
    """A dataset for each of the scalars of a format.

    metadata: of the header, for the parameters of what was calculated.
    """

    def __init__(self, group: h5py.Group, form: FrameFormat, metadata: Mapping[str, Any]) -> None:
        self.reports: list[ScalarReport] = []
        self._record = form.record
        self._waiting = bytearray()
        self._frames = 0
        self._rows: list[tuple[str, _Rows]] = []
        for one in form.scalars:
            name = one.name
            while name in group:
                name += "_"
            self._rows.append((one.name, _Rows(group, name, one.dtype, one.shape, one.unit)))
            self.reports.append(ScalarReport(name=name, dtype=one.dtype, shape=one.shape, unit=one.unit))
            if one.name in CALCULATED:
                group[name].attrs.update(CALCULATED[one.name].described(metadata))

    def take(self, frames: Sequence[Frame]) -> None:
        """Gather what came with the frames."""
        waiting = self._waiting
        self._frames += len(frames)
        for frame in frames:
            waiting += frame.scalars or b""

    def write(self) -> None:
        """Append what is waiting to all datasets. Raises `ValueError` when a record was of another size."""
        if len(self._waiting) != self._frames * self._record.itemsize:
            raise ValueError("scalars of another size came with a frame")
        records = np.frombuffer(self._waiting, self._record)
        for name, rows in self._rows:
            rows.append(np.ascontiguousarray(records[name]))
        self.forget()

    def trim(self, rows: int) -> None:
        """Keep so many rows of each."""
        for _, one in self._rows:
            one.trim(rows)

    def forget(self) -> None:
        """Drop what is waiting."""
        self._waiting = bytearray()  # A new one, as arrays may still look at the old.
        self._frames = 0


class Calculated(NamedTuple):
    """What stands beside numbers that somebody calculated from others in the file.

    model: its name, if there is one to choose. formula: in names of datasets and parameters. parameters: those that are
    no datasets, and where the header says them.
    """

    formula: str
    parameters: Mapping[str, str]
    model: str = ""

    def described(self, metadata: Mapping[str, Any]) -> dict[str, str]:
        """The attributes of the dataset."""
        values = {name: metadata[key] for name, key in self.parameters.items() if key in metadata}
        said = {"model": self.model, "formula": self.formula, "parameters": json.dumps(values, default=plain)}
        return {name: text for name, text in said.items() if text and text != "{}"}


CALCULATED = {
    "dead_time_correction": Calculated(
        "clock_ticks / (clock_ticks - all_events * (event_width + 1) - reset_ticks)", {}, "event width"
    ),
    "dead_time_correction_sdk": Calculated(
        "exp(2 * input_rate * in_window_time) * clock_ticks / (clock_ticks - reset_ticks), "
        "where input_rate * exp(-input_rate * all_event_time) = "
        "all_events / ((clock_ticks - reset_ticks) * clock_period), of all_good where use_good; "
        "each time = offset + gradient * energy",
        {"channels": "dead_time_parameters", "energy": "dead_time_energy", "clock_period": "clock_period"},
        "paralysable",
    ),
    "output_count_rate": Calculated("all_good / (total_ticks * clock_period)", {"clock_period": "clock_period"}),
    "window_counts": Calculated("counts in bins from low to high, both included", {"[low, high]": "windows"}),
}
"""By the names of their datasets. Factors multiply what was counted; `transforms.deadtime` has the models."""
