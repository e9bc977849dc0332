"""Pause, resume, stop and abort with both faces: frames stay with their events, and the next run works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd_async.core import TriggerInfo

from bluesky_streamdet.core.errors import ConfigError, FramesLost
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.plans import fly
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])
KNOWN = {"shape": SHAPE, "dtype": DTYPE}


class Interrupter:
    """Has a RunEngine pause as soon as the detector has been triggered for the `nth` time."""

    def __init__(self, RE: RunEngine, service: ScriptedService, nth: int, frames: int) -> None:
        self.RE = RE
        self.triggers = 0
        self._service = service
        self._nth = nth
        self._frames = frames
        self._thread: threading.Thread | None = None
        service.by_hand = True
        service.on_trigger = self._on_trigger

    def run(self, plan: Any, *callbacks: Callable[..., None]) -> None:
        """Run the plan until it is paused."""
        with pytest.raises(RunEngineInterrupted):
            self.RE(plan, callbacks)
        assert self._thread is not None
        self._thread.join()
        assert self.RE.state == "paused"

    def _on_trigger(self) -> None:
        self.triggers += 1
        if self.triggers == self._nth:
            # In a thread, as the request waits for the RunEngine, and that for us.
            self._thread = threading.Thread(target=self.RE.request_pause)
            self._thread.start()
        else:
            self._service.give(self._frames)


def rows_of(documents: Documents, key: str = "det") -> list[int]:
    """Numbers of the frames that were announced, as somebody reads them who only counts rows, file after file."""
    uris = [one["uri"] for one in documents.of("stream_resource") if one["data_key"] == key]
    rows: list[int] = []
    for uri in uris:
        with h5py.File(uri.removeprefix("file://localhost"), locking=False) as file:
            data = file["/entry/data/data"]
            assert isinstance(data, h5py.Dataset)
            rows += data[..., 0, 0].ravel().tolist()
    return rows


@FACES
def test_a_point_that_was_interrupted_is_taken_anew(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service), Documents()
    Interrupter(RE, service, nth=3, frames=1).run(bp.count([det], 5), documents)
    service.give(1)  # The frame of the interrupted point, number 2.
    RE.resume()
    assert documents.ranges("det") == [(0, 1), (1, 2), (0, 1), (1, 2), (2, 3)]
    assert [one["seq_num"] for one in documents.of("event")] == [1, 2, 3, 4, 5]
    assert rows_of(documents) == [0, 1, 3, 4, 5]
    assert "stop None keep=2" in service.calls


@FACES
def test_a_frame_that_comes_after_the_new_point_began_harms_nothing(
    RE: RunEngine, service: ScriptedService, face: str
) -> None:
    det, documents = detector(face, service), Documents()
    Interrupter(RE, service, nth=2, frames=1).run(bp.count([det], 3), documents)
    RE.resume()
    assert rows_of(documents) == [0, 1, 2]
    assert documents.stop["num_events"] == {"primary": 3}


@FACES
def test_the_first_point_may_be_interrupted(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service), Documents()
    Interrupter(RE, service, nth=1, frames=1).run(bp.count([det], 2), documents)
    service.give(1)
    RE.resume()
    assert rows_of(documents) == [1, 2]
    assert "abort" in service.calls, "nothing of the first file is wanted"


@FACES
def test_several_frames_an_event_stay_together(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, frames_per_event=3), Documents()
    Interrupter(RE, service, nth=2, frames=3).run(bp.count([det], 3), documents)
    service.give(2)
    RE.resume()
    assert rows_of(documents) == [0, 1, 2, 5, 6, 7, 8, 9, 10]


@FACES
def test_a_pause_between_points_keeps_the_file(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service), Documents()

    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        yield from bps.one_shot([det])
        yield from bps.checkpoint()
        yield from bps.pause()
        yield from bps.one_shot([det])

    with pytest.raises(RunEngineInterrupted):
        RE(plan(), documents)
    RE.resume()
    assert documents.ranges("det") == [(0, 1), (1, 2)]
    assert service.calls.count("arm k=1") == 1


@FACES
def test_documents_that_a_pause_dropped_are_not_lost(RE: RunEngine, service: ScriptedService, face: str) -> None:
    """A pause between reading and saving drops what the device handed out, its first stream_resource too."""
    det, documents = detector(face, service), Documents()
    paused = []

    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        for _ in range(2):
            yield from bps.checkpoint()
            yield from bps.trigger(det, wait=True)
            yield from bps.create("primary")
            yield from bps.read(det)
            if not paused:
                paused.append(True)
                yield from bps.pause()
            yield from bps.save()

    with pytest.raises(RunEngineInterrupted):
        RE(plan(), documents)
    RE.resume()
    assert documents.stop["num_events"] == {"primary": 2}
    assert rows_of(documents) == [1, 2]


@FACES
def test_a_flight_goes_on_through_a_pause(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()
    paused = threading.Event()
    threads = []

    def pause_once(name: str, document: Any) -> None:
        if name == "stream_datum" and not paused.is_set():
            paused.set()
            threads.append(threading.Thread(target=RE.request_pause))
            threads[0].start()

    service.by_hand = True
    service.on_trigger = lambda: service.give(2)
    with pytest.raises(RunEngineInterrupted):
        RE(fly([det], 6, flush_period=0.01), [documents, pause_once])
    threads[0].join()
    service.give(1)
    others = threading.Thread(target=service.give, args=(3,))
    others.start()
    RE.resume()
    others.join()
    assert service.calls.count("driver trigger") == 1
    assert rows_of(documents) == [0, 1, 2, 3, 4, 5]
    assert documents.ranges("det")[0] == (0, 2)
    assert documents.ranges("det")[-1][1] == 6
    assert documents.stop["num_events"] == {"primary": 6}
    numbers = [(one["seq_nums"]["start"], one["seq_nums"]["stop"]) for one in documents.of("stream_datum")]
    assert numbers[-1][1] == 7, "events of a flight that goes on are counted once"


@FACES
def test_a_flight_that_is_kicked_off_again_is_taken_anew(RE: RunEngine, service: ScriptedService, face: str) -> None:
    """A plan without checkpoints in the flight repeats all of it, as its motors do."""
    det, documents = detector(face, service, **KNOWN), Documents()
    value = 4 if face == "classic" else TriggerInfo(number_of_events=4)

    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        yield from bps.prepare(det, value, wait=True)
        yield from bps.declare_stream(det, name="primary", collect=True)
        yield from bps.checkpoint()
        yield from bps.kickoff(det, wait=True)
        yield from bps.collect_while_completing([det], [det], flush_period=0.01, stream_name="primary")

    Interrupter(RE, service, nth=1, frames=4).run(plan(), documents)
    service.give(3)
    RE.resume()
    assert rows_of(documents) == [3, 4, 5, 6]
    assert documents.stop["num_events"] == {"primary": 4}


@FACES
def test_a_deadline_does_not_pass_in_a_pause(RE: RunEngine, service: ScriptedService, face: str) -> None:
    now = [0.0]
    det, documents = detector(face, service), Documents()
    object.__setattr__(det._acquisition.setup, "clock", lambda: now[0])
    Interrupter(RE, service, nth=1, frames=1).run(bp.count([det], 1), documents)
    now[0] = 1000.0
    service.push()
    RE.resume()
    assert documents.stop["exit_status"] == "success"


@pytest.mark.allow_error_log
@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
@FACES
def test_the_next_run_works_after(RE: RunEngine, service: ScriptedService, face: str, how: str) -> None:
    det, documents = detector(face, service), Documents()
    Interrupter(RE, service, nth=2, frames=1).run(bp.count([det], 3), documents)
    getattr(RE, how)()
    assert documents.stop["exit_status"] == {"abort": "abort", "stop": "success", "halt": "abort"}[how]
    assert documents.stop["num_events"] == {"primary": 1}
    if how != "halt":  # after which RunEngine does not wait for devices
        assert service.current is None, "the series is over"
        assert service.calls[-2:] == ["abort", "driver disarm"]
    service.on_trigger, service.by_hand = lambda: None, False
    again = Documents()
    RE(bp.count([det], 2), again)
    assert again.stop["exit_status"] == "success"
    assert len(rows_of(again)) == 2


@pytest.mark.allow_error_log
@FACES
def test_the_next_flight_works_after_an_abort(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()
    Interrupter(RE, service, nth=1, frames=4).run(fly([det], 4, flush_period=0.01), documents)
    service.give(2)
    RE.abort()
    assert documents.stop["exit_status"] == "abort"
    service.on_trigger, service.by_hand = lambda: None, False
    again = Documents()
    RE(fly([det], 3), again)
    assert again.ranges("det") == [(0, 3)]


@pytest.mark.allow_error_log
@FACES
def test_a_series_of_others_can_not_be_cut(RE: RunEngine, service: ScriptedService, face: str) -> None:
    service.arms = False
    det = detector(face, service)
    Interrupter(RE, service, nth=99, frames=1)
    with pytest.raises(Exception, match=r"somebody else has armed"):
        RE(_twice_without_reading(det))
    assert service.current is None


def _twice_without_reading(det: Any) -> Any:
    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        for _ in range(2):
            yield from bps.trigger(det, wait=True)

    yield from plan()


def test_a_closed_file_with_rows_of_no_event_ends_the_run(service: ScriptedService) -> None:
    det = detector("classic", service)
    acquisition = det._acquisition
    acquisition.open("det", 1)
    acquisition.start(1, 0.1, step=True)
    acquisition.documents()
    acquisition.start(1, 0.1, step=True)
    service.end(Outcome.COMPLETE)
    with pytest.raises(FramesLost, match="belong to no event"):
        acquisition.start(1, 0.1, step=True)
    acquisition.close()


def test_frames_are_only_taken_in_a_run(service: ScriptedService) -> None:
    acquisition = detector("classic", service)._acquisition
    assert acquisition.documents() == []
    acquisition.close()
    with pytest.raises(ConfigError, match="not staged"):
        acquisition.start(1, 0.1)
