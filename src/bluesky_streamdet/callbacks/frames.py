"""Frames for whoever follows a run's documents: from stream_datum, or datum, to arrays out of the file; no server
between.

The rule it keeps: the plan is never stopped. A file that is not there yet, or is behind its documents, is waited for a
little; frames that can't be had by then are counted in `missed`, with a warning for the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from event_model import DocumentRouter
from event_model.documents import (
    Datum,
    Event,
    EventDescriptor,
    Resource,
    RunStart,
    StreamDatum,
    StreamResource,
)
from numpy.typing import NDArray

from bluesky_streamdet.documents import DATA, HDF5, reader_path
from bluesky_streamdet.streaming.reader import read_frames

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Rows of a dataset that documents announced.

    key: of the data. seq_nums: of the events. start, stop: rows, of the dataset at that path in the file.
    """

    key: str
    seq_nums: range
    path: Path
    dataset: str
    start: int
    stop: int

    def last(self) -> FrameRange:
        """The newest row alone."""
        return FrameRange(self.key, self.seq_nums[-1:], self.path, self.dataset, self.stop - 1, self.stop)

    def read(self) -> NDArray[Any] | None:
        """The rows, of shape (rows, *shape); None while the file does not have them all."""
        try:
            rows = read_frames(self.path, self.dataset, self.start, self.stop)
        except (OSError, KeyError):
            return None
        return rows if len(rows) == self.stop - self.start else None


class FrameDocuments(DocumentRouter):
    """Calls `on_range` with a `FrameRange` for each announcement of frames in HDF5 files.

    keys: only these data keys; left out, all that are images. path_map: prefixes of paths in documents, and what this
    machine calls them.
    """

    def __init__(
        self,
        on_range: Callable[[FrameRange], None],
        keys: Collection[str] | None = None,
        path_map: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._on_range = on_range
        self._keys = keys
        self._path_map = path_map or {}
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._resources: dict[str, Any] = {}
        self._datums: dict[str, Datum] = {}

    def __call__(self, name: str, doc: Any, validate: bool = False) -> tuple[str, Any]:
        # As RunEngine types its callbacks; the base class does not.
        return super().__call__(name, doc, validate)

    def start(self, doc: RunStart) -> None:
        self._descriptors.clear()
        self._resources.clear()
        self._datums.clear()

    def descriptor(self, doc: EventDescriptor) -> None:
        self._descriptors[doc["uid"]] = doc["data_keys"]

    def stream_resource(self, doc: StreamResource) -> None:
        self._resources[doc["uid"]] = doc

    def stream_datum(self, doc: StreamDatum) -> None:
        resource, data_keys = self._resources[doc["stream_resource"]], self._descriptors[doc["descriptor"]]
        key = resource["data_key"]
        if resource["mimetype"] != HDF5 or not self._wants(key, data_keys):
            return
        indices, seq_nums = doc["indices"], range(doc["seq_nums"]["start"], doc["seq_nums"]["stop"])
        dataset, path = resource["parameters"]["dataset"], self._local(resource["uri"])
        self._on_range(FrameRange(key, seq_nums, path, dataset, indices["start"], indices["stop"]))

    def resource(self, doc: Resource) -> None:
        self._resources[doc["uid"]] = doc

    def datum(self, doc: Datum) -> Datum:
        self._datums[doc["datum_id"]] = doc
        return doc

    def event(self, doc: Event) -> Event:
        data_keys = self._descriptors[doc["descriptor"]]
        for key, data_key in data_keys.items():
            if data_key.get("external") != "FILESTORE:" or not self._wants(key, data_keys):
                continue
            datum = self._datums.pop(doc["data"][key])
            resource = self._resources[datum["resource"]]
            frames = resource["resource_kwargs"].get("frame_per_point", 1)
            first = datum["datum_kwargs"]["point_number"] * frames
            path = Path(reader_path(f"{resource['root'].rstrip('/')}/{resource['resource_path']}", self._path_map))
            self._on_range(
                FrameRange(key, range(doc["seq_num"], doc["seq_num"] + 1), path, DATA, first, first + frames)
            )
        return doc

    def _wants(self, key: str, data_keys: Mapping[str, Any]) -> bool:
        if self._keys is not None:
            return key in self._keys
        return len(data_keys[key]["shape"]) >= 1 and not _is_beside(key, data_keys)

    def _local(self, uri: str) -> Path:
        path = Path(reader_path(urlparse(uri).path, self._path_map))
        # Some write %20 for a space, and some, Tiled among them, take the path as it stands.
        return path if path.exists() else Path(reader_path(unquote(urlparse(uri).path), self._path_map))


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
    ) -> None:
        super().__init__(self._read, keys, path_map)
        self.missed = 0
        self._on_frames = on_frames
        self._patience = patience
        self._sleep = sleep

    def _read(self, wanted: FrameRange) -> None:
        frames = read_patiently(wanted, self._patience, self._sleep)
        if frames is None:
            if not self.missed:
                log.warning(
                    "%s has no frames %d to %d yet; they are not shown", wanted.path, wanted.start, wanted.stop - 1
                )
            self.missed += wanted.stop - wanted.start
        else:
            self._on_frames(wanted.key, wanted.seq_nums, frames)


def read_patiently(wanted: FrameRange, patience: float, wait: Callable[[float], object]) -> NDArray[Any] | None:
    """The rows of a file that may be behind; None when it still is after `patience` seconds, slept by `wait`."""
    deadline = time.monotonic() + patience
    while (frames := wanted.read()) is None and time.monotonic() < deadline:
        wait(RETRY_SECONDS)
    return frames
