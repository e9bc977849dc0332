"""A catalog in memory, as Tiled's client shows it, that counts what is read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS, BINS = 2, 50


class Remote:
    """An array on a server. read_bytes: of all that was asked for."""

    def __init__(self, values: Any, uris: Sequence[str] = ()) -> None:
        self._values = np.asarray(values)
        self._uris = uris
        self.shape, self.dtype, self.ndim = self._values.shape, self._values.dtype, self._values.ndim
        self.read_bytes = 0

    def __getitem__(self, wanted: Any) -> NDArray[Any]:
        assert all(isinstance(one, slice | int) for one in wanted), "a server knows no lists"
        return self._sent(self._values[wanted])

    def read(self) -> NDArray[Any]:
        return self._sent(self._values)

    def data_sources(self) -> list[Any]:
        return [SimpleNamespace(assets=[SimpleNamespace(data_uri=uri)]) for uri in self._uris]

    def _sent(self, part: NDArray[Any]) -> NDArray[Any]:
        self.read_bytes += part.nbytes
        return part


class CatalogStream(dict[str, Any]):
    """Remote arrays under the keys whose values are in files, and numbers of events under the others.

    keys: data keys, whose shapes, and `external` where the values are remote, are added.
    """

    def __init__(
        self, values: Mapping[str, Any], keys: Mapping[str, dict[str, Any]], settings: Mapping[str, dict[str, Any]] = {}
    ) -> None:
        super().__init__(values)
        self.requests = 0
        described = {
            key: {"shape": list(np.shape(one)[1:])} | ({"external": "STREAM:"} if isinstance(one, Remote) else {})
            for key, one in values.items()
        }
        self.metadata = {
            "data_keys": {key: described[key] | keys.get(key, {}) for key in values if key != "time"},
            "configuration": {name: {"data": dict(one)} for name, one in settings.items()},
        }

    def read(self, keys: Sequence[str]) -> dict[str, Any]:
        self.requests += 1
        return {key: np.asarray(self[key]) for key in keys}


class CatalogRun(dict[str, CatalogStream]):
    structure_clients = None

    def __init__(self, start: Mapping[str, Any], **streams: CatalogStream) -> None:
        super().__init__(streams)
        self.metadata = {"start": dict(start), "stop": {}}


def of_xspress3(events: int = 6, separator: str = "_", frames: int = 0, **settings: Any) -> CatalogStream:
    """Each event has counts of its own, and each channel a factor of its own."""
    hardware = "" if separator == "_" else "hardware-"
    shape = (events, *((frames,) if frames else ()), CHANNELS, BINS)
    said = {
        f"det{separator}ev_per_bin": 20.0,
        f"det{separator}ev_offset": 5.0,
        f"det{separator}{hardware}bins": BINS,
        f"det{separator}{hardware}first_bin": 100,
        f"det{separator}{hardware}lookup": [],
        f"det{separator}region_names": ["Fe"],
        f"det{separator}region_first_bin": [110],
        f"det{separator}region_last_bin": [119],
    }
    factor = 1.0 + np.arange(events * CHANNELS).reshape(events, CHANNELS)
    factor[0, 1] = np.inf
    values = {
        "det": Remote(np.arange(np.prod(shape), dtype="u4").reshape(shape), ["file://localhost/frames/a.h5"]),
        f"det{separator}dead_time_correction": Remote(factor),
        f"det{separator}receive_time": Remote(1_700_000_000_000_000_001 + np.arange(events)),
    }
    dims = ["frame"] * bool(frames) + ["channel", "bin"]
    keys: dict[str, dict[str, Any]] = {
        "det": {"dims": dims},
        f"det{separator}dead_time_correction": {"dims": ["channel"]},
    }
    keys = {key: {"object_name": "det", **keys.get(key, {})} for key in values}
    changed = {f"det{separator}{hardware}{key}": one for key, one in settings.items()}
    return CatalogStream(values, keys, {"det": said | changed})
