"""The catalog of a session, opened when it is first wanted: its server starts while the session does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any


class LateCatalog:
    """Whatever is asked of it is asked of the catalog's client, which `open` gives; `db[-1]` is the last run."""

    def __init__(self, open: Callable[[], Any]) -> None:
        self._open = open
        self._client: Any = None
        self._lock = threading.Lock()

    def opened(self) -> Any:
        """The client itself. Waits until the server is ready, and raises what it met."""
        with self._lock:
            if self._client is None:
                self._client = self._open()
            return self._client

    def close(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            client.context.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            # Such are looked for by whoever shows or completes a name, and are no reason to wait.
            raise AttributeError(name)
        return getattr(self.opened(), name)

    def __getitem__(self, key: Any) -> Any:
        return self.opened()[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.opened()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.opened())

    def __len__(self) -> int:
        return len(self.opened())

    def __repr__(self) -> str:
        return repr(self.opened())


class LateWriter:
    """A callback that puts runs into a catalog document by document, so that they can be followed."""

    def __init__(self, catalog: LateCatalog) -> None:
        self._catalog = catalog
        self._writer: Callable[[str, Any], None] | None = None

    def __call__(self, name: str, document: Any) -> None:
        if self._writer is None:
            from bluesky_tiled_plugins import TiledWriter

            self._writer = TiledWriter(self._catalog.opened(), batch_size=1)
        self._writer(name, document)
