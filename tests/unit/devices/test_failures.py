"""What fails a plan, at once and in which words; and that the next run works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus

from bluesky_streamdet.core.errors import DeadlineExceeded, FramesLost, RequestRefused, ServiceUnreachable
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.devices import failures
from bluesky_streamdet.plans import fly
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedClient, ScriptedService, detector

pytestmark = pytest.mark.allow_error_log
FACES = pytest.mark.parametrize("face", ["classic", "async"])

TROUBLES: dict[str, tuple[Callable[[ScriptedService], object], type[Exception], str]] = {
    "a frame is missing": (
        lambda service: service.lose(1),
        FramesLost,
        r"lost frames that the plan asked for\. Ledger .* frames written, 1 missing \(lost in transit",
    ),
    "the series ends": (
        lambda service: service.end(Outcome.INCOMPLETE, "quiet"),
        FramesLost,
        r"it is incomplete, quiet\.",
    ),
    "the service dies": (lambda service: service.die(), ServiceUnreachable, "in the middle of series series1"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@FACES
def test_a_point_fails_at_once(RE: RunEngine, service: ScriptedService, face: str, trouble: str) -> None:
    happens, kind, words = TROUBLES[trouble]
    det, documents = detector(face, service, margin=1000.0), Documents()
    service.by_hand = True
    service.on_trigger = lambda: happens(service)
    with pytest.raises(FailedStatus) as caught:
        RE(bp.count([det], 3), documents)
    assert isinstance(caught.value.__cause__, kind)
    caught.match(words)
    caught.match("scripted")
    assert documents.stop["exit_status"] == "fail"
    _check_the_next_run_works(RE, service, det)


@pytest.mark.parametrize("trouble", TROUBLES)
@FACES
def test_a_flight_fails_at_once(RE: RunEngine, service: ScriptedService, face: str, trouble: str) -> None:
    happens, kind, words = TROUBLES[trouble]
    det, documents = detector(face, service, margin=1000.0, shape=SHAPE, dtype=DTYPE), Documents()
    service.by_hand = True
    service.on_trigger = lambda: (service.give(2), happens(service))
    with pytest.raises(FailedStatus) as caught:
        RE(fly([det], 5, flush_period=0.01), documents)
    assert isinstance(caught.value.__cause__, kind)
    caught.match(words)
    assert documents.stop["exit_status"] == "fail"
    _check_the_next_run_works(RE, service, det)


@FACES
def test_nothing_comes(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, exposure=0.01, margin=0.01), Documents()
    service.by_hand = True
    with pytest.raises(FailedStatus) as caught:
        RE(bp.count([det], 1), documents)
    assert isinstance(caught.value.__cause__, DeadlineExceeded)
    assert "within 0.02 s (exposure 0.01 s). Ledger of series series1: 0 of 1 frames written, 1 not received" in str(
        caught.value.__cause__
    )
    assert "streamdet watch" in str(caught.value.__cause__)
    _check_the_next_run_works(RE, service, det)


@FACES
def test_the_service_finds_fault_at_the_end(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service), Documents()

    def lose_one_more(name: str, document: Any) -> None:
        if name == "event":
            service.lose(1)

    with pytest.raises((FramesLost, FailedStatus), match=r"1 frames are missing") as caught:
        RE(bp.count([det], 1), [documents, lose_one_more])
    assert "series series1 is incomplete" in str(caught.value.__cause__ or caught.value)
    assert documents.stop["num_events"] == {"primary": 1}
    _check_the_next_run_works(RE, service, det)


@FACES
def test_the_service_was_restarted_between_runs(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det = detector(face, service)
    RE(bp.count([det], 1))
    service.die()
    _check_the_next_run_works(RE, service, det)


class Stuck(RequestRefused):
    """What a driver of somebody's own raises."""


@FACES
def test_a_detector_that_can_not_be_disarmed_leaves_the_service_ready(
    RE: RunEngine, service: ScriptedService, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    det = detector(face, service)

    def refuse() -> None:
        raise Stuck("The detector does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(service, "disarm", refuse)
        with pytest.raises((Stuck, FailedStatus), match="does not answer"):
            RE(bp.count([det], 1))
    _check_the_next_run_works(RE, service, det)


@FACES
def test_a_total_that_can_not_be_had_fails_nothing(
    RE: RunEngine, service: ScriptedService, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(client: object) -> None:
        raise RequestRefused("No frame has come yet.")

    monkeypatch.setattr(ScriptedClient, "frame", refuse)
    det, documents = detector(face, service), Documents()
    RE(bp.count([det], 1), documents)
    data = documents.of("event")[0]["data"]
    assert np.isnan(data["det_total" if face == "classic" else "det-total"])


def test_frames_that_could_not_be_written() -> None:
    ledger = LedgerReport(received=5, unique=5, written=3, failed={"write_failed": 2})
    full = SeriesReport(id="s", detector="det", file="/a.h5", ledger=ledger, reason="/a.h5 can't be written: No space.")
    assert str(failures.frames_lost(full, 9)) == (
        "Detector det: frames that the plan asked for could not be written. /a.h5 can't be written: No space. Ledger "
        "of series s: 3 of 9 frames written, 2 failed (write_failed), 4 not received; the file /a.h5. Mend that where "
        "the service runs, then run the plan again."
    )


def test_a_run_that_nobody_ended_does_not_hinder_the_next(service: ScriptedService) -> None:
    acquisition = detector("classic", service)._acquisition
    acquisition.open("det", 1)
    acquisition.start(1, 0.1, step=True)
    service.lose(1)
    acquisition.open("det", 1)
    assert service.last is not None
    assert service.last.outcome is Outcome.INCOMPLETE
    acquisition.close()


def _check_the_next_run_works(RE: RunEngine, service: ScriptedService, det: object) -> None:
    assert service.current is None, "the series is over"
    service.reachable, service.by_hand, service.on_trigger = True, False, lambda: None
    documents = Documents()
    RE(bp.count([det], 2), documents)  # type: ignore[arg-type]
    assert documents.stop["exit_status"] == "success"
    assert documents.ranges("det") == [(0, 1), (1, 2)]
