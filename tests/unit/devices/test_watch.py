"""What a watch knows of its series, and when it asks."""

from __future__ import annotations

import threading

import pytest

from bluesky_streamdet.core.errors import DeadlineExceeded, ServiceUnreachable
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.devices.waiting import FrameWait
from bluesky_streamdet.devices.watch import PendingFrames, SeriesWatch
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.scripted import ScriptedService


@pytest.fixture
def watch(service: ScriptedService) -> SeriesWatch:
    client = service.connect()
    return SeriesWatch(client, client.arm(ArmRequest(name="x")))


def pending(watch: SeriesWatch, frames: int, patience: float = 5.0) -> PendingFrames:
    return PendingFrames(watch, FrameWait(watch.report, 0, frames, 0.1, patience, 0.0), clock=lambda: 0.0)


def test_it_follows_what_is_pushed(service: ScriptedService, watch: SeriesWatch) -> None:
    service.give(2)
    assert not watch.in_doubt
    assert watch.current().ledger.written == 2


def test_a_closed_series_is_found_as_the_last(service: ScriptedService, watch: SeriesWatch) -> None:
    service.end(Outcome.INCOMPLETE, "quiet")
    assert watch.current().outcome is Outcome.INCOMPLETE
    service.connect().arm(ArmRequest(name="next"))
    assert watch.current().reason == "quiet"


def test_a_lost_connection_to_a_service_that_answers_is_no_failure(
    service: ScriptedService, watch: SeriesWatch
) -> None:
    service.give(1)
    service._tell(None)
    assert watch.in_doubt
    assert watch.current().ledger.written == 1
    assert not watch.in_doubt


def test_a_service_that_is_gone_is_named_with_the_file(service: ScriptedService, watch: SeriesWatch) -> None:
    service.give(1)
    service.die()
    with pytest.raises(ServiceUnreachable) as caught:
        watch.current()
    for word in ("scripted", "series1", "gone", "x.h5"):
        assert word in str(caught.value)


def test_a_service_that_was_restarted_knows_nothing(service: ScriptedService, watch: SeriesWatch) -> None:
    service.give(1)
    service.die()
    service.reachable = True
    service.push()
    with pytest.raises(ServiceUnreachable, match="was restarted"):
        watch.current()


def test_an_old_status_does_not_turn_back_the_count(service: ScriptedService, watch: SeriesWatch) -> None:
    service.give(1)
    old = service.status()
    service.give(1)
    service._tell(old)
    assert watch.current().ledger.written == 2


def test_it_hears_nothing_once_closed(service: ScriptedService, watch: SeriesWatch) -> None:
    watch.close()
    service.give(1)
    assert watch.report.ledger.written == 0


def test_a_thread_waits_for_the_frames(service: ScriptedService, watch: SeriesWatch) -> None:
    wanted = pending(watch, 3)
    seen: list[int] = []
    told = threading.Event()

    def progress(written: int) -> None:
        seen.append(written)
        told.set()

    thread = threading.Thread(target=wanted.until_done, args=(progress,))
    thread.start()
    assert told.wait(5)
    service.give(3)
    thread.join(5)
    assert not thread.is_alive()
    assert seen[0] == 0
    assert (wanted.written, wanted.total) == (3, 3)


def test_what_no_push_told_is_asked_for_at_the_deadline(service: ScriptedService, watch: SeriesWatch) -> None:
    service._callbacks.clear()
    service.give(1)
    assert pending(watch, 1, patience=0.0).look()


def test_only_then_the_deadline_has_passed(service: ScriptedService, watch: SeriesWatch) -> None:
    with pytest.raises(DeadlineExceeded):
        pending(watch, 1, patience=0.0).look()


def test_a_dead_service_fails_the_wait_for_good(service: ScriptedService, watch: SeriesWatch) -> None:
    wanted = pending(watch, 1)
    service.die()
    for _ in range(2):
        with pytest.raises(ServiceUnreachable):
            wanted.look()
