"""Runs of whatever catalog, with one surface: streams by name, arrays by data key, configuration by device.

| catalog | a run is | arrays come from |
| --- | --- | --- |
| Tiled, as `bluesky-tiled-plugins` shows it | `db[-1]` | the server, slice by slice |
| databroker 2, on Tiled or on Mongo | `db[-1]` of a `Broker`, or of `broker.v2` | the same |
| databroker 1.2.5 | the same | its handlers, which open the files, point by point |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError

BLOCK = 16 << 20
"""Bytes that are read at once, of arrays that are read bit by bit."""


class Stream:
    """One stream of a run. `stream[key]` is an array on the server, that gives the part which is asked for.

    configuration: of each device, as documents have it: {device: {"data": {…}}}. data_keys: as in the descriptor.
    """

    def __init__(self, client: Any) -> None:
        described = dict(client.metadata)
        described.update((described.get("descriptors") or [{}])[0])
        self.metadata: Mapping[str, Any] = described
        self.data_keys: Mapping[str, Any] = described["data_keys"]
        keys = set(client)
        # Later interfaces have the values in the stream itself, older ones one level below.
        self._values = client["data"] if {"data", "timestamps"} <= keys else client

    def __contains__(self, key: object) -> bool:
        return key in set(self._values)

    def __iter__(self) -> Iterator[str]:
        return (one for one in self._values if not one.startswith("ts_") and one not in {"seq_num", "time"})

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def dask(self, key: str) -> da.Array:
        """An array of which only what is computed is read, in blocks of at most `BLOCK` bytes or of one event."""
        array = self[key]
        rows = max(1, BLOCK // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
        meta = np.empty((0,) * len(array.shape), array.dtype)
        # A name of its own, as nobody else can tell whether two such arrays are the same.
        return da.from_array(array, (rows, *array.shape[1:]), name=False, asarray=True, meta=meta)

    def read(self, key: str) -> NDArray[Any]:
        """All of an array that is small."""
        return np.asarray(self[key].read() if hasattr(self[key], "read") else self[key])

    @property
    def times(self) -> NDArray[Any] | None:
        """When the events were, in s since 1970; None for a stream without events."""
        return self.read("time") if "time" in self else None

    def files(self) -> list[tuple[str, str]]:
        """Data keys and URIs of the files that this stream refers to."""
        found = [(key, self._sources(key)) for key in self.external]
        return [(key, asset.data_uri) for key, sources in found for source in sources for asset in source.assets]

    @property
    def external(self) -> list[str]:
        """Data keys whose values are not in the events."""
        return [key for key, one in self.data_keys.items() if "external" in one and key in self]

    def _sources(self, key: str) -> Sequence[Any]:
        return self[key].data_sources() or ()


class LocalStream(Stream):
    """One stream of databroker 1.2.5, whose arrays are dask's from the start."""

    def __init__(self, client: Any, resources: Sequence[Mapping[str, Any]]) -> None:
        self._data = client.to_dask()
        self._resources = resources
        described = dict(client.metadata["descriptors"][0] if "descriptors" in client.metadata else {})
        self.metadata = described or dict(client._descriptors[0])  # noqa: SLF001, there is no other way
        self.data_keys = self.metadata["data_keys"]
        self._values = self._data.variables

    def __getitem__(self, key: str) -> Any:
        return self._data[key].data

    def dask(self, key: str) -> da.Array:
        return da.asarray(self[key])

    def files(self) -> list[tuple[str, str]]:
        return [
            (key, f"file://localhost{one['root'].rstrip('/')}/{one['resource_path']}")
            for key in self.external[:1]
            for one in self._resources
        ]


class Run:
    """A run of a catalog. `run[name]` is a stream; start, stop: its documents."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.start: Mapping[str, Any] = client.metadata["start"]
        self.stop: Mapping[str, Any] = client.metadata.get("stop") or {}

    def __contains__(self, stream: object) -> bool:
        return stream in set(self._client)

    def __iter__(self) -> Iterator[str]:
        return iter(self._client)

    def __getitem__(self, stream: str) -> Stream:
        if stream not in self:
            raise ConfigError(f"The run has no stream {stream!r}.", f"It has {', '.join(self) or 'none at all'}.")
        return self._stream(self._client[stream])

    def _stream(self, client: Any) -> Stream:
        return Stream(client)


class LocalRun(Run):
    """A run of databroker 1.2.5."""

    def _stream(self, client: Any) -> Stream:
        named = [document for kind, document in self._client.documents(fill="no") if kind == "resource"]
        return LocalStream(client, named)


def opened(run: Any) -> Run:
    """What `db[-1]` gives, as a run. Raises `ConfigError` for what is none."""
    if isinstance(run, Run):
        return run
    broker = getattr(run, "db", None)
    if broker is not None and hasattr(broker, "v2"):
        run = run.v2 if hasattr(run, "v2") else broker.v2[run.start["uid"]]
    if not hasattr(run, "metadata") or "start" not in run.metadata:
        raise ConfigError(f"{run!r} is no run of a catalog.", "Give db[-1], or another run of yours.")
    return Run(run) if hasattr(run, "item") else LocalRun(run)
