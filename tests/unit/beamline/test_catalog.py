"""What puts runs into a catalog beside the plan: what it joins, and what becomes of what goes wrong."""

from __future__ import annotations

from typing import Any

import bluesky.plans as bp
import httpx
import pytest
from bluesky import RunEngine
from ophyd.sim import SynSignal

from bluesky_streamdet.beamline.catalog import LateCatalog, LateWriter, joined
from bluesky_streamdet.core.errors import ServiceUnreachable, StreamdetError


def datum(resource: str, start: int, stop: int) -> tuple[str, dict[str, Any]]:
    indices, seq_nums = {"start": start, "stop": stop}, {"start": start + 1, "stop": stop + 1}
    return "stream_datum", {
        "uid": f"{resource}/{start}",
        "stream_resource": resource,
        "descriptor": "d",
        "indices": indices,
        "seq_nums": seq_nums,
    }


def test_announcements_that_have_come_meanwhile_are_one() -> None:
    event, stop = ("event", {"seq_num": 1}), ("stop", {})
    documents = [datum("a", 0, 2), datum("b", 0, 1), event, datum("a", 2, 5), datum("a", 7, 8), datum("b", 1, 5), stop]
    told = list(joined(documents))
    assert [name for name, _ in told] == ["event", *["stream_datum"] * 3, "stop"]
    ranges = [(one["stream_resource"], one["indices"], one["seq_nums"]["stop"]) for _, one in told[1:4]]
    assert ranges == [
        ("a", {"start": 0, "stop": 5}, 6),
        ("a", {"start": 7, "stop": 8}, 9),
        ("b", {"start": 0, "stop": 5}, 6),
    ]
    assert documents[0] == datum("a", 0, 2), "others have these documents, too"


@pytest.mark.allow_error_log
def test_a_catalog_that_takes_nothing_fails_the_run_and_not_the_next(RE: RunEngine) -> None:
    """The plan is told why, at the end at the latest; once, and no thread stays."""
    full: list[Exception] = [OSError("the disk is full")]
    seen: list[str] = []

    class Client:
        def include_data_sources(self) -> Any:
            if full:
                raise full.pop()
            seen.append("asked again")
            raise OSError("still full")

    diode: Any = SynSignal(name="diode")
    RE.subscribe(LateWriter(LateCatalog(Client)))
    with pytest.raises(
        StreamdetError, match=r"The catalog has not all of the run: OSError: the disk is full\. Does its server"
    ):
        RE(bp.count([diode], 3))
    with pytest.raises(StreamdetError, match="still full"):
        RE(bp.count([diode], 3))
    assert seen == ["asked again"]


def test_a_server_that_is_gone() -> None:
    def refused() -> Any:
        raise httpx.ConnectError("Connection refused")

    class Gone(list[str]):
        def __getitem__(self, key: Any) -> Any:
            return refused()

        def __len__(self) -> int:
            return int(refused())

    for db in (LateCatalog(refused), LateCatalog(Gone)):
        for ask in (lambda db=db: db[-1], lambda db=db: len(db)):
            with pytest.raises(ServiceUnreachable, match=r"The catalog does not answer: Connection refused\. Does its"):
                ask()
    with pytest.raises(IndexError):
        LateCatalog(list)[-1]
