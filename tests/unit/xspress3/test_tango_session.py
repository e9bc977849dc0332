"""What the Tango device does, without Tango: it follows a service, and has it arm, trigger and stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bluesky_streamdet.core.errors import (
    AddressTaken,
    Busy,
    ConfigError,
    FileTaken,
    HardwareFailed,
    RequestRefused,
    ServiceUnreachable,
)
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.xspress3.tango_session import Session
from bluesky_streamdet.xspress3.tango_settings import Settings
from bluesky_streamdet.xspress3.tango_state import Condition, View, condition
from tests.unit.xspress3.standin import StandIn

TIMEOUT = 10.0


class Listener:
    """Hears the views of a session."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self._changed = threading.Condition()

    def __call__(self, view: View) -> None:
        with self._changed:
            self.views.append(view)
            self._changed.notify_all()

    def until(self, predicate: Callable[[View], bool]) -> View:
        """The first view from now on of which `predicate` is true."""
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.views) and predicate(self.views[-1]), TIMEOUT), self.views
            return self.views[-1]

    def until_state(self, state: Condition) -> str:
        """The text when the device is in that state."""
        return condition(self.until(lambda view: condition(view)[0] is state))[1]


@pytest.fixture
def service() -> StandIn:
    return StandIn()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def session(service: StandIn, listener: Listener) -> Iterator[Session]:
    session = Session(lambda: service, listener)
    assert session.open(TIMEOUT)
    yield session
    session.close()
    assert service.closed


def state_of(session: Session) -> Condition:
    return condition(session.view(0))[0]


def test_a_series_from_arm_to_the_last_frame_on_disk(session: Session, service: StandIn, listener: Listener) -> None:
    assert listener.until_state(Condition.STANDBY) == "Ready."
    session.arm(Settings(file_name="a/b.h5", frames_per_trigger=3, exposure_time=0.5))
    assert state_of(session) is Condition.RUNNING
    assert session.view().ready_for_trigger

    session.instruct("trigger")
    service.acquire(3, last=True)
    assert "All 3 frames" in listener.until_state(Condition.RUNNING) or state_of(session) is Condition.RUNNING
    service.write(3)
    assert state_of(session) is Condition.RUNNING
    service.end()
    assert "3 of 3 frames are in /data/a/b.h5" in listener.until_state(Condition.STANDBY)
    assert service.wishes == ["arm", "arm", "trigger"]
    timing = next(arguments for name, arguments in service.asked if name == "arm" and isinstance(arguments, dict))
    assert (timing["mode"], timing["frames"], timing["filename"]) == ("software", 3, "a/b.h5")


def test_nothing_is_armed_when_the_settings_do_not_fit(session: Session, service: StandIn) -> None:
    with pytest.raises(ConfigError):
        session.arm(Settings(exposure_time=0.0))

    assert not service.wishes
    assert state_of(session) is Condition.STANDBY


def test_nothing_stays_armed_when_the_hardware_refuses(session: Session, service: StandIn) -> None:
    instruct = service.instruct

    def refuse(command: str, **arguments: Any) -> dict[str, Any]:
        if command == "arm":
            raise HardwareFailed("xsp3_histogram_start: -1 (XSP3_ERROR)")
        return instruct(command, **arguments)

    service.instruct = refuse  # type: ignore[method-assign]
    with pytest.raises(HardwareFailed, match="xsp3_histogram_start"):
        session.arm(Settings())

    assert service.wishes == ["arm", "abort"]
    assert state_of(session) is Condition.STANDBY


def test_arm_while_it_acquires_is_refused_and_changes_nothing(session: Session, service: StandIn) -> None:
    session.arm(Settings(triggers=5))
    service.acquire(2)
    with pytest.raises(Busy, match="2 of 5 frames"):
        session.arm(Settings())

    assert service.wishes == ["arm", "arm"]


def test_arm_waits_for_the_last_frames_of_the_series_before(session: Session, service: StandIn) -> None:
    session.arm(Settings())
    service.acquire(1, last=True)
    armed = threading.Thread(target=session.arm, args=(Settings(),))
    armed.start()
    service.write(1)
    service.end()
    armed.join(TIMEOUT)

    assert service.wishes == ["arm", "arm", "arm", "arm"]
    assert session.view(0).acquiring


def test_a_series_that_another_client_has_armed_is_joined(session: Session, service: StandIn) -> None:
    theirs = service.arm(ArmRequest(name="theirs"))
    assert "is armed" in condition(session.look())[1]
    with pytest.raises(Busy, match=r"Another client has armed series s1\. Abort it, or leave Destination"):
        session.arm(Settings(file_name="ours.h5"))
    assert session.arm(Settings()).id == theirs.id

    assert service.wishes == ["arm", "arm"]
    assert service.asked[-1][0] in ("status", "detector")
    told = next(arguments for name, arguments in service.asked if isinstance(arguments, dict))
    assert (told["save"], told["filename"]) == (True, "")
    with pytest.raises(Busy):
        session.arm(Settings())


def test_a_series_of_another_client_outlives_an_arm_that_fails(session: Session, service: StandIn) -> None:
    theirs = service.arm(ArmRequest(name="theirs"))
    service.refuse["arm"] = HardwareFailed("xsp3_histogram_start: -1.")
    with pytest.raises(HardwareFailed):
        session.arm(Settings())

    assert service.series is not None
    assert service.series.id == theirs.id


def test_a_file_that_exists_is_refused(session: Session, service: StandIn) -> None:
    service.refuse["arm"] = FileTaken("The file /data/x.h5 exists.")
    with pytest.raises(FileTaken, match=r"exists. Choose another DestinationFileName, or set DestinationFileOverwr"):
        session.arm(Settings(file_name="x.h5"))

    assert service.wishes == ["arm"]


def test_a_file_that_exists_is_numbered_by_choice(session: Session, service: StandIn) -> None:
    service.refuse["arm"] = FileTaken("The file /data/x.h5 exists.")
    report = session.arm(Settings(file_name="x.h5", number_taken=True))

    assert report.file == "/data/x_1.h5"


def test_stop_in_the_middle_is_no_fault(session: Session, service: StandIn, listener: Listener) -> None:
    session.arm(Settings(triggers=5))
    service.acquire(2)
    session.stop()

    assert service.wishes == ["arm", "arm", "stop"]
    state, text = condition(session.view())
    assert state is Condition.STANDBY
    assert "The last series was stopped: 2 of 5 frames were sent" in text


def test_stop_of_a_series_that_never_began_ends_it(session: Session, service: StandIn) -> None:
    session.arm(Settings())
    service.hardware["state"] = "idle"
    session.stop()

    assert service.wishes[-1] == "stop"
    assert state_of(session) is Condition.STANDBY


def test_stop_twice_and_stop_of_nothing(session: Session, service: StandIn) -> None:
    session.stop()
    session.arm(Settings())
    session.stop()
    session.stop()

    assert service.wishes == ["arm", "arm", "stop"]


def test_abort_ends_everything(session: Session, service: StandIn) -> None:
    session.arm(Settings())
    session.abort()
    session.abort()

    assert service.wishes == ["arm", "arm", "abort"]
    assert state_of(session) is Condition.STANDBY


def test_a_series_that_lost_frames_is_a_fault_until_the_next(session: Session, service: StandIn) -> None:
    session.arm(Settings())
    service.end(Outcome.INCOMPLETE, "frames are overwritten in the detector")
    assert condition(session.view(0)) == (
        Condition.FAULT,
        "The last series ended incomplete: frames are overwritten in the detector. Arm starts another.",
    )
    session.arm(Settings())

    assert state_of(session) is Condition.RUNNING


def test_a_fault_of_the_hardware_is_mended_by_init(service: StandIn, listener: Listener) -> None:
    session = Session(lambda: service, listener)
    assert session.open(TIMEOUT)
    session.arm(Settings())
    service.fail("xsp3_scaler_read: -1.")
    assert listener.until_state(Condition.FAULT) == "xsp3_scaler_read: -1. Init opens it anew."
    assert listener.views[-1].count("channels") == 2
    with pytest.raises(HardwareFailed, match="Init opens it anew"):
        session.arm(Settings())
    session.close()

    again = Session(lambda: service, listener, renew=True)
    assert again.open(TIMEOUT)
    assert state_of(again) is Condition.STANDBY
    again.close()
    assert service.wishes[-2:] == ["abort", "reset"]


def test_the_service_is_lost_and_found(session: Session, service: StandIn, listener: Listener) -> None:
    service.gone = True
    assert "No service answers" in condition(session.look())[1]
    listener.until_state(Condition.FAULT)
    with pytest.raises(ServiceUnreachable):
        session.arm(Settings())
    service.gone = False

    listener.until_state(Condition.STANDBY)


def test_a_service_that_can_not_be_started_is_a_fault(listener: Listener) -> None:
    def connect() -> StandIn:
        raise AddressTaken("The port 9999 on 127.0.0.1 is in use.", "Ask who.")

    session = Session(connect, listener)
    assert session.open(TIMEOUT)
    assert condition(session.view()) == (Condition.FAULT, "The port 9999 on 127.0.0.1 is in use. Ask who.")
    with pytest.raises(ServiceUnreachable, match="is in use"):
        session.stop()
    session.close()


@pytest.mark.allow_error_log
def test_whatever_goes_wrong_at_the_start_is_said(listener: Listener) -> None:
    def connect() -> StandIn:
        raise OSError(12, "Cannot allocate memory")

    session = Session(connect, listener)
    assert session.open(TIMEOUT)
    assert "Cannot allocate memory" in listener.until_state(Condition.FAULT)
    session.close()


def test_while_the_service_is_started_commands_are_refused_at_once(service: StandIn, listener: Listener) -> None:
    started = threading.Event()

    def connect() -> StandIn:
        assert started.wait(TIMEOUT)
        return service

    session = Session(connect, listener)
    assert not session.open(0.0)
    assert condition(session.view())[0] is Condition.INIT
    with pytest.raises(ServiceUnreachable, match="is being started"):
        session.arm(Settings())
    started.set()
    listener.until_state(Condition.STANDBY)
    session.close()


def test_one_command_at_a_time(session: Session, service: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluesky_streamdet.xspress3.tango_session.PATIENCE", 0.01)
    inside, leave = threading.Event(), threading.Event()
    instruct = service.instruct

    def slow(command: str, **arguments: Any) -> dict[str, Any]:
        inside.set()
        assert leave.wait(TIMEOUT)
        return instruct(command, **arguments)

    service.instruct = slow  # type: ignore[method-assign]
    first = threading.Thread(target=session.instruct, args=("set_window",))
    first.start()
    assert inside.wait(TIMEOUT)
    with pytest.raises(Busy, match="Another command"):
        session.instruct("set_window")
    assert state_of(session) is Condition.STANDBY
    leave.set()
    first.join(TIMEOUT)


def test_a_trigger_when_nothing_is_armed_is_refused(session: Session) -> None:
    with pytest.raises(RequestRefused, match="not armed"):
        session.instruct("trigger")


def test_the_latest_frame_is_fetched_once(session: Session, service: StandIn) -> None:
    assert session.latest() is None
    session.arm(Settings(triggers=5))
    service.acquire(2)
    session.look()
    first = session.latest()
    assert first is session.latest()
    assert first is not None and first.header.number == 1

    service.acquire(3)
    session.look()
    assert session.latest() is not first


def test_the_frame_of_the_series_before_is_not_that_of_the_next(session: Session, service: StandIn) -> None:
    session.arm(Settings())
    service.acquire(1, last=True)
    service.end()
    session.look()
    old = session.latest()
    session.arm(Settings())
    assert session.latest() is None
    service.acquire(1, last=True)
    session.look()

    assert session.latest() is not old


def test_a_hundred_sessions_leave_no_thread(service: StandIn, listener: Listener) -> None:
    before = threading.active_count()
    for number in range(100):
        session = Session(lambda: service, listener, renew=number > 0)
        assert session.open(TIMEOUT)
        assert state_of(session) is Condition.STANDBY
        session.close()

    assert threading.active_count() == before
    assert not service._callbacks
