"""The files that a master is made of, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.streaming.files.flatview import EVENT_ATTRIBUTE
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.several.parts import Part
from bluesky_streamdet.streaming.files.several.virtual import Kind, common_path, kinds_of


class Share(NamedTuple):
    """A file that has some of the frames, and the series that it must be of."""

    path: Path
    series: str


class Source(NamedTuple):
    """What is known of such a file. numbers: of its frames. kinds: of what each frame has.

    said: where all is, as the file says it.
    """

    path: Path
    series: str
    places: Places
    part: Part | None
    started: str
    event: int
    numbers: NDArray[np.uint64]
    kinds: Mapping[str, Kind]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    said: str

    @property
    def alike(self) -> tuple[object, ...]:
        """What has to be the same in all files of a series."""
        paths = [common_path(one, self.places.detector) for one in (self.places.frames, self.places.account)]
        return self.shape, self.dtype, self.event, *paths

    @property
    def rows(self) -> int:
        return -(-len(self.numbers) // self.event)


def read_source(share: Share, like: Source | None = None) -> Source:
    """What a file has, which is open or closed. like: another file, which is read already and may be of the same kind.

    Raises `ValueError` for one of another series, or what h5py raises.
    """
    with open_to_read(share.path) as file:
        if len(places.datasets(file)) > 1:
            raise ValueError(f"{share.path} has several datasets of frames")
        said = "" if like is None else _said(file, like.places)
        where = like.places if like is not None and said == like.said else places.read(file)
        found = file[where.identifier].asstr()[()]
        if found != share.series:
            raise ValueError(f"{share.path} is of the series {found}, and not of {share.series}")
        data = file[where.frames]
        event = int(data.attrs.get(EVENT_ATTRIBUTE, 1))
        numbers, times = (file[where.columns[name]] for name in ("sequence_number", "receive_time"))
        rows = min(len(data), len(numbers), len(times))
        # The last event may have some of its frames only; the others came at no time.
        frames = rows if event == 1 else (rows - 1) * event + int(np.count_nonzero(times[rows - 1])) if rows else 0
        return Source(
            share.path,
            share.series,
            where,
            Part.read(file),
            file[where.start_time].asstr()[()],
            event,
            np.asarray(numbers[:rows]).reshape(-1)[:frames].astype(np.uint64),
            _kinds(file, like) if like is not None and where is like.places else kinds_of(file, where),
            data.shape[1:],
            data.dtype,
            share.path.stat().st_size,
            _said(file, where),
        )


def _said(file: h5py.File, where: Places) -> str:
    """Where all is, in the file's own words; empty where it does not say so at that place."""
    text = file.get(where.inside(places.PLACES))
    return text.asstr()[()] if isinstance(text, h5py.Dataset) else ""


def _kinds(file: h5py.File, like: Source) -> dict[str, Kind]:
    """As those of a file that has the same columns."""
    found = {name: file[kind.path] for name, kind in like.kinds.items()}
    return {name: Kind(like.kinds[name].path, one.dtype, one.shape[1:]) for name, one in found.items()}
