from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ServiceUnreachable
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.client import ServiceClient, _plain, explain
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport, Statistics, Status
from tests.unit.service.fakes import running

NOBODY = "http://127.0.0.1:1"
"""Port 1 is for a service that no machine has had for decades."""


def test_needs_nothing_until_it_is_used() -> None:
    client = ServiceClient(NOBODY)
    client.close()
    client.close()

    assert repr(client) == f"ServiceClient('{NOBODY}')"


def test_says_how_to_start_a_service_when_there_is_none() -> None:
    with ServiceClient(NOBODY) as client, pytest.raises(ServiceUnreachable, match="streamdet serve") as caught:
        client.status()

    assert NOBODY in caught.value.message


def test_waiting_for_a_service_that_is_not_there() -> None:
    with ServiceClient(NOBODY) as client, pytest.raises(ServiceUnreachable):
        client.wait(lambda status: True, 1, "anything")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status(detector="eiger"), "Detector eiger is idle."),
        (
            Status(
                detector="eiger", last_series=running().model_copy(update={"outcome": Outcome.ABORTED, "reason": "so"})
            ),
            "Detector eiger is idle; the last series, one, ended aborted: so.",
        ),
        (
            Status(detector="eiger", state=State.RUNNING, series=running(), seconds_without_data=9.9, slow="the disk"),
            "Detector eiger is running with series one; 40 of 100 frames are readable in /data/one.h5; "
            "no data for 9.9 s; it waits for the disk.",
        ),
        (
            Status(
                detector="eiger",
                state=State.RUNNING,
                series=running().model_copy(update={"file": None, "ledger": LedgerReport(received=5)}),
            ),
            "Detector eiger is running with series one; 5 frames have come.",
        ),
        (
            Status(
                detector="eiger",
                state=State.RUNNING,
                series=running().model_copy(update={"statistics": Statistics(received_per_second=98.72)}),
            ),
            "Detector eiger is running with series one; 40 of 100 frames are readable in /data/one.h5; "
            "98.7 a second have come so far.",
        ),
    ],
)
def test_explains_how_things_stand(status: Status, said: str) -> None:
    assert explain(status) == said


def test_metadata_of_other_kinds_become_json() -> None:
    assert _plain(np.float32(0.5)) == 0.5
    assert _plain(np.arange(3)) == [0, 1, 2]
    assert _plain({1}) == "{1}"


def test_a_newer_service_may_say_more() -> None:
    said = Status(detector="camera").model_dump(mode="json") | {"humidity": 5}
    said["last_series"] = SeriesReport(id="one", detector="camera").model_dump(mode="json") | {"colour": "red"}

    assert Status.model_validate(said).last_series == SeriesReport(id="one", detector="camera")
