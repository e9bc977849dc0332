"""All that each frame has beside it: its number, its time, its particulars, its scalars; in columns by the layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.streaming.files import apart, kinds
from bluesky_streamdet.streaming.files.chunks import Misfit
from bluesky_streamdet.streaming.files.columns import (
    ColumnPlace,
    DerivedColumn,
    NumberColumn,
    RecordColumns,
    ValueColumn,
)
from bluesky_streamdet.streaming.files.fields import clean
from bluesky_streamdet.streaming.files.growth import Growth
from bluesky_streamdet.streaming.files.kinds import Kind, kind_of, missing
from bluesky_streamdet.streaming.files.layouts.layout import Column, Layout, fill, literal
from bluesky_streamdet.streaming.files.layouts.places import Places, words_of
from bluesky_streamdet.streaming.status import ScalarReport

NUMBER, TIME = "sequence_number", "receive_time"
EPOCH = "1970-01-01T00:00:00Z"
SERIES_DATE = "series_date"
"""What a stream calls the moment that its frames' times count from, where it says one."""
NOTHING: Mapping[str, Any] = {}


class Beside:
    """Makes the columns of the first frame; or finds them, of `before` frames. places: are told where each column is.

    columns, scalars: what there is, by the names of documents. Raises `Misfit` for a first frame that has more or less
    beside it than those that are there.
    """

    def __init__(
        self,
        file: h5py.File,
        layout: Layout,
        places: Places,
        first: Frame,
        metadata: Mapping[str, Any],
        growth: Growth,
        event: int = 1,
        before: int | None = None,
    ) -> None:
        self.columns: list[ScalarReport] = []
        self.scalars: list[ScalarReport] = []
        self._file = file
        self._layout = layout
        self._places = places
        self._words = words_of(layout, places)
        self._growth = growth
        self._event = event
        self._before = before
        self._reserved = layout.later(self._words)
        self._named_paths = {fill(layout.column_path(one.path), self._words) for one in layout.columns.names.values()}
        self._known = dict(places.columns) if before is not None else {}
        account = file[places.account]
        if before is None:
            apart.create(account)
        self._apart = apart.Apart(account)
        self._rows = before or 0
        self._since = {TIME: EPOCH, **self._start_of(first)}
        self._named: dict[str, NumberColumn] = {}
        self._numbers = self._add(NUMBER, Kind("<u8")).waiting
        self._times = self._add(TIME, Kind("<i8", unit="ns")).waiting
        self._details = self._made_columns(first.detail or NOTHING, (NUMBER, TIME))
        said = first.said or NOTHING
        wanted = {key: said[key] for key in layout.columns.names if said.get(key) is not None}
        self._said = self._made_columns(wanted, tuple(self._named))
        self._records = self._made_records(first, metadata) if first.format.scalars else None
        if self._known:
            raise Misfit(f"it has {', '.join(sorted(self._known))} of each frame, which does not come now")
        self._all = [*self._named.values(), *([] if self._records is None else [self._records])]

    def take(self, frames: Sequence[Frame]) -> None:
        """Gather what came with the frames."""
        numbers, times = self._numbers, self._times
        for frame in frames:
            numbers.append(frame.number)
            times.append(frame.received)
        details = [frame.detail for frame in frames]
        if self._details or details.count(None) < len(details):
            self._take_details([detail or NOTHING for detail in details])
        if self._said:
            said = [frame.said or NOTHING for frame in frames]
            for key, column in self._said.items():
                column.waiting.extend([one.get(key) for one in said])
        if self._records is not None:
            self._records.take(frames)
        self._rows += len(frames)

    def _take_details(self, details: Sequence[Mapping[str, Any]]) -> None:
        found = 0
        for key, column in self._details.items():
            values = [one.get(key) for one in details]
            found += len(values) - values.count(None)
            column.waiting.extend(values)
        if found == sum(map(len, details)):
            return
        # There are some that the first frame did not have.
        late: dict[str, dict[int, Any]] = {}
        for index, detail in enumerate(details):
            for key, value in detail.items():
                if key not in self._details:
                    late.setdefault(key, {})[index] = value
        for key, values_by_row in late.items():
            self._apart.add(key, self._rows, values_by_row)

    def write(self) -> None:
        """Append what was gathered to the datasets."""
        for column in self._all:
            column.write()
        self._apart.write()

    def trim(self, frames: int) -> None:
        """Keep what belongs to so many frames."""
        for column in self._all:
            column.trim(frames)

    def forget(self) -> None:
        """Drop what was gathered."""
        for column in self._all:
            column.forget()
        self._apart.forget()

    @property
    def has_values_apart(self) -> bool:
        """Whether values came that no column could hold."""
        return self._apart.count > 0

    def _made_columns(self, values: Mapping[str, Any], taken: tuple[str, ...]) -> dict[str, NumberColumn]:
        """A column for each value of the first frame, by its key; under another name where that is in `taken`."""
        return {
            key: self._add(f"{key}_" if key in taken else key, kind_of(key, value)) for key, value in values.items()
        }

    def _as_there(self, name: str, kind: Kind) -> Kind:
        """As a column of texts that is there has them: some are in JSON, which can say anything."""
        there = self._file.get(self._known.get(name, ""))
        if not isinstance(there, h5py.Dataset) or there.dtype.kind != "S":
            return kind
        content = there.attrs.get("content", "")
        is_text = np.dtype(kind.dtype).kind == "S"
        return Kind(there.dtype.str, content=content) if content or is_text else kind

    def _add(self, name: str, kind: Kind) -> NumberColumn:
        kind = self._as_there(name, kind)
        place = self._place(name, kind.dtype, kind.unit, kind.shape)
        if name in (NUMBER, TIME):
            column = NumberColumn(self._file, place, self._event, self._before)
        else:
            column = ValueColumn(self._file, place, name, kind, self._apart, self._event, self._before)
        if self._before is None:
            self._file[place.path].attrs.update(self._described(name, kind, place))
        self._named[name] = column
        self.columns.append(_report(name, place))
        for path, derived in self._layout.columns.derived.items():
            if derived.of == name and np.dtype(place.dtype).kind != "S":
                inner_type = np.dtype(derived.dtype).newbyteorder("<").str
                inner = self._column(path, inner_type, derived.units, derived.attributes, kind.shape)
                column.derive(DerivedColumn(self._file, inner, derived, self._event, self._before))
        return column

    def _described(self, name: str, kind: Kind, place: ColumnPlace) -> dict[str, Any]:
        """Attributes that say how the column is read."""
        said: dict[str, Any] = {"content": kind.content} if kind.content else {}
        if kind.unit and place.units == kind.unit and name in self._since:
            said["start"] = self._since[name]
        if name not in (NUMBER, TIME) and np.dtype(place.dtype).kind in "iu":
            said["_FillValue"] = missing(np.dtype(place.dtype))
        return said

    def _start_of(self, first: Frame) -> dict[str, str]:
        """The moment from which the detector's own times count, where the stream says it."""
        date = (first.said or NOTHING).get(SERIES_DATE)
        return dict.fromkeys(kinds.TIMES, date) if isinstance(date, str) else {}

    def _made_records(self, first: Frame, metadata: Mapping[str, Any]) -> RecordColumns:
        form, places = first.format, []
        for one in form.scalars:
            # A scalar may be called like a particular of the frame.
            key = one.name
            while key in self._named:
                key += "_"
            place = self._place(key, one.dtype, one.unit, one.shape)
            if not np.can_cast(one.dtype, place.dtype):
                place = place._replace(dtype=one.dtype)  # Nobody looks whether each of them fits.
            places.append(place)
            self.scalars.append(_report(key, place))
        return RecordColumns(self._file, form, places, metadata, self._event, self._before)

    def _place(self, key: str, dtype: str, unit: str, shape: tuple[int, ...] = ()) -> ColumnPlace:
        """Where the column of a key of the stream is, or shall be."""
        said = self._layout.columns.names.get(key) or Column.model_construct(path=literal(clean(key)))
        units = unit if said.units is None else said.units
        place = self._column(said.path, _type(dtype, said.dtype), units, said.attributes, shape)
        if self._before is None:
            place = place._replace(path=self._free(key, place.path))
            self._places.columns[key] = place.path
            return place
        if key not in self._known:
            raise Misfit(f"it has no {key}, and frames come with it")
        return place._replace(path=self._known.pop(key))

    def _column(
        self, path: str, dtype: str, units: str, attributes: Mapping[str, Any], shape: tuple[int, ...] = ()
    ) -> ColumnPlace:
        columns = self._layout.columns
        path = fill(self._layout.column_path(path), self._words)
        shape = shape or ((1,) if columns.second_axis else ())
        own = self._growth.attributes(path, {**columns.attributes, **attributes})
        return ColumnPlace(path, dtype, units, shape, own)

    def _free(self, key: str, path: str) -> str:
        """The path, or one like it where something else has it already, or will have."""
        reserved = self._reserved if key in self._layout.columns.names else self._reserved | self._named_paths
        while path in self._file or path in reserved:
            path += "_"
        return path


def _type(comes: str, wanted: str | None) -> str:
    """The type of a column: as wanted, unless that would cut what is behind the point, or is for no text."""
    if wanted is None or np.dtype(comes).kind == "S" or (np.dtype(comes).kind == "f" and np.dtype(wanted).kind != "f"):
        return comes
    return np.dtype(wanted).newbyteorder("<").str


def _report(name: str, place: ColumnPlace) -> ScalarReport:
    return ScalarReport(name=name, dtype=place.dtype, shape=place.shape, unit=place.units, dataset=place.path)
