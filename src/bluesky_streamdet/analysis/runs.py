"""Runs of whatever catalog, with one surface: streams by name, arrays by data key, what descriptors say.

| catalog | a run is | arrays come from |
| --- | --- | --- |
| Tiled, as `bluesky-tiled-plugins` shows it | `db[-1]` | the server, slice by slice |
| databroker 2 | `db[-1]` of a `Broker`, or of `broker.v2` | the same |
| databroker 1.2.5 | the same | its handlers, which open the files, event by event |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError

BLOCK = 16 << 20
"""Bytes that are asked for at once, where an array is read bit by bit."""
NOT_DATA = ("seq_num", "time")


class Corrected:
    """An array on a server, times a factor. Done here, as dask asks a server for a slice only if that comes first.

    Its last axis ends at `length`.
    """

    def __init__(self, array: Any, factor: NDArray[Any] | None, length: int) -> None:
        self.shape, self.ndim = (*array.shape[:-1], length), len(array.shape)
        self.dtype = array.dtype if factor is None else np.dtype(np.float64)
        self._array = array
        self._factor = None if factor is None else np.broadcast_to(factor, self.shape)

    def __getitem__(self, wanted: Any) -> NDArray[Any]:
        part = np.asarray(self._array[wanted])
        return part if self._factor is None else part * self._factor[wanted]


class Stream:
    """One stream of a run, that a Tiled server has.

    metadata: its descriptor, of which `data_keys` is the part that says what there is.
    """

    def __init__(self, client: Any) -> None:
        described = dict(client.metadata)
        self.metadata: Mapping[str, Any] = described | (described.get("descriptors") or [{}])[0]
        self.data_keys: Mapping[str, Any] = self.metadata["data_keys"]
        # One interface of databroker has the values one level below.
        self._values = client["data"] if {"data", "timestamps"} <= set(client) else client
        self._keys = [one for one in self._values if one in self.data_keys]

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    @property
    def external(self) -> list[str]:
        """Data keys whose values are in files."""
        return [key for key in self if self.data_keys[key].get("external")]

    def shape(self, key: str) -> tuple[int, ...]:
        """Of all values of a key, events first."""
        return tuple(self._values[key].shape)

    def dask(self, key: str) -> da.Array:
        """What a file holds: only what is computed is read, at most `BLOCK` bytes or one event at a time.

        Of a slice that is the first thing done to it, nothing but the slice.
        """
        return _by_blocks(self._values[key])

    def corrected(self, key: str, factor: NDArray[Any] | None, length: int) -> da.Array:
        """The same, times a factor of as many axes, and its last axis cut to a length."""
        return _by_blocks(Corrected(self._values[key], factor, length))

    def read(self, key: str) -> NDArray[Any]:
        """All values of a key, of those that are small."""
        return np.asarray(self._values[key].read() if key in self.external else self._events[key])

    @property
    def times(self) -> NDArray[Any] | None:
        """When the events were, in s since 1970; None where frames alone were announced."""
        return np.asarray(self._events["time"]) if self._internal else None

    def files(self) -> dict[str, list[str]]:
        """URIs of the files of each data key, in their order; none where the catalog does not say it."""
        sources = {key: self._values[key].data_sources() or () for key in self.external}
        return {key: [asset.data_uri for one in found for asset in one.assets] for key, found in sources.items()}

    @property
    def _internal(self) -> list[str]:
        return [key for key in self if not self.data_keys[key].get("external")]

    @cached_property
    def _events(self) -> Any:
        return self._table()

    def _table(self) -> Any:
        """The readings of all events, in one request."""
        return self._values.read([*self._internal, "time"])


class LocalStream(Stream):
    """One stream of databroker 1.2.5."""

    def __init__(self, client: Any) -> None:
        self.metadata = dict(client.metadata["descriptors"][0])
        self.data_keys = self.metadata["data_keys"]
        self._values = client.to_dask()
        self._keys = [one for one in self._values if one in self.data_keys]

    def dask(self, key: str) -> da.Array:
        return da.asarray(self._values[key].data)

    def corrected(self, key: str, factor: NDArray[Any] | None, length: int) -> da.Array:
        array = self.dask(key)[..., :length]
        return array if factor is None else array * factor

    def read(self, key: str) -> NDArray[Any]:
        return np.asarray(self._values[key])

    def files(self) -> dict[str, list[str]]:
        return {}

    def _table(self) -> Any:
        return self._values


class Run:
    """A run. `run[name]` is a stream; start, stop: its documents."""

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
            raise ConfigError(f"The run has no stream {stream!r}.", f"It has {', '.join(self) or 'none'}.")
        return self._stream(self._client[stream])

    def files(self, stream: str) -> dict[str, list[str]]:
        """URIs of the files of each data key of a stream, in their order."""
        values = self[stream]
        found = values.files()
        if any(found.values()) or not values.external:
            return found
        return referred(self._client.documents(fill="no"))

    def _stream(self, client: Any) -> Stream:
        return Stream(client) if hasattr(self._client, "structure_clients") else LocalStream(client)


def opened(run: Any) -> Run:
    """What `db[-1]` gives, as a run. Raises `ConfigError` for what is none."""
    if isinstance(run, Run):
        return run
    if hasattr(run, "db") and hasattr(run, "start"):
        run = run.v2 if hasattr(run, "v2") else run.db.v2[run.start["uid"]]
    if "start" not in getattr(run, "metadata", {}):
        raise ConfigError(f"{run!r} is no run of a catalog.", "Give db[-1], or another run.")
    return Run(run)


def _by_blocks(array: Any) -> da.Array:
    rows = max(1, BLOCK // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    chunks: Any = (max(1, min(rows, array.shape[0])), *array.shape[1:])
    # A name of its own, as nobody can tell whether two such arrays are the same.
    return da.from_array(array, chunks, name=False, meta=np.empty((0,) * array.ndim, array.dtype))


def referred(documents: Iterable[tuple[str, Any]]) -> dict[str, list[str]]:
    """URIs of the files that events refer to by datum, by data key. A datum's id begins with that of its resource."""
    resources: dict[str, str] = {}
    found: dict[str, dict[str, None]] = {}
    for kind, document in documents:
        if kind == "resource":
            path = f"{document['root'].rstrip('/')}/{document['resource_path']}"
            resources[document["uid"]] = f"file://localhost{path}"
        elif kind in ("event", "event_page"):
            for key, values in document["data"].items():
                ids = [one for one in (values if kind == "event_page" else [values]) if isinstance(one, str)]
                uris = [resources.get(one.partition("/")[0]) for one in ids]
                found.setdefault(key, {}).update(dict.fromkeys(uri for uri in uris if uri))
    return {key: list(uris) for key, uris in found.items() if uris}
