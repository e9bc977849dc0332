"""Simulated detectors on real sockets: what is asked of them comes, in both wire formats, and every fault is
accounted for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import pytest

from bluesky_streamdet.catalog import CODECS, DETECTORS
from bluesky_streamdet.core.errors import (
    AddressTaken,
    Busy,
    ConfigError,
    DeadlineExceeded,
    MalformedMessage,
    RequestRefused,
    ServiceUnreachable,
)
from bluesky_streamdet.core.events import LZ4, RAW, Event, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.sim.client import SimulatedDetectorClient
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.sim.detector import SimulatedDetector
from bluesky_streamdet.sim.faults import Chosen, Faults
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import Simulator, SimulatorSettings, simulator
from bluesky_streamdet.streaming.listener import Listener
from bluesky_streamdet.streaming.requests import Requester
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.transforms.pixels import decode

pytestmark = pytest.mark.wire

ANY = "tcp://127.0.0.1:0"
TIMEOUT = 10.0
SOON = 0.05
SMALL = SimulatorSettings("stins", ANY, shape=(16, 16), dtype="uint16", encoding=RAW)
FAST = Arm(frames=5, exposure=0.0)


class Receiver:
    """What a detector's stream says."""

    def __init__(self, listener: Listener, codec: str) -> None:
        self._listener = listener
        self._decoder = CODECS[codec].decoder()
        self._waiting: list[Sequence[Any]] = []

    def event(self) -> Event:
        """The next one."""
        if not self._waiting:
            self._waiting = list(self._listener.receive(TIMEOUT))
            assert self._waiting, "nothing came"
        (event,) = self._decoder.decode(self._waiting.pop(0), 0)
        return event

    def until_end(self) -> list[Event]:
        """All events up to the end of a series."""
        events = [self.event()]
        while not isinstance(events[-1], SeriesEnd):
            events.append(self.event())
        return events

    def nothing(self) -> bool:
        return not self._waiting and not self._listener.receive(SOON)


@contextmanager
def receiver_of(address: str, codec: str = "stins", socket: Any = "pull") -> Iterator[Receiver]:
    with Listener(address, socket) as listener:
        yield Receiver(listener, codec)


@contextmanager
def running(settings: SimulatorSettings = SMALL) -> Iterator[tuple[SimulatedDetector, Receiver]]:
    row = DETECTORS[settings.detector]
    with simulator(settings) as simulated, receiver_of(simulated.address, row.codec, row.socket) as receiver:
        yield simulated.detector, receiver


@pytest.fixture
def controlled() -> Iterator[tuple[Simulator, SimulatedDetectorClient, Receiver]]:
    settings = msgspec.structs.replace(SMALL, control=ANY)
    with simulator(settings) as simulated, receiver_of(simulated.address) as receiver:
        assert simulated.control is not None
        with SimulatedDetectorClient(simulated.control.address) as client:
            yield simulated, client, receiver


def numbers(events: list[Event]) -> list[int]:
    return [event.number for event in events if isinstance(event, Frame)]


def shapes(events: list[Event]) -> str:
    """A series in short: "H" for its header, numbers of frames, "E" for its end."""
    names = {SeriesStart: "H", SeriesEnd: "E"}
    return " ".join(names.get(type(event)) or str(event.number) for event in events)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [name for name, row in DETECTORS.items() if row.modules == 1])
def test_each_detector_of_the_catalog_streams_its_pictures(name: str) -> None:
    with running(msgspec.structs.replace(SMALL, detector=name)) as (detector, receiver):
        assert detector.arm(Arm(frames=6, exposure=0.0, filename="scan")) == "1"
        detector.trigger()
        if CODECS[DETECTORS[name].codec].announced:
            start, *frames, end = receiver.until_end()
            assert isinstance(start, SeriesStart)
            assert isinstance(end, SeriesEnd)
            assert (start.filename, start.frames) == ("scan", 6)
            assert start.metadata["photon_energy"] == 17500.0
        else:
            frames = [receiver.event() for _ in range(6)]
        for number, frame in enumerate(frames):
            assert isinstance(frame, Frame)
            assert frame.number == number
            np.testing.assert_array_equal(decode(frame), detector.pictures.frame(number))


@pytest.mark.parametrize("name", ["eiger", "eiger-stream2"])
def test_an_eiger_sends_its_tables_and_series_number(name: str) -> None:
    with running(msgspec.structs.replace(SMALL, detector=name)) as (detector, receiver):
        for series in ("1", "2"):
            detector.arm(FAST)
            detector.trigger()
            start, *frames, _ = receiver.until_end()
            assert isinstance(start, SeriesStart)
            assert start.series == series
            np.testing.assert_array_equal(start.metadata["pixel_mask"], detector.pictures.panel.mask)
            assert {frame.series for frame in frames if isinstance(frame, Frame)} == {series}
            assert isinstance(frames[1], Frame)
            assert frames[1].detail == {"start_time": 0, "stop_time": 0, "real_time": 0}


@pytest.mark.parametrize("encoding", [RAW, LZ4])
def test_an_eiger_of_three_thresholds(encoding: str) -> None:
    settings = msgspec.structs.replace(SMALL, detector="eiger-stream2", encoding=encoding, channels=3)
    with running(settings) as (detector, receiver):
        detector.arm(FAST)
        detector.trigger()
        start, *frames, _ = receiver.until_end()
        assert isinstance(start, SeriesStart)
        assert start.metadata["channels"] == ["threshold_1", "threshold_2", "threshold_3"]
        assert start.metadata["threshold_energy"] == [4375.0, 8750.0, 13125.0]
        assert start.metadata["pixel_mask"].shape == (3, 16, 16)
        for number, frame in enumerate(frames):
            assert isinstance(frame, Frame)
            assert (frame.format.shape, frame.format.chunk) == ((3, 16, 16), (1, 16, 16))
            pictures = decode(frame)
            np.testing.assert_array_equal(pictures, detector.pictures.frame(number))
            assert detector.pictures.number_of(pictures) == number
            assert not np.array_equal(pictures[0], pictures[1])
        assert detector.status().total_bytes >= 5 * 3 * 100


def test_the_header_comes_when_armed_and_frames_with_each_trigger() -> None:
    with running() as (detector, receiver):
        detector.arm(Arm(frames=2, triggers=3, exposure=0.0))
        assert isinstance(receiver.event(), SeriesStart)
        assert receiver.nothing()
        for trigger in range(3):
            detector.trigger()
            assert numbers([receiver.event(), receiver.event()]) == [2 * trigger, 2 * trigger + 1]
        assert isinstance(receiver.event(), SeriesEnd)
        with pytest.raises(RequestRefused, match="expects no trigger"):
            detector.trigger()


def test_triggers_that_come_early_wait_their_turn() -> None:
    with running() as (detector, receiver):
        detector.arm(Arm(frames=2, triggers=3, exposure=0.0))
        for _ in range(3):
            detector.trigger()
        with pytest.raises(RequestRefused, match="all 3"):
            detector.trigger()
        assert shapes(receiver.until_end()) == "H 0 1 2 3 4 5 E"


def test_who_has_the_last_frame_may_arm_again_at_once() -> None:
    with running() as (detector, receiver):
        for _ in range(50):
            detector.arm(Arm(exposure=0.0))
            detector.trigger()
            while not isinstance(receiver.event(), Frame):
                pass


def test_a_cable_triggers_at_its_own_pace() -> None:
    with running() as (detector, receiver):
        detector.arm(Arm(frames=1, triggers=4, exposure=0.0, external=True, pulse_period=0.001))
        events = receiver.until_end()
        assert shapes(events) == "H 0 1 2 3 E"
        assert isinstance(events[0], SeriesStart)
        assert events[0].metadata["trigger_mode"] == "exts"


class FakeTime:
    """A clock that goes on while somebody waits by it, and only then."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    def pause(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return event.is_set()


@pytest.mark.parametrize(("period", "waits"), [(None, [2.0, 2.0, 2.0]), (3.0, [2.0, 3.0, 3.0]), (0.0, [])])
def test_exposure_and_period_are_honoured(period: float | None, waits: list[float]) -> None:
    time = FakeTime()
    pictures = Pictures((16, 16), "uint16", RAW, variants=1)
    with (
        Sender(ANY) as sender,
        SimulatedDetector(sender, pictures, "dectris_v1", clock=time.clock, pause=time.pause) as detector,
        receiver_of(sender.address, "dectris_v1") as receiver,
    ):
        detector.arm(Arm(frames=3, exposure=2.0, period=period))
        detector.trigger()
        events = receiver.until_end()
    assert time.waits == waits
    starts = [round(event.detail["start_time"] / 1e9) for event in events if isinstance(event, Frame) and event.detail]
    step = 2.0 if period is None else period
    assert starts == [0, step, 2 * step]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (Faults(drop=Chosen(numbers=frozenset({1, 3}))), "H 0 2 4 E"),
        (Faults(duplicate=Chosen(numbers=frozenset({1}))), "H 0 1 1 2 3 4 E"),
        (Faults(reorder=Chosen(numbers=frozenset({1}))), "H 0 2 1 3 4 E"),
        (Faults(delay=Chosen(numbers=frozenset({1})), delay_seconds=99.0), "H 0 2 3 4 1 E"),
        (Faults(lose_header=True), "0 1 2 3 4 E"),
        (Faults(early_end=True), "H 0 1 2 3 E 4"),
    ],
)
def test_faults_happen_and_are_told(faults: Faults, expected: str) -> None:
    with running(msgspec.structs.replace(SMALL, faults=faults)) as (detector, receiver):
        detector.arm(FAST)
        detector.trigger()
        events = receiver.until_end()
        events += [receiver.event()] if faults.early_end else []
        assert shapes(events) == expected
        detector.wait_until_idle(TIMEOUT)
        (tally,) = detector.tallies
        assert tally.frames == 5
        assert 5 - len(tally.dropped) + len(tally.duplicated) == len(numbers(events))
        assert tally.header_lost == faults.lose_header


def test_a_lost_end_is_not_sent_and_the_next_series_comes() -> None:
    with running(msgspec.structs.replace(SMALL, faults=Faults(lose_end=True))) as (detector, receiver):
        for _ in range(2):
            detector.arm(FAST)
            detector.trigger()
            assert shapes([receiver.event() for _ in range(6)]) == "H 0 1 2 3 4"
            detector.wait_until_idle(TIMEOUT)
        assert [tally.end_lost for tally in detector.tallies] == [True, True]


def test_a_delayed_frame_comes_though_the_next_trigger_waits_for_it() -> None:
    faults = Faults(delay=Chosen(numbers=frozenset({0})), delay_seconds=0.01)
    with running(msgspec.structs.replace(SMALL, faults=faults)) as (detector, receiver):
        detector.arm(Arm(triggers=2, exposure=0.0))
        detector.trigger()
        assert shapes([receiver.event(), receiver.event()]) == "H 0"
        detector.trigger()
        assert shapes(receiver.until_end()) == "1 E"


def test_a_sender_that_restarts_counts_anew() -> None:
    with running(msgspec.structs.replace(SMALL, faults=Faults(restart_at=3))) as (detector, receiver):
        detector.arm(FAST)
        detector.trigger()
        frames = [event for event in receiver.until_end() if isinstance(event, Frame)]
        assert [frame.position for frame in frames] == [1, 2, 3, 0, 1]
        detector.wait_until_idle(TIMEOUT)
        assert detector.tallies[0].restarted


def test_restart_counts_series_anew() -> None:
    with running() as (detector, receiver):
        for series in ("1", "1"):
            assert detector.arm(FAST) == series
            with pytest.raises(Busy):
                detector.restart()
            detector.disarm()
            start = receiver.until_end()[0]
            assert isinstance(start, SeriesStart)
            assert start.position == 0
            detector.restart()


def test_disarm_ends_a_series_with_its_end_message() -> None:
    with running() as (detector, receiver):
        detector.disarm()
        detector.arm(Arm(frames=1_000_000, exposure=0.001))
        detector.trigger()
        while not isinstance(event := receiver.event(), Frame):
            assert isinstance(event, SeriesStart)
        detector.disarm()
        assert isinstance(receiver.until_end()[-1], SeriesEnd)
        assert detector.status().state == "idle"
        detector.arm(FAST)
        detector.trigger()
        assert shapes(receiver.until_end()) == "H 0 1 2 3 4 E"


def test_a_second_arm_is_refused() -> None:
    with running() as (detector, _):
        detector.arm(FAST)
        with pytest.raises(Busy, match="series 1"):
            detector.arm(FAST)


def test_without_a_receiver_it_waits_says_so_and_can_be_stopped() -> None:
    with simulator(SMALL) as simulated:
        detector = simulated.detector
        detector.arm(FAST)
        detector.trigger()
        with pytest.raises(DeadlineExceeded, match="nobody takes its messages"):
            detector.wait_until_idle(2 * SOON)
        assert detector.status().waiting
        detector.disarm()
        assert detector.tallies[0].in_words() == ["header lost", "end lost"]
        with receiver_of(simulated.address) as receiver:
            detector.arm(FAST)
            detector.trigger()
            assert shapes(receiver.until_end()) == "H 0 1 2 3 4 E"


def test_a_receiver_that_stops_reading_holds_the_detector_up_and_loses_nothing() -> None:
    settings = msgspec.structs.replace(SMALL, shape=(512, 512))
    with running(settings) as (detector, receiver):
        detector.arm(Arm(frames=200, exposure=0.0))
        detector.trigger()
        assert isinstance(receiver.event(), SeriesStart)
        while not detector.status().waiting:
            assert detector.status().frames < 200
        assert numbers(receiver.until_end()) == list(range(200))


def test_a_closed_detector_leaves_no_thread_in_the_middle_of_a_series() -> None:
    with running(msgspec.structs.replace(SMALL, shape=(512, 512))) as (detector, _):
        detector.arm(Arm(frames=1_000_000, exposure=0.0))
        detector.trigger()


def test_the_control_port(controlled: tuple[Simulator, SimulatedDetectorClient, Receiver]) -> None:
    _, client, receiver = controlled
    assert client.status().state == "idle"
    assert client.arm(frames=2, triggers=2, exposure=0.0, filename="scan") == "1"
    with pytest.raises(Busy, match="Disarm it first"):
        client.arm()
    client.trigger()
    assert shapes([receiver.event() for _ in range(3)]) == "H 0 1"
    status = client.status()
    assert (status.series, status.triggers, status.frames) == ("1", 1, 2)
    client.disarm()
    assert shapes(receiver.until_end()) == "E"
    with pytest.raises(RequestRefused, match="no series is armed"):
        client.trigger()
    client.restart()
    assert client.arm() == "1"


def test_quit_is_noted(controlled: tuple[Simulator, SimulatedDetectorClient, Receiver]) -> None:
    simulated, client, _ = controlled
    assert simulated.control is not None
    client.quit()
    assert simulated.control.quit.wait(TIMEOUT)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"command": "explode"},
        {"command": "arm", "frames": 0},
        {"command": "arm", "frames": "many"},
        {"command": "arm", "exposure": -1},
        {"command": "arm", "frams": 3},
        {"command": "trigger", "now": True},
    ],
)
def test_what_is_no_command_is_refused(
    controlled: tuple[Simulator, SimulatedDetectorClient, Receiver], request_: dict[str, Any]
) -> None:
    _, client, _ = controlled
    with Requester(client.endpoint, "simulated detector") as requester, pytest.raises(MalformedMessage):
        requester.ask(request_)
    assert client.status().state == "idle"


def test_a_client_says_when_nobody_is_there() -> None:
    with simulator(msgspec.structs.replace(SMALL, control=ANY)) as simulated:
        assert simulated.control is not None
        address = simulated.control.address
    nobody = pytest.raises(ServiceUnreachable, match="No simulated detector answers")
    with SimulatedDetectorClient(address, timeout=SOON) as client, nobody:
        client.status()


def test_channels_need_a_format_that_knows_them() -> None:
    with (
        pytest.raises(ConfigError, match="stins can't send 2 channels"),
        simulator(msgspec.structs.replace(SMALL, channels=2)),
    ):
        pass


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="no detector 'eigr'"), simulator(SimulatorSettings("eigr")):
        pass
    with simulator(SMALL) as first:
        taken = msgspec.structs.replace(SMALL, endpoint=first.address)
        with pytest.raises(AddressTaken), simulator(taken):
            pass
        taken = msgspec.structs.replace(SMALL, control=first.address)
        with pytest.raises(AddressTaken), simulator(taken):
            pass


def test_a_simulator_as_a_process() -> None:
    with SimulatorProcess(SMALL) as process, receiver_of(process.address) as receiver, process.client() as client:
        client.arm(frames=5, exposure=0.0)
        client.trigger()
        pictures = Pictures(SMALL.shape, SMALL.dtype, SMALL.encoding, SMALL.seed)
        frames = [event for event in receiver.until_end() if isinstance(event, Frame)]
        assert len(frames) == 5
        for frame in frames:
            np.testing.assert_array_equal(decode(frame), pictures.frame(frame.number))
        client.quit()


def test_a_process_that_cannot_start_raises_here() -> None:
    with simulator(SMALL) as first, pytest.raises(AddressTaken, match=first.address):
        SimulatorProcess(msgspec.structs.replace(SMALL, endpoint=first.address))
    with pytest.raises(DeadlineExceeded, match="not ready"):
        SimulatorProcess(SMALL, timeout=0.0)


def test_what_is_published_waits_for_a_subscriber() -> None:
    with simulator(msgspec.structs.replace(SMALL, detector="jungfraujoch-preview")) as simulated:
        detector = simulated.detector
        detector.arm(FAST)
        detector.trigger()
        assert not detector.idle_within(0.2)
        assert detector.status().waiting
        with receiver_of(simulated.address, "dectris_v2", "sub") as receiver:
            assert numbers(receiver.until_end()) == list(range(FAST.total))
