"""A master: one file that shows the frames of several, and all that each frame has beside it, as if it had them.

It has the objects of the files that it is made of, in their layout; what differs from file to file is mapped, and the
account is that of the whole. It is made anew each time, beside its place, and takes its place at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import h5py
import numpy as np

from bluesky_streamdet.core.errors import FileTaken, WriteFailed
from bluesky_streamdet.core.union import Stretch, in_order, stretches
from bluesky_streamdet.streaming.files import apart
from bluesky_streamdet.streaming.files.access import LIBRARY
from bluesky_streamdet.streaming.files.apart import APART
from bluesky_streamdet.streaming.files.failing import REFUSALS, failed
from bluesky_streamdet.streaming.files.flatview import add_flat_view
from bluesky_streamdet.streaming.files.growth import FIRST_IMAGE, LAST_IMAGE
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.layouts.layout import Layout, word_of
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.ownership import UNCHANGED, Ownership
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.several.parts import FIRST_ROW, INDEX, MASTER, Listed, list_parts
from bluesky_streamdet.streaming.files.several.sources import Share, Source, read_source
from bluesky_streamdet.streaming.files.several.virtual import Piece, Whole, common_path
from bluesky_streamdet.streaming.files.verdict import Verdict
from bluesky_streamdet.streaming.status import SeriesReport

AT_ONCE = 100
"""Files that a master is verified with."""
MOST_STRETCHES = 10_000
"""Of all files together, in each dataset. A file of more opens slowly, so that frames are in the order of the files."""


def write_master(
    path: Path,
    shares: Sequence[Share],
    *,
    series: str,
    report: SeriesReport | None = None,
    by_number: bool = False,
    most: int | None = None,
    replace: bool = False,
    ownership: Ownership = UNCHANGED,
    known: Mapping[Path, Source] = MappingProxyType({}),
) -> bool:
    """Write the master of these files at `path`; whether its frames are in the order of their numbers.

    series: its id. report: the account of the whole; None while the series runs. by_number: bring the frames of files
    that were written at the same time into order; a number that is in two is shown once. Otherwise the files follow one
    another. most: show so many frames. replace: a file that is there. ownership: whose the file shall be. known: those
    of the files that have been read already, and have not changed since.

    Raises `FileTaken` or `WriteFailed`.
    """
    try:
        sources: list[Source] = []
        for share in shares:
            one = known.get(share.path) or read_source(share, sources[-1] if sources else None)
            if len(one.numbers):
                sources.append(one)
        if not sources:
            raise WriteFailed(f"There are no frames that {path} could show.")
        _check(sources)
        pieces, rows = None, 0
        if by_number and sources[0].event == 1:
            pieces, rows = _by_number(path.parent, sources)
        ordered = pieces is not None
        if pieces is None:
            pieces, rows = _in_turn(path.parent, sources, most)
        with _beside(path, replace=replace) as draft:
            where = _write(draft, sources, pieces, rows, series, report)
            ownership.take(draft, ownership.mode)
            if report is not None:
                _verify(draft, where, rows, len(sources))
    except REFUSALS as error:
        raise failed(path, "written as a master", error) from error
    return ordered


def _check(sources: Sequence[Source]) -> None:
    """Raise `ValueError` for files that are not of a kind."""
    first = sources[0]
    for one in sources:
        if one.alike != first.alike:
            raise ValueError(f"frames of {one.path} are of another kind, or elsewhere, than those of {first.path}")
    parts = [one.part for one in sources]
    if len({one.series for one in sources}) == 1 and all(parts):
        for before, one in pairwise(sources):
            assert before.part is not None and one.part is not None
            if one.part.index != before.part.index + 1:
                raise ValueError(f"file {before.part.index + 1} of the series is not there, but {one.path} is")


def _by_number(folder: Path, sources: Sequence[Source]) -> tuple[list[Piece] | None, int]:
    """The files with their rows in the order of their numbers; None when that takes too many stretches."""
    pieces, left = [], MOST_STRETCHES
    shown = in_order([one.numbers for one in sources])
    for one, rows in zip(sources, shown, strict=True):
        found = stretches(rows, left)
        if found is None:
            return None, 0
        left -= len(found)
        pieces.append(_piece(folder, one, found))
    return pieces, 1 + max(int(rows.max()) for rows in shown)


def _in_turn(folder: Path, sources: Sequence[Source], most: int | None) -> tuple[list[Piece], int]:
    """The files with one behind another."""
    end = sum(one.rows for one in sources) if most is None else -(-most // sources[0].event)
    pieces, row = [], 0
    for one in sources:
        count = min(one.rows, end - row)
        if count > 0:
            pieces.append(_piece(folder, one, [Stretch(0, row, 1, count)]))
            row += count
    return pieces, row


def _piece(folder: Path, source: Source, found: Sequence[Stretch]) -> Piece:
    return Piece(os.path.relpath(source.path, folder), source.kinds, source.rows, found)


@contextmanager
def _beside(path: Path, *, replace: bool) -> Iterator[Path]:
    """A path in the same folder, whose file takes the place of `path` at the end. Raises `FileTaken`."""
    draft = path.with_name(f".{path.name[:150]}.{uuid4().hex[:8]}")
    try:
        yield draft
        if replace:
            draft.replace(path)
        else:
            _give_name(draft, path)
    except FileExistsError as error:
        raise FileTaken(f"The file {path} exists.", "Choose another name.") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _give_name(draft: Path, path: Path) -> None:
    """Move a file to where none is. Raises `FileExistsError`."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # of file systems that know no second names
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        draft.replace(path)


def _write(
    draft: Path,
    sources: Sequence[Source],
    pieces: Sequence[Piece],
    rows: int,
    series: str,
    report: SeriesReport | None,
) -> Places:
    """Make the master; where things are in it."""
    with open_to_read(_richest(sources).path) as base:
        where = places.read(base)
        own = [where.inside(name) for name in ("ledger", "series_start", "outcome", "reason", "series", APART)]
        skip = frozenset([where.identifier, where.start_time, where.end_time, *own])
        layout, event = places.layout_in(base, where).layout, sources[0].event
        frames = min(sum(len(one.numbers) for one in sources), rows * event)
        counted = _counted(layout, frames)
        with h5py.File(draft, "x", libver=LIBRARY, locking=False) as target:
            whole = Whole(target, where, pieces, rows, counted)
            whole.copy(base, skip)
            _add_columns(whole, target, where, sources)
            apart.create(target[where.account])
            for name in (INDEX, FIRST_ROW, MASTER):
                target.attrs.pop(name, None)
            if event > 1:
                add_flat_view(target, layout, where, event, frames)
            started = datetime.fromisoformat(min(one.started for one in sources))
            verdict = Verdict.create(target, where, series, started)
            list_parts(target, where.account, [_listed(draft.parent, one) for one in sources])
            if report is not None:
                # Read here, as HDF5 would open the files to write them if it read through a file that is being written.
                numbers = np.concatenate([one.numbers for one in sources])[:frames]
                verdict.write(report, numbers=numbers)
    return where


def _add_columns(whole: Whole, target: h5py.File, where: Places, sources: Sequence[Source]) -> None:
    """Make the columns of values that came with frames of some files only."""
    for one in sources:
        new = {key: path for key, path in one.places.columns.items() if key not in where.columns}
        if new:
            with open_to_read(one.path) as file:
                for key, path in new.items():
                    where.columns[key] = common_path(path, one.places.detector, where.detector)
                    whole.map(file[path], where.columns[key])
    places.keep(target, where)


def _richest(sources: Sequence[Source]) -> Source:
    """The file that has the most to say: of the last ones of each series, as parameters may have come late."""
    last = {one.series: one for one in sources}
    if len(last) == 1:
        return sources[-1]
    sizes: dict[str, int] = {}
    for series, one in last.items():
        with open_to_read(one.path) as file:
            names: list[str] = []
            file.visit(names.append)
            sizes[series] = len(names)
    return last[max(sizes, key=lambda series: sizes[series])]


def _counted(layout: Layout, frames: int) -> dict[str, np.int32]:
    """The attributes that count images, of the whole."""
    columns = layout.columns
    said = [layout.frames.attributes, columns.attributes]
    said += [one.attributes for one in (*columns.names.values(), *columns.derived.values())]
    values = {FIRST_IMAGE: np.int32(1), LAST_IMAGE: np.int32(frames)}
    found = {name: word_of(value) for attributes in said for name, value in attributes.items()}
    return {name: values[word] for name, word in found.items() if word in values}


def _listed(folder: Path, source: Source) -> Listed:
    numbers = source.numbers
    name = os.path.relpath(source.path, folder)
    return Listed(name, source.series, len(numbers), source.nbytes, int(numbers[0]), int(numbers[-1]))


def _verify(draft: Path, where: Places, rows: int, files: int) -> None:
    """Raise `ValueError` unless HDF5 finds a frame for each row. files: that it finds them in."""
    came, step = 0, -(-rows // -(-files // AT_ONCE))
    for first in range(0, rows, step):
        # It keeps each of the files open, and half a megabyte of memory for it, until the master is closed.
        with h5py.File(draft, "r", locking=False) as file:
            times = file[where.columns["receive_time"]][first : first + step]
            came += int(np.count_nonzero(times.reshape(len(times), -1)[:, 0]))
    if came != rows:
        raise ValueError(f"{rows - came} of its {rows} rows can't be read through it")
