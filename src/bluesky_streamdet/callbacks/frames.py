"""Frames for whoever follows a run's documents: from stream_datum, or datum, to arrays out of the file; no server
between, unless the file is out of reach.

The rule it keeps: the plan is never stopped. A file that is not there yet, or is behind its documents, is waited for a
little; frames that can't be had by then are counted in `missed`, with a warning for the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from event_model import DocumentRouter
from event_model.documents import (
    Datum,
    Event,
    EventDescriptor,
    Resource,
    RunStart,
    RunStop,
    StreamDatum,
    StreamResource,
)
from numpy.typing import NDArray

from bluesky_streamdet.callbacks.served import ServedFrames
from bluesky_streamdet.documents import DATA, HDF5
from bluesky_streamdet.streaming.files.reader import local_path, read_frames

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.02
SPECTRA = "/entry/instrument/detector"
"""Where files of spectra, of the spec XSP3, have them, and what comes with them."""
FACTORS = ("dead_time_correction", "dead_time_correction_sdk")
NOBODY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Rows of a dataset that documents announced.

    key: of the data. seq_nums: of the events. start, stop: rows, of the dataset at that path in the file. columns:
    where in that file is what each row has beside it, by name. run, described: the run's start document, and the
    descriptor of the events; empty when they came before anybody listened. where: what this machine has for the file.
    """

    key: str
    seq_nums: range
    uri: str
    dataset: str
    start: int
    stop: int
    columns: Mapping[str, str] = field(default_factory=dict, compare=False)
    run: Mapping[str, Any] = field(default_factory=dict, compare=False)
    described: Mapping[str, Any] = field(default_factory=dict, compare=False)
    where: Where = field(default_factory=lambda: Where(), compare=False)

    @property
    def rows(self) -> int:
        return self.stop - self.start

    @property
    def path(self) -> Path:
        """Of the file on this machine."""
        return local_path(self.uri, self.where.path_map)

    def last(self) -> FrameRange:
        """The newest row alone."""
        return replace(self, seq_nums=self.seq_nums[-1:], start=self.stop - 1)

    def first(self, rows: int) -> FrameRange:
        """The oldest rows, so many if there are."""
        rows = min(rows, self.rows)
        return replace(self, seq_nums=self.seq_nums[:rows], stop=self.start + rows)

    def after(self, rows: int) -> FrameRange:
        """What is left without the oldest rows."""
        return replace(self, seq_nums=self.seq_nums[rows:], start=min(self.start + rows, self.stop))

    def joined(self, other: FrameRange) -> FrameRange | None:
        """Both as one, when `other` follows at once in the same file, and all rows are events; otherwise None."""
        same = (self.key, self.uri, self.dataset) == (other.key, other.uri, other.dataset)
        if not same or (self.stop, self.seq_nums.stop) != (other.start, other.seq_nums.start):
            return None
        if len(self.seq_nums) != self.rows or len(other.seq_nums) != other.rows:
            return None
        return replace(self, seq_nums=range(self.seq_nums.start, other.seq_nums.stop), stop=other.stop)

    def read(self) -> NDArray[Any] | None:
        """The rows, of shape (rows, *shape); None while the file does not have them all."""
        return self._read(self.dataset, self.key)

    def read_column(self, name: str) -> NDArray[Any] | None:
        """What each row has beside it under this name; None when it has no such thing, or not yet."""
        return self._read(self.columns[name], self.key_of(name) or name) if name in self.columns else None

    def key_of(self, name: str) -> str | None:
        """The data key of what each row has beside it; None for what documents do not promise."""
        keys = self.described.get("data_keys", NOBODY)
        return next((one for one in keys if one.startswith(self.key) and one[len(self.key) + 1 :] == name), None)

    def _read(self, dataset: str, key: str) -> NDArray[Any] | None:
        path, served = self.path, self.where.served
        if served is not None and not path.exists():
            return served.read(self.run["uid"], self.described["name"], key, self.seq_nums)
        try:
            rows = read_frames(path, dataset, self.start, self.stop)
        except (OSError, KeyError):
            return None
        # One number a frame may have an axis of its own in the file.
        described = self.described.get("data_keys", NOBODY).get(key, NOBODY).get("shape")
        if described is not None and rows.shape[1:] == (*described, 1):
            rows = rows[..., 0]
        return rows if len(rows) == self.rows else None


@dataclass(frozen=True, slots=True)
class Where:
    """Where files of documents are for this machine. path_map: prefixes of their paths, and what it calls them. served:
    what has the frames of files that it can't reach.
    """

    path_map: Mapping[str, str] = field(default_factory=dict)
    served: ServedFrames | None = None


class FrameDocuments(DocumentRouter):
    """Calls `on_range` with a `FrameRange` for each announcement of frames in HDF5 files, of any runs that are open.

    keys: only these data keys, or devices whose frames these are; left out, all that are images. path_map: prefixes of
    paths in documents, and what this machine calls them. catalog: a Tiled client of the runs, such as `db`, that has
    the frames of files which are out of reach here. unknown: announcements whose descriptor or resource came before
    anybody listened here.
    """

    def __init__(
        self,
        on_range: Callable[[FrameRange], None],
        keys: Collection[str] | None = None,
        path_map: Mapping[str, str] | None = None,
        catalog: Any = None,
    ) -> None:
        super().__init__()
        self.unknown = 0
        self._on_range = on_range
        self._keys = keys
        self._where = Where(path_map or {}, None if catalog is None else ServedFrames(catalog))
        self._runs: dict[str, RunStart] = {}
        self._descriptors: dict[str, EventDescriptor] = {}
        self._resources: dict[str, Any] = {}
        self._datums: dict[str, Datum] = {}

    def __call__(self, name: str, doc: Any, validate: bool = False) -> tuple[str, Any]:
        # As RunEngine types its callbacks; the base class does not.
        return super().__call__(name, doc, validate)

    def start(self, doc: RunStart) -> None:
        self._runs[doc["uid"]] = doc

    def stop(self, doc: RunStop) -> None:
        run = doc["run_start"]
        self._runs.pop(run, None)
        self._descriptors = {uid: one for uid, one in self._descriptors.items() if one["run_start"] != run}
        if not self._runs:
            # Resources need not say of which run they are.
            self._resources.clear()
            self._datums.clear()

    def descriptor(self, doc: EventDescriptor) -> None:
        self._descriptors[doc["uid"]] = doc

    def stream_resource(self, doc: StreamResource) -> None:
        self._resources[doc["uid"]] = doc

    def stream_datum(self, doc: StreamDatum) -> None:
        resource, descriptor = self._resources.get(doc["stream_resource"]), self._descriptors.get(doc["descriptor"])
        if resource is None or descriptor is None:
            self.unknown += 1
            return
        key = resource["data_key"]
        if resource["mimetype"] != HDF5 or not self._wants(key, descriptor["data_keys"]):
            return
        columns = {
            one["data_key"][len(key) + 1 :]: one["parameters"]["dataset"]
            for one in self._resources.values()
            if one.get("uri") == resource["uri"] and one["data_key"] != key and one["data_key"].startswith(key)
        }
        indices, seq_nums = doc["indices"], range(doc["seq_nums"]["start"], doc["seq_nums"]["stop"])
        rows = indices["start"], indices["stop"]
        self._announce(descriptor, key, seq_nums, resource["uri"], resource["parameters"]["dataset"], *rows, columns)

    def resource(self, doc: Resource) -> None:
        self._resources[doc["uid"]] = doc

    def datum(self, doc: Datum) -> Datum:
        self._datums[doc["datum_id"]] = doc
        return doc

    def event(self, doc: Event) -> Event:
        descriptor = self._descriptors.get(doc["descriptor"])
        if descriptor is None:
            self.unknown += 1
            return doc
        data_keys, seq_nums = descriptor["data_keys"], range(doc["seq_num"], doc["seq_num"] + 1)
        shown: set[str] = set()
        for key in (key for key, described in data_keys.items() if described.get("external") == "FILESTORE:"):
            datum = self._datums.pop(doc["data"][key], None)
            resource = self._resources.get(datum["resource"]) if datum is not None else None
            if datum is None or resource is None:
                self.unknown += 1
                continue
            uri = f"file://localhost{resource['root'].rstrip('/')}/{resource['resource_path']}"
            kwargs = datum["datum_kwargs"]
            if "channel" in kwargs and "frame" in kwargs:
                # Each channel is a datum; the spectra of all of them are one row.
                device, row = _device_of(key, descriptor), kwargs["frame"]
                if device not in shown and (self._keys is None or {device, key} & set(self._keys)):
                    shown.add(device)
                    columns = {name: f"{SPECTRA}/{name}" for name in FACTORS}
                    self._announce(descriptor, device, seq_nums, uri, f"{SPECTRA}/data", row, row + 1, columns)
            elif self._wants(key, data_keys):
                frames = resource["resource_kwargs"].get("frame_per_point", 1)
                first = kwargs["point_number"] * frames
                self._announce(descriptor, key, seq_nums, uri, DATA, first, first + frames)
        return doc

    def _announce(
        self,
        descriptor: Any,
        key: str,
        seq_nums: range,
        uri: str,
        dataset: str,
        start: int,
        stop: int,
        columns: Mapping[str, str] = NOBODY,
    ) -> None:
        run: Mapping[str, Any] = self._runs.get(descriptor["run_start"], {"uid": descriptor["run_start"]})
        self._on_range(FrameRange(key, seq_nums, uri, dataset, start, stop, columns, run, descriptor, self._where))

    def _wants(self, key: str, data_keys: Mapping[str, Any]) -> bool:
        if self._keys is not None:
            return key in self._keys
        return len(data_keys[key]["shape"]) >= 1 and not _is_beside(key, data_keys)


def _device_of(key: str, descriptor: Mapping[str, Any]) -> str:
    """The device that a data key is of; the key itself when nobody says."""
    owners = (device for device, keys in descriptor.get("object_keys", NOBODY).items() if key in keys)
    return next(owners, key)


def _is_beside(key: str, data_keys: Mapping[str, Any]) -> bool:
    """Whether what a key stands for comes beside frames that have a key of their own, such as counts of channels."""
    return any(
        key != other
        and key.startswith(other)
        and "external" in described
        and described["source"] == data_keys[key]["source"]
        for other, described in data_keys.items()
    )


class FrameCallback(FrameDocuments):
    """Calls `on_frames(key, seq_nums, frames)` with the frames of each announcement, of shape (rows, *shape of an
    event).

    It reads in the thread that the documents come in, which in a RunEngine is the plan's; to spare the plan, wrap it in
    `bluesky.callbacks.buffer.BufferingWrapper`, or use `LiveImage`, that has a thread of its own.

    patience: seconds to wait for a file that is behind its documents, for each announcement, by `sleep`.
    """

    def __init__(
        self,
        on_frames: Callable[[str, range, NDArray[Any]], None],
        keys: Collection[str] | None = None,
        path_map: Mapping[str, str] | None = None,
        patience: float = 2.0,
        sleep: Callable[[float], object] = time.sleep,
        catalog: Any = None,
    ) -> None:
        super().__init__(self._read, keys, path_map, catalog)
        self.missed = 0
        self._on_frames = on_frames
        self._patience = patience
        self._sleep = sleep

    def _read(self, wanted: FrameRange) -> None:
        frames = read_patiently(wanted.read, self._patience, self._sleep)
        if frames is None:
            if not self.missed:
                log.warning(
                    "%s has no frames %d to %d yet; they are not shown", wanted.path, wanted.start, wanted.stop - 1
                )
            self.missed += wanted.stop - wanted.start
        else:
            self._on_frames(wanted.key, wanted.seq_nums, frames)


def read_patiently(
    read: Callable[[], NDArray[Any] | None], patience: float, wait: Callable[[float], object]
) -> NDArray[Any] | None:
    """What `read` has of a file that may be behind; None when it still is after `patience` seconds, slept by `wait`."""
    deadline = time.monotonic() + patience
    while (frames := read()) is None and time.monotonic() < deadline:
        wait(RETRY_SECONDS)
    return frames
