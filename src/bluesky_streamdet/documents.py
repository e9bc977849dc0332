"""What Bluesky is told of frames in a file: data keys, stream_resource and stream_datum, or resource and datum.

Plain dicts in the form of event-model 1.24, made from a description of the file. It reads no file, and knows no
Bluesky.

The rules it keeps: ranges are disjoint, increasing, in whole events, and end where the caller says that the file can be
read. Shapes have no leading 1 and name the way in which events join ("stack"): the one form that Tiled can read while
the file grows, with both writers of documents. docs/explanations/decisions has the reasons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol
from uuid import uuid4

HDF5 = "application/x-hdf5"
DATA = "/entry/data/data"
"""Where the frames are, until the service has said so."""
COLUMN_CHUNK = 4096
COLUMNS = {"sequence_number": "<u8", "receive_time": "<i8"}
"""Numbers of each frame that the file holds beside it, with their types; receive_time is in ns since 1970."""
COLUMN_UNITS = {"receive_time": "ns"}
SECOND_AXIS, THIRD_AXIS = ":,0", ":,:,0"
"""What readers take of a dataset where each number has an axis of its own."""

Document = dict[str, Any]
Named = tuple[str, Document]
"""A document and what kind it is, as devices hand them to the RunEngine."""
AssetDocs = Literal["stream", "resource"]


@dataclass(frozen=True, slots=True)
class Column:
    """Numbers that each frame has beside it: the dataset (frames, *shape), or as the frames themselves have it where
    events have several, (events, frames, *shape). dims: names of the axes of shape, if they have any.

    unit: empty for what has none. second_axis: whether one number a frame is (frames, 1) in the dataset.
    """

    dataset: str
    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    dims: tuple[str, ...] = ()
    second_axis: bool = False


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """What the frames of a file are like.

    shape: of one frame, slowest axis first. dtype: NumPy's type string. chunk_shape: of the dataset, one number for
    each of its axes. frames_per_event: more than one when the dataset has an axis for them, (events, frames, *shape).
    columns: what each frame has beside it, by name. dims: names of the axes of a frame; left out, x, y and z.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk_shape: tuple[int, ...] = ()
    frames_per_event: int = 1
    dataset: str = DATA
    columns: Mapping[str, Column] = field(default_factory=dict)
    dims: tuple[str, ...] = ()

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Of what one event holds."""
        return self.shape if self.frames_per_event == 1 else (self.frames_per_event, *self.shape)

    def same_frames(self, other: FrameLayout) -> bool:
        """Whether data keys that were made of the one also describe the other."""
        return self._described() == other._described()

    def _described(self) -> object:
        columns = {name: (one.dtype, one.shape) for name, one in self.columns.items()}
        return self.event_shape, self.dtype, columns


def file_uri(path: str, path_map: Mapping[str, str] | None = None) -> str:
    """The URI by which readers find a file that the service knows as `path`.

    path_map: prefixes of the service's paths, and what readers have in their place; the longest that fits counts.
    Spaces and the like stay as they are, as Tiled takes the path literally.
    """
    path = reader_path(path, path_map)
    return f"file://localhost{'' if path.startswith('/') else '/'}{path}"


def reader_path(path: str, path_map: Mapping[str, str] | None = None) -> str:
    """`path` with the prefix of the machine that wrote it replaced by that of the machines that read it."""
    path = path.replace("\\", "/") if re.match(r"[A-Za-z]:[\\/]", path) else path
    for prefix in sorted(path_map or {}, key=len, reverse=True):
        wanted = prefix.replace("\\", "/").rstrip("/")
        if path == wanted or path.startswith(f"{wanted}/"):
            return (path_map or {})[prefix].rstrip("/") + path[len(wanted) :]
    return path


def image_key(layout: FrameLayout, source: str, asset_docs: AssetDocs = "stream") -> Document:
    """The data key of the frames of one event."""
    shape, dims = layout.event_shape, _dims(layout)
    if asset_docs == "resource" and layout.frames_per_event == 1:
        # The handlers of areaDetector files return a stack of frames, be it of one.
        shape, dims = (1, *shape), ["frame", *dims]
    return {
        "source": source,
        "dtype": "array",
        "shape": [int(length) for length in shape],
        "dims": dims,
        "dtype_numpy": layout.dtype,
        "external": "STREAM:" if asset_docs == "stream" else "FILESTORE:",
    }


def column_key(column: Column, source: str, frames_per_event: int = 1) -> Document:
    """The data key of what each frame has beside it."""
    shape = _column_shape(column, frames_per_event)
    kind = "array" if shape else "number" if column.dtype[1] == "f" else "integer"
    key = {"source": source, "dtype": kind, "shape": shape, "dtype_numpy": column.dtype, "external": "STREAM:"}
    if column.unit:
        key["units"] = column.unit
    if shape and len(column.dims) == len(column.shape):
        key["dims"] = [*(() if frames_per_event == 1 else ("frame",)), *column.dims]
    return key


def _column_shape(column: Column, frames_per_event: int) -> list[int]:
    """Of what one event holds."""
    return [int(length) for length in (*(() if frames_per_event == 1 else (frames_per_event,)), *column.shape)]


def data_keys(layout: FrameLayout, name: str, source: str, separator: str = "_") -> dict[str, Document]:
    """All keys of a stream: the frames under `name`, each column under that, the separator, and its own name."""
    keys = {name: image_key(layout, source)}
    for column, one in layout.columns.items():
        keys[f"{name}{separator}{column}"] = column_key(one, source, layout.frames_per_event)
    return keys


def _dims(layout: FrameLayout) -> list[str]:
    named = list(layout.dims) if len(layout.dims) == len(layout.shape) else ["z", "y", "x"]
    frame = named[-len(layout.shape) :] if len(layout.shape) <= len(named) else []
    frame = [f"dim_{axis}" for axis in range(len(layout.shape) - len(frame))] + frame
    return frame if layout.frames_per_event == 1 else ["frame", *frame]


class AssetDocuments(Protocol):
    """The documents of one file, in their order, and how far they have been handed out.

    announced: events handed out. `up_to` hands out what is new, up to so many events; `take_back` forgets documents
    that nobody took, because the RunEngine was interrupted between asking for them and emitting them.
    """

    announced: int

    def up_to(self, events: int) -> list[Named]: ...

    def take_back(self) -> None: ...


class StreamDocuments:
    """stream_resource and stream_datum of one file: the resources just before the first range, then a range each time.

    indices count the events of this file, from 0.
    """

    def __init__(self, layout: FrameLayout, name: str, uri: str, separator: str = "_") -> None:
        self.announced = 0
        chunks = list(layout.chunk_shape) or [1, *layout.event_shape]
        self._resources = [_stream_resource(uri, name, layout.dataset, chunks)]
        for column, one in layout.columns.items():
            frames = layout.frames_per_event
            chunk = [max(1, COLUMN_CHUNK // frames), *_column_shape(one, frames)]
            resource = _stream_resource(uri, f"{name}{separator}{column}", one.dataset, chunk)
            if one.second_axis:
                resource["parameters"]["slice"] = SECOND_AXIS if frames == 1 else THIRD_AXIS
            self._resources.append(resource)
        self._introduced = False
        self._last: list[Named] = []

    def up_to(self, events: int) -> list[Named]:
        """The documents of all events before `events` that were not handed out yet; none when there are none."""
        if events <= self.announced:
            return []
        documents: list[Named] = []
        if not self._introduced:
            documents += [("stream_resource", resource) for resource in self._resources]
            self._introduced = True
        for resource in self._resources:
            documents.append(("stream_datum", _stream_datum(resource["uid"], self.announced, events)))
        self.announced = events
        self._last = documents
        return documents

    def take_back(self) -> None:
        """Undo the last `up_to` when its documents were dropped: RunEngine fills in the descriptor of what it emits."""
        datums = [document for kind, document in self._last if kind == "stream_datum"]
        if datums and not datums[0]["descriptor"]:
            self.announced = datums[0]["indices"]["start"]
            self._introduced = self._introduced and self._last[0][0] == "stream_datum"
        self._last = []


class ResourceDocuments:
    """resource and datum of one file, for databroker 1.x: one resource, and a datum for each event.

    Its dataset is flat, (frames, *shape), whatever the frames of an event: that is what areaDetector's handlers expect,
    and why `path` must hold it under `DATA`. `datum_ids` has the ids of the events handed out, oldest first.
    """

    def __init__(self, path: str, frames_per_event: int, spec: str = "AD_HDF5") -> None:
        self.announced = 0
        self.datum_ids: list[str] = []
        folder = PurePosixPath(path)
        self._resource = {
            "uid": str(uuid4()),
            "spec": spec,
            "root": str(folder.parent),
            "resource_path": folder.name,
            "resource_kwargs": {"frame_per_point": frames_per_event},
            "path_semantics": "posix",
        }
        self._introduced = False

    def up_to(self, events: int) -> list[Named]:
        """As of `StreamDocuments`; the datums are numbered from 0."""
        if events <= self.announced:
            return []
        documents: list[Named] = []
        if not self._introduced:
            documents.append(("resource", self._resource))
            self._introduced = True
        for point in range(self.announced, events):
            self.datum_ids.append(f"{self._resource['uid']}/{point}")
            documents += [("datum", one) for one in self._datums(point)]
        self.announced = events
        return documents

    def _datums(self, point: int) -> list[Document]:
        return [_datum(self._resource["uid"], f"{point}", {"point_number": point})]

    def take_back(self) -> None:
        """Hand out the resource once more when it was dropped: RunEngine fills in the run of what it emits.

        A datum that nobody refers to harms nobody; its frame is skipped.
        """
        self._introduced = "run_start" in self._resource


class SpectraDocuments(ResourceDocuments):
    """resource and datum of one file of spectra, (frames, channels, bins), for handlers of Xspress3 files: a datum for
    each channel of each event, whose id is that of the event, a slash, and the channel from 0.

    They look for the spectra under /entry/instrument/detector/data, and count channels from 1.
    """

    def __init__(self, path: str, channels: int) -> None:
        super().__init__(path, 1, "XSP3")
        self._resource["resource_kwargs"] = {}
        self._channels = channels

    def _datums(self, point: int) -> list[Document]:
        uid = self._resource["uid"]
        return [
            _datum(uid, f"{point}/{channel}", {"frame": point, "channel": channel + 1})
            for channel in range(self._channels)
        ]


def _stream_resource(uri: str, data_key: str, dataset: str, chunk_shape: list[int]) -> Document:
    # No locks: the file is written without, and where file systems know none, a reader that asks for one fails.
    read = {"swmr": True, "locking": False}
    parameters = {"dataset": dataset, "chunk_shape": chunk_shape, "join_method": "stack", **read}
    return {"uid": str(uuid4()), "data_key": data_key, "mimetype": HDF5, "uri": uri, "parameters": parameters}


def _stream_datum(resource: str, start: int, stop: int) -> Document:
    return {
        "uid": f"{resource}/{start}",
        "stream_resource": resource,
        "descriptor": "",
        "indices": {"start": start, "stop": stop},
        "seq_nums": {"start": 0, "stop": 0},
    }


def _datum(resource: str, name: str, kwargs: Document) -> Document:
    return {"resource": resource, "datum_id": f"{resource}/{name}", "datum_kwargs": kwargs}
