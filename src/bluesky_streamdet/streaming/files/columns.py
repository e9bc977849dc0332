"""Datasets of one row an event, as the frames have, beside them: gathered in memory, and written in blocks.

Of several frames an event, a row has the number of each, (events, frames, ...), and the last row may not be full yet.

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
from bluesky_streamdet.streaming.files import kinds
from bluesky_streamdet.streaming.files.apart import Apart
from bluesky_streamdet.streaming.files.chunks import Misfit
from bluesky_streamdet.streaming.files.kinds import Kind
from bluesky_streamdet.streaming.files.layouts.layout import Derived

MOST_CHUNK_ROWS = 4096
MOST_CHUNK_BYTES = 64 << 10


class ColumnPlace(NamedTuple):
    """Where a column is, or shall be: its path in the file, and what it is there. shape: of what a frame has in it."""

    path: str
    dtype: str
    units: str = ""
    shape: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Rows:
    """A dataset that grows with the frames. event: of how many a row has the values, (event, *shape) if of several.

    frames: that it has already; None to make it. Raises `Misfit` for a dataset that is there and of another kind.
    """

    def __init__(self, file: h5py.File, place: ColumnPlace, event: int, frames: int | None = None) -> None:
        self._shape = place.shape
        self._tail = self._shape if event == 1 else (event, *self._shape)
        self._event = event
        self._frames = frames or 0
        dataset = self._created(file, place) if frames is None else self._found(file, place)
        self.dtype = dataset.dtype
        self._id = dataset.id

    def _created(self, file: h5py.File, place: ColumnPlace) -> h5py.Dataset:
        size, event = math.prod(self._shape) * np.dtype(place.dtype).itemsize, self._event
        together = max(1, min(MOST_CHUNK_ROWS, MOST_CHUNK_BYTES // size))
        chunk = (together,) if event == 1 else (max(1, together // event), min(event, together))
        maxshape, chunks = (None, *self._tail), (*chunk, *self._shape)
        kind: Any = np.dtype(place.dtype)
        if kind.kind == "S":
            kind = h5py.string_dtype("utf-8", kind.itemsize)
        dataset = file.create_dataset(place.path, (0, *self._tail), kind, maxshape=maxshape, chunks=chunks)
        if place.units:
            dataset.attrs["units"] = place.units
        dataset.attrs.update(place.attributes)
        return dataset

    def _found(self, file: h5py.File, place: ColumnPlace) -> h5py.Dataset:
        dataset = file.get(place.path)
        if not isinstance(dataset, h5py.Dataset):
            raise Misfit(f"it has no {place.name}, and frames come with it")
        # Whole numbers go where the frames before had others, and what is too long for a text stands apart.
        wanted = dataset.dtype.str if dataset.dtype.kind == place.dtype[1] == "S" else place.dtype
        if dataset.shape[1:] != self._tail or not np.can_cast(wanted, dataset.dtype):
            there, comes = f"{dataset.shape[1:]} {dataset.dtype}", f"{self._tail} {np.dtype(place.dtype)}"
            raise Misfit(f"its {place.name} has rows of {there}, and what comes has {comes}")
        return dataset

    @property
    def frames(self) -> int:
        """How many have their values in it."""
        return self._frames

    def append(self, block: NDArray[Any]) -> None:
        """Write the values of so many frames more, (frames, *shape)."""
        self._resize(self._frames + len(block))
        if self._event == 1:
            self._write((self._frames,), block)
            self._frames += len(block)
            return
        while len(block):
            # The rest of a row that has begun, whole rows, and the beginning of the next.
            row, place = divmod(self._frames, self._event)
            rows = 0 if place else len(block) // self._event
            frames = rows * self._event or min(self._event - place, len(block))
            self._write((row, place), block[:frames].reshape(max(1, rows), -1, *self._shape))
            self._frames += frames
            block = block[frames:]

    def trim(self, frames: int) -> None:
        """Keep so many."""
        if self._frames > frames:
            self._resize(frames)
            self._frames = frames

    def _write(self, start: tuple[int, ...], block: NDArray[Any]) -> None:
        if block.dtype.kind == "S":
            block = block.view(self.dtype)  # which says, for HDF5, that it is UTF-8
        space = self._id.get_space()
        space.select_hyperslab((*start, *(0 for _ in self._shape)), block.shape)
        self._id.write(h5py.h5s.create_simple(block.shape), space, block)

    def _resize(self, frames: int) -> None:
        self._id.set_extent((-(-frames // self._event), *self._tail))


class NumberColumn:
    """A dataset of one number for each frame. What is to be written is appended to `waiting`."""

    def __init__(self, file: h5py.File, place: ColumnPlace, event: int = 1, frames: int | None = None) -> None:
        self._rows = Rows(file, place, event, frames)
        self._dtype = self._rows.dtype
        self._shape = place.shape
        self._derived: list[DerivedColumn] = []
        self.waiting: list[Any] = []

    def derive(self, column: DerivedColumn) -> None:
        """Have another column follow this one."""
        self._derived.append(column)

    def write(self) -> None:
        """Append what is waiting."""
        try:
            block = np.array(self.waiting, self._dtype)
        except OverflowError:
            # A number that no detector means; it shows like one that was left out.
            block = np.array([value if _fits(value, self._dtype) else 0 for value in self.waiting], self._dtype)
        for one in self._derived:
            one.append(block)
        self._rows.append(block.reshape(-1, *self._shape))
        self.waiting.clear()

    def trim(self, frames: int) -> None:
        self._rows.trim(frames)
        for one in self._derived:
            one.trim(frames)

    def forget(self) -> None:
        """Drop what is waiting."""
        self.waiting.clear()


class ValueColumn(NumberColumn):
    """A dataset of a value for each frame, None where it said none: a number, a text, or an array of numbers.

    Rows without a value hold what `kinds.missing` says. What is no value of the dataset's type goes to `apart`.
    """

    def __init__(
        self,
        file: h5py.File,
        place: ColumnPlace,
        key: str,
        kind: Kind,
        apart: Apart,
        event: int = 1,
        frames: int | None = None,
    ) -> None:
        super().__init__(file, place, event, frames)
        self._key = key
        self._kind = kind
        self._apart = apart

    def write(self) -> None:
        values = self.waiting
        shown = kinds.shown(self._key, self._kind.content, values)
        block, unfit = kinds.packed(shown, self._dtype, self._kind.shape)
        if unfit:
            self._apart.add(self._key, self._rows.frames, {index: values[index] for index in unfit})
        for one in self._derived:
            one.append(block, kinds.absent(block))
        self._rows.append(block.reshape(-1, *self._shape))
        values.clear()


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return abs(value) < 1 << 63
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


class DerivedColumn:
    """A dataset of numbers calculated, as `how` says, from those of another column."""

    def __init__(
        self, file: h5py.File, place: ColumnPlace, how: Derived, event: int = 1, frames: int | None = None
    ) -> None:
        self._rows = Rows(file, place, event, frames)
        self._shape = place.shape
        self._how = how

    def append(self, numbers: NDArray[Any], absent: NDArray[np.bool_] | None = None) -> None:
        """Calculate the values of so many frames more. absent: where there is no number, and so no value."""
        values = self._how.calculated(numbers)
        if absent is not None and absent.any():
            values = np.where(absent, kinds.missing(self._rows.dtype), values)
        self._rows.append(values.astype(self._rows.dtype).reshape(-1, *self._shape))

    def trim(self, frames: int) -> None:
        self._rows.trim(frames)


class RecordColumns:
    """A dataset for each of the scalars of a format, in places that are theirs, in the same order.

    metadata: of the header, for the parameters of what was calculated. frames: that there are already; None to make
    them.
    """

    def __init__(
        self,
        file: h5py.File,
        form: FrameFormat,
        places: Sequence[ColumnPlace],
        metadata: Mapping[str, Any],
        event: int = 1,
        frames: int | None = None,
    ) -> None:
        self._record = form.record
        self._waiting = bytearray()
        self._frames = 0
        self._rows: list[tuple[str, ColumnPlace, Rows]] = []
        for one, place in zip(form.scalars, places, strict=True):
            self._rows.append((one.name, place, Rows(file, place, event, frames)))
            if one.name in CALCULATED and frames is None:
                file[place.path].attrs.update(CALCULATED[one.name].described(metadata))

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
        for name, place, rows in self._rows:
            values = records[name].reshape(-1, *place.shape)
            rows.append(np.ascontiguousarray(values, rows.dtype))
        self.forget()

    def trim(self, frames: int) -> None:
        """Keep what belongs to so many frames."""
        for _, _, one in self._rows:
            one.trim(frames)

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
