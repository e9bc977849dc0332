"""What a late joiner gets of open runs, and that nobody gets a document twice."""

from __future__ import annotations

from typing import Any

import pytest

from bluesky_streamdet.streaming import openruns
from bluesky_streamdet.streaming.openruns import OpenRuns, Unseen

Named = tuple[str, dict[str, Any]]


def run(name: str, events: int = 0, ranges: int = 0) -> list[Named]:
    documents: list[Named] = [
        ("start", {"uid": name, "time": 0.0}),
        ("descriptor", {"uid": f"{name} d", "run_start": name}),
        ("stream_resource", {"uid": f"{name} s"}),
        ("resource", {"uid": f"{name} r", "run_start": name}),
    ]
    documents += [("stream_datum", datum(name, at, at + 1)) for at in range(ranges)]
    for at in range(events):
        documents.append(("datum", {"resource": f"{name} r", "datum_id": f"{name} r/{at}"}))
        documents.append(("event", {"uid": f"{name} e{at}", "descriptor": f"{name} d", "seq_num": at + 1}))
    return documents


def datum(name: str, start: int, stop: int) -> dict[str, Any]:
    which = {"stream_resource": f"{name} s", "descriptor": f"{name} d"}
    indices, seq_nums = {"start": start, "stop": stop}, {"start": start + 1, "stop": stop + 1}
    return {"uid": f"{start}", **which, "indices": indices, "seq_nums": seq_nums}


def known(documents: list[Named]) -> OpenRuns:
    runs = OpenRuns()
    for name, document in documents:
        runs(name, document)
    return runs


def test_an_open_run_in_an_order_in_which_it_can_be_read() -> None:
    documents = known(run("one", events=2, ranges=3)).documents()
    assert [name for name, _ in documents] == [
        *("start", "descriptor", "stream_resource", "resource", "stream_datum"),
        *("datum", "datum", "event", "event"),
    ]
    (joined,) = (document for name, document in documents if name == "stream_datum")
    assert joined["indices"] == {"start": 0, "stop": 3}
    assert joined["seq_nums"] == {"start": 1, "stop": 4}


def test_runs_that_are_over_are_forgotten() -> None:
    runs = known([*run("one", 1), *run("two", 1), ("stop", {"uid": "x", "run_start": "one"})])
    assert {document["uid"] for name, document in runs.documents() if name == "start"} == {"two"}
    runs("stop", {"uid": "y", "run_start": "two"})
    assert runs.documents() == []


def test_documents_of_runs_that_nobody_knows() -> None:
    assert known(run("one", 1, 1)[1:]).documents() == []


def test_of_many_events_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openruns, "MOST_EVENTS", 2)
    events = [document["seq_num"] for name, document in known(run("one", 5)).documents() if name == "event"]
    assert events == [4, 5]


def test_each_document_once() -> None:
    unseen, documents = Unseen(), run("one", 2, 1)
    assert [unseen(*one) for one in documents] == [document for _, document in documents]
    assert [unseen(*one) for one in documents] == [None] * len(documents)
    unseen("stop", {"run_start": "one"})
    assert unseen(*documents[0]) is not None


def test_of_ranges_what_is_new() -> None:
    unseen = Unseen()
    for one in run("one"):
        unseen(*one)
    assert unseen("stream_datum", datum("one", 0, 3)) == datum("one", 0, 3)
    rest = unseen("stream_datum", datum("one", 0, 5))
    assert rest is not None
    assert rest["indices"] == {"start": 3, "stop": 5}
    assert rest["seq_nums"] == {"start": 4, "stop": 6}
    assert unseen("stream_datum", datum("one", 0, 5)) is None
