"""The catalog of a session, opened when it is first wanted: its server starts while the session does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from bluesky_streamdet.core.errors import ServiceUnreachable, StreamdetError

SERVER = "Does its server run? One that a session has started comes back with a new session."

Named = tuple[str, Any]
"""A document, after what kind it is."""


class LateCatalog:
    """Whatever is asked of it is asked of the catalog's client, which `open` gives; `db[-1]` is the last run."""

    def __init__(self, open: Callable[[], Any]) -> None:
        self._open = open
        self._client: Any = None
        self._lock = threading.Lock()

    def opened(self) -> Any:
        """The client itself. Waits until the server is ready, and raises what it met."""
        with self._lock, answering():
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

    def __dir__(self) -> list[str]:
        # Who completes a name does not wait for a server.
        return sorted({*super().__dir__(), *dir(self._client)})

    def __getitem__(self, key: Any) -> Any:
        with answering():
            return self.opened()[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.opened()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.opened())

    def __len__(self) -> int:
        with answering():
            return len(self.opened())

    def __repr__(self) -> str:
        return repr(self.opened())


@contextmanager
def answering() -> Generator[None]:
    """Raises `ServiceUnreachable` for a server that does not answer."""
    try:
        yield
    except Exception as error:
        from bluesky_streamdet.service.client import is_no_answer

        if not is_no_answer(error):
            raise
        raise ServiceUnreachable(f"The catalog does not answer: {error}.", SERVER) from error


class LateWriter:
    """A callback that puts runs into a catalog while they are measured, so that they can be followed.

    It does so in a thread of its own, as each request to a server takes its time, and the plan would have to wait for
    all of them. Only the end of a run waits, so that `db[-1]` is the whole of it. What goes wrong is raised with the
    next document, as `StreamdetError`, and the rest of the run is left out.
    """

    def __init__(self, catalog: LateCatalog) -> None:
        self._catalog = catalog
        self._router: Callable[[str, Any], object] | None = None
        self._waiting: SimpleQueue[Named | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open = 0
        self._error: Exception | None = None

    def __call__(self, name: str, document: Any) -> None:
        self._open += (name == "start") - (name == "stop")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="catalog", daemon=True)
            self._thread.start()
        self._waiting.put((name, document))
        if self._open <= 0:
            self._waiting.put(None)
            # Not for ever: each request has a time-out.
            self._thread.join()
            self._thread, self._open = None, 0
        error, self._error = self._error, None
        if error is not None:
            what = f"{type(error).__name__}: {error}".rstrip(".")
            hint = f"{SERVER} Frames that were announced are in the files of their detectors."
            raise StreamdetError(f"The catalog has not all of the run: {what}.", hint) from error

    def _work(self) -> None:
        failed = over = False
        while not over:
            documents = [self._waiting.get()]
            while not self._waiting.empty():
                documents.append(self._waiting.get())
            over = documents[-1] is None
            for name, document in joined(one for one in documents if one is not None):
                failed = failed and name != "start"
                if failed:
                    continue
                try:
                    self._write(name, document)
                except Exception as error:  # noqa: BLE001, the thread of the plan raises it
                    failed, self._error = True, error

    def _write(self, name: str, document: Any) -> None:
        if self._router is None:
            from event_model import RunRouter

            self._router = RunRouter([self._writer])
        self._router(name, document)

    def _writer(self, _name: str, start: Any) -> tuple[list[Any], list[Any]]:
        """What writes one run."""
        from bluesky_tiled_plugins import TiledWriter

        # Of a raster, a row at a time: its positions come so, and each would be a request.
        row = start.get("shape", [1])[-1] if start.get("plan_name") == "raster" else 1
        return [TiledWriter(self._catalog.opened(), batch_size=row)], []


def joined(documents: Iterable[Named]) -> Iterator[Named]:
    """The same documents, but stream_datum of one resource that have come meanwhile as one, and before a stop."""
    held: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, document in documents:
        if name == "stream_datum":
            ranges = held.setdefault((document["stream_resource"], document["descriptor"]), [])
            if ranges and ranges[-1]["indices"]["stop"] == document["indices"]["start"]:
                ranges[-1] = _both(ranges[-1], document)
            else:
                ranges.append(document)
            continue
        if name == "stop":
            yield from _told(held)
        yield name, document
    yield from _told(held)


def _both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    ranges = {key: {"start": first[key]["start"], "stop": second[key]["stop"]} for key in ("indices", "seq_nums")}
    return {**first, **ranges}


def _told(held: dict[tuple[str, str], list[dict[str, Any]]]) -> Iterator[Named]:
    for ranges in held.values():
        yield from (("stream_datum", one) for one in ranges)
    held.clear()
