"""Step scans with both faces: what is announced, what is in an event, what the service and the detector are told."""

from __future__ import annotations

import asyncio
from typing import Any

import bluesky.plans as bp
import h5py
import pytest
from bluesky import RunEngine
from bluesky.callbacks import LiveTable
from bluesky.utils import FailedStatus
from ophyd.sim import SynAxis

from bluesky_streamdet.core.errors import Busy, ConfigError, ServiceUnreachable
from bluesky_streamdet.devices.classic import StreamDetector
from bluesky_streamdet.plans import fly
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.scripted import Documents, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])


def separator(face: str) -> str:
    return "_" if face == "classic" else "-"


@FACES
def test_count(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service), Documents()
    RE(bp.count([det], 3), documents)
    assert documents.ranges("det") == [(0, 1), (1, 2), (2, 3)]
    assert documents.ranges(f"det{separator(face)}sequence_number") == [(0, 1), (1, 2), (2, 3)]
    assert documents.stop["num_events"] == {"primary": 3}
    assert service.calls == ["arm k=1", "driver arm 1 x 0.1 s", *["driver trigger"] * 3, "driver disarm", "stop 3"]


@FACES
def test_scan(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service), Documents()
    RE(bp.scan([det], SynAxis(name="motor"), 0, 1, 4), documents)
    written = f"det{separator(face)}frames_written"
    assert [one["data"][written] for one in documents.of("event")] == [1, 2, 3, 4]
    assert [one["data"]["motor"] for one in documents.of("event")] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@FACES
def test_events_hold_numbers_that_tables_show(
    RE: RunEngine, service: ScriptedService, face: str, capsys: pytest.CaptureFixture[str]
) -> None:
    det, documents = detector(face, service), Documents()
    service.numbers = 5
    fields = [f"det{separator(face)}{name}" for name in ("frames_written", "total")]
    table: Any = LiveTable(fields)
    RE(bp.count([det], 1), [documents, table])
    descriptor = documents.of("descriptor")[0]
    assert descriptor["hints"]["det"]["fields"] == fields
    assert documents.of("event")[0]["data"][fields[1]] == 5 * 24
    assert "120" in capsys.readouterr().out


@FACES
def test_totals_can_be_left_out(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, totals=False), Documents()
    RE(bp.count([det], 1), documents)
    assert documents.of("descriptor")[0]["hints"]["det"]["fields"] == [f"det{separator(face)}frames_written"]


@FACES
@pytest.mark.allow_error_log
@pytest.mark.parametrize("exposure", [-1.0, float("nan"), float("inf")])
def test_an_exposure_that_no_frame_can_have_is_refused_at_once(
    RE: RunEngine, service: ScriptedService, face: str, exposure: float
) -> None:
    det = detector(face, service, exposure=exposure)
    with pytest.raises((ConfigError, FailedStatus), match="can't expose for"):
        RE(bp.count([det], 1))


@FACES
def test_the_descriptor_says_how_it_was_set_up(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, url="http://daq1:8010", exposure=0.5), Documents()
    RE(bp.count([det], 1), documents)
    descriptor = documents.of("descriptor")[0]
    values = descriptor["configuration"]["det"]["data"]
    read = {key.removeprefix("det").lstrip("_-"): value for key, value in values.items()}
    assert read["exposure"] == 0.5
    assert read["service_url"] == "http://daq1:8010"
    assert read["detector"] == "scripted"
    assert descriptor["data_keys"]["det"]["shape"] == [4, 6]
    assert descriptor["data_keys"]["det"]["source"] == "http://daq1:8010/scripted"


@FACES
def test_several_frames_an_event(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, frames_per_event=3), Documents()
    RE(bp.count([det], 2), documents)
    assert documents.ranges("det") == [(0, 1), (1, 2)]
    assert documents.of("descriptor")[0]["data_keys"]["det"]["shape"] == [3, 4, 6]
    assert documents.of("descriptor")[0]["data_keys"][f"det{separator(face)}sequence_number"]["shape"] == [3]
    resource, column = documents.of("stream_resource")
    assert resource["parameters"]["chunk_shape"] == [1, 1, 4, 6]
    with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
        data, numbers = (file[one["parameters"]["dataset"]] for one in (resource, column))
        assert isinstance(data, h5py.Dataset) and isinstance(numbers, h5py.Dataset)
        assert data[:, :, 0, 0].tolist() == numbers[()].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.allow_error_log
@FACES
def test_no_connection_before_it_is_wanted(RE: RunEngine, service: ScriptedService, face: str) -> None:
    service.reachable = False
    det = detector(face, service)
    assert "nothing written yet" in repr(det)
    documents = Documents()
    with pytest.raises(Exception, match=r"No service answers|FailedStatus|errored") as caught:
        RE(bp.count([det], 1), documents)
    assert isinstance(_root(caught.value), ServiceUnreachable)
    service.reachable = True
    RE(bp.count([det], 1), documents)
    assert documents.stop["exit_status"] == "success"


@FACES
def test_its_text_tells_state_file_and_ledger(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det = detector(face, service)
    RE(bp.count([det], 2))
    for word in ("det", "http://127.0.0.1:8010", "idle", ".h5", "2 frames written", "lost: none", "complete"):
        assert word in repr(det)


@FACES
def test_a_changed_exposure_is_a_new_series_and_file(RE: RunEngine, service: ScriptedService, face: str) -> None:
    import bluesky.plan_stubs as bps
    import bluesky.preprocessors as bpp

    det, documents = detector(face, service), Documents()

    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        for exposure in (0.1, 0.2, 0.2):
            yield from bps.mv(det.exposure, exposure)
            yield from bps.trigger_and_read([det])

    RE(plan(), documents)
    assert documents.ranges("det") == [(0, 1), (0, 1), (1, 2)]
    assert [call for call in service.calls if call.startswith("stop")] == ["stop 1", "stop 2"]


@FACES
def test_a_detector_that_others_arm_stays_in_its_series(RE: RunEngine, service: ScriptedService, face: str) -> None:
    service.arms = False
    det, documents = detector(face, service), Documents()
    RE(bp.count([det], 3), documents)
    assert documents.ranges("det") == [(0, 1), (1, 2), (2, 3)]
    assert "driver arm 1 x 0.1 s" not in service.calls


@pytest.mark.allow_error_log
@FACES
def test_a_busy_service_can_be_cleared_by_hand(RE: RunEngine, service: ScriptedService, face: str) -> None:
    service.connect().arm(ArmRequest(name="somebody"))
    det = detector(face, service)
    with pytest.raises(Exception, match=r".") as caught:
        RE(bp.count([det], 1))
    assert isinstance(_root(caught.value), Busy)
    if face == "classic":
        det.abort()
    else:
        asyncio.run_coroutine_threadsafe(det.abort(), RE.loop).result(5)
    RE(bp.count([det], 1))
    assert service.last is not None
    assert service.last.ledger.written == 1


def test_resource_documents(RE: RunEngine, service: ScriptedService) -> None:
    det, documents = detector("classic", service, asset_docs="resource", frames_per_event=2), Documents()
    RE(bp.count([det], 3), documents)
    assert documents.stop["num_events"] == {"primary": 3}
    (resource,) = documents.of("resource")
    assert resource["spec"] == "AD_HDF5"
    assert resource["resource_kwargs"] == {"frame_per_point": 2}
    assert [one["datum_kwargs"]["point_number"] for one in documents.of("datum")] == [0, 1, 2]
    assert [one["data"]["det"] for one in documents.of("event")] == [one["datum_id"] for one in documents.of("datum")]
    assert documents.of("descriptor")[0]["data_keys"]["det"]["shape"] == [2, 4, 6]
    assert service.calls[0] == "arm k=1", "areaDetector's handlers read a flat dataset"


@pytest.mark.allow_error_log
def test_resource_documents_can_not_tell_of_flights(RE: RunEngine, service: ScriptedService) -> None:
    det = detector("classic", service, asset_docs="resource", shape=(4, 6), dtype="<u2")
    with pytest.raises(ConfigError, match="det can't fly"):
        RE(fly([det], 3))
    RE(bp.count([det], 1))


@pytest.mark.parametrize("keywords", [{"asset_docs": "mongo"}, {"columns": ("colour",)}])
def test_keywords_are_checked(keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"may be|there are"):
        StreamDetector(name="det", **keywords)


def test_reading_what_was_never_triggered(service: ScriptedService) -> None:
    det = detector("classic", service, asset_docs="resource", shape=(4, 6), dtype="<u2")
    det.stage()
    try:
        with pytest.raises(ConfigError, match="Trigger it first"):
            det.read()
    finally:
        det.unstage()


def test_triggering_what_is_not_staged(service: ScriptedService) -> None:
    with pytest.raises(ConfigError, match="not staged"):
        detector("classic", service).trigger()


@pytest.mark.allow_error_log
@FACES
def test_a_failed_trigger_says_why_in_the_stop_document(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, margin=0.0, exposure=0.0), Documents()
    service.by_hand = True
    with pytest.raises(FailedStatus, match="did not reach the file"):
        RE(bp.count([det], 1), documents)
    assert "frame 0 (counted from 0)" in documents.stop["reason"]
    assert "Ledger of series series1: 0 of 1 frames written, 1 not received" in documents.stop["reason"]


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
