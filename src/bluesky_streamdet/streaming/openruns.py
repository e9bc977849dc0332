"""The documents of runs that are open, for whoever comes late. No input or output.

A late joiner gets the start, descriptors, resources, and what was announced so far: of streams as one range each, of
events and datums the last ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]
MOST_EVENTS = 10_000
"""Events that are kept of a run, and as many datums."""


class _Run:
    def __init__(self, start: Document) -> None:
        self.start = start
        self.descriptors: dict[str, Document] = {}
        self.resources: dict[str, tuple[str, Document]] = {}
        self.ranges: dict[tuple[str, str], Document] = {}
        self.events: deque[tuple[str, Document]] = deque(maxlen=MOST_EVENTS)
        self.datums: deque[tuple[str, Document]] = deque(maxlen=MOST_EVENTS)

    def documents(self) -> Iterator[tuple[str, Document]]:
        yield "start", self.start
        for descriptor in self.descriptors.values():
            yield "descriptor", descriptor
        yield from self.resources.values()
        for datum in self.ranges.values():
            yield "stream_datum", datum
        yield from self.datums
        yield from self.events


class OpenRuns:
    """Takes documents, as a callback does; `documents` gives those of open runs, in an order in which they can be
    read. It keeps the documents as they are.
    """

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def __call__(self, name: str, document: Document) -> None:
        match name:
            case "start":
                self._runs[document["uid"]] = _Run(document)
            case "stop":
                self._runs.pop(document["run_start"], None)
            case _:
                run = self._run_of(name, document)
                if run is not None:
                    _keep(run, name, document)

    def documents(self) -> list[tuple[str, Document]]:
        """Of all open runs, the oldest first."""
        return [one for run in self._runs.values() for one in run.documents()]

    def _run_of(self, name: str, document: Document) -> _Run | None:
        runs = list(self._runs.values())
        match name:
            case "descriptor":
                return self._runs.get(document["run_start"])
            case "event" | "event_page" | "stream_datum":
                return next((one for one in runs if document["descriptor"] in one.descriptors), None)
            case "resource" | "stream_resource":
                # It need not say of which run it is.
                return self._runs.get(document.get("run_start", ""), runs[-1] if runs else None)
            case "datum" | "datum_page":
                return next((one for one in runs if document["resource"] in one.resources), None)
        return None


def _keep(run: _Run, name: str, document: Document) -> None:
    match name:
        case "descriptor":
            run.descriptors[document["uid"]] = document
        case "resource" | "stream_resource":
            run.resources[document["uid"]] = name, document
        case "datum" | "datum_page":
            run.datums.append((name, document))
        case "event" | "event_page":
            run.events.append((name, document))
        case "stream_datum":
            # One for each resource and descriptor, of all rows so far.
            which = document["stream_resource"], document["descriptor"]
            before = run.ranges.get(which)
            run.ranges[which] = document if before is None else _joined(before, document)


def _joined(before: Document, document: Document) -> Document:
    ranges = {name: {**document[name], "start": before[name]["start"]} for name in ("indices", "seq_nums")}
    return {**document, **ranges}


class Unseen:
    """Gives each document once, however often it comes, as long as its run is open; of ranges, what is new in them."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}
        self._run_of: dict[str, str] = {}
        self._told: dict[tuple[str, str], int] = {}

    def __call__(self, name: str, document: Document) -> Document | None:
        """The document, or what is new of it; None for one that has been given."""
        match name:
            case "stream_datum":
                return self._rest(document)
            case "stop":
                # Until its run begins again nobody sends anything of it.
                self._forget(document["run_start"])
                return document
            case "start":
                run, uid = document["uid"], document["uid"]
            case "descriptor":
                run, uid = document["run_start"], document["uid"]
            case "event" | "event_page":
                run, uid = self._run_of.get(document["descriptor"], ""), str(document["uid"])
            case "datum" | "datum_page":
                run, uid = self._run_of.get(document["resource"], ""), str(document["datum_id"])
            case _:
                run, uid = document.get("run_start") or next(reversed(self._seen), ""), document["uid"]
        seen = self._seen.setdefault(run, set())
        if uid in seen:
            return None
        seen.add(uid)
        if name in {"descriptor", "resource", "stream_resource"}:
            self._run_of[uid] = run
        return document

    def _rest(self, document: Document) -> Document | None:
        which = document["stream_resource"], document["descriptor"]
        start, stop = document["indices"]["start"], document["indices"]["stop"]
        told = self._told.get(which, start)
        if stop <= told:
            return None
        self._told[which] = stop
        if told <= start:
            return document
        past = told - start
        ranges = {name: {**document[name], "start": document[name]["start"] + past} for name in ("indices", "seq_nums")}
        return {**document, **ranges}

    def _forget(self, run: str) -> None:
        self._seen.pop(run, None)
        gone = {uid for uid, of in self._run_of.items() if of == run}
        self._run_of = {uid: of for uid, of in self._run_of.items() if of != run}
        self._told = {which: stop for which, stop in self._told.items() if not gone & set(which)}
