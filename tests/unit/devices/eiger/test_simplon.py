"""Requests to a control unit: what they say, and what goes wrong with them."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from bluesky_streamdet.core.errors import ConfigError, DeadlineExceeded, HardwareFailed, RequestRefused
from bluesky_streamdet.devices.eiger import simplon as module
from bluesky_streamdet.devices.eiger.simplon import DetectorUnreachable, Simplon, UnknownParameter
from tests.unit.devices.eiger.standin import StandIn

COUNT_TIME = "detector/config/count_time"


def unexpected(error: Exception) -> None:
    pytest.fail(str(error))


@pytest.mark.parametrize("version", ["1.8.0", "1.6.0", "2.0.0"])
def test_the_version_is_the_detectors(unit: StandIn, version: str) -> None:
    unit.version = version
    simplon = Simplon(unit.url)
    assert simplon.value(COUNT_TIME) == 1.0
    assert simplon.version == version


def test_a_detector_that_does_not_say_its_version(unit: StandIn) -> None:
    unit.version = None
    assert Simplon(unit.url).version == "1.8.0"


def test_somebody_else_answers(unit: StandIn) -> None:
    unit.version, unit.parameters = None, {}
    with pytest.raises(HardwareFailed, match="not as a detector's control unit does"):
        Simplon(unit.url).state()


def test_only_what_changes_is_set(unit: StandIn) -> None:
    simplon = Simplon(unit.url)
    assert simplon.set(COUNT_TIME, 0.25)
    assert not simplon.set(COUNT_TIME, 0.25)
    assert unit.written == [COUNT_TIME]
    assert simplon.parameter(COUNT_TIME) == (0.25, "s", 1e-6, 1800.0, None)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (COUNT_TIME, 3600.0, r"count_time of .* can't be 3600\.0\. It may be from 1e-06 to 1800\.0 s"),
        ("detector/config/ntrigger", 0, "from 1 to 50000"),
        ("detector/config/roi_mode", "8M", r"can't be '8M'\. It may be disabled, 4M"),
    ],
)
def test_what_a_parameter_can_not_be(unit: StandIn, name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Simplon(unit.url).set(name, value)
    assert unit.written == []


def test_commands_have_no_body_but_by_choice(unit: StandIn) -> None:
    simplon = Simplon(unit.url)
    assert simplon.command("arm") == 1
    simplon.begin("trigger", 0.5, 10.0, unexpected).wait(10)
    assert list(zip(unit.commands, unit.arguments, strict=True)) == [("arm", None), ("trigger", 0.5)]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((404, "unknown path"), UnknownParameter, "does not know GET .*count_time: unknown path"),
        ((400, "value out of range"), RequestRefused, "with status 400: value out of range"),
        ((403, ""), RequestRefused, "with status 403"),
        ((500, "board 3 is hot"), HardwareFailed, "with status 500: board 3 is hot"),
        ((200, "<html>"), HardwareFailed, "which is no SIMPLON"),
        ((200, [1]), HardwareFailed, "which is no SIMPLON"),
    ],
)
def test_what_the_detector_says_against_it(unit: StandIn, answer: Any, kind: type[Exception], said: str) -> None:
    unit.answers[COUNT_TIME] = answer
    with pytest.raises(kind, match=said):
        Simplon(unit.url).value(COUNT_TIME)


def test_an_answer_that_does_not_come(unit: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    unit.answers["detector/command/arm"] = lambda: (unit.closing.wait(20), (200, {}))[1]
    with pytest.raises(DeadlineExceeded, match=r"did not answer PUT .*arm within 0\.05 s"):
        Simplon(unit.url).command("arm", 0.05)


def test_a_connection_that_breaks(unit: StandIn) -> None:
    def broken() -> Any:
        raise ConnectionError("the plug is pulled")

    unit.answers[COUNT_TIME] = broken
    with pytest.raises(DetectorUnreachable, match="the connection broke in GET"):
        Simplon(unit.url).value(COUNT_TIME)


def test_off_and_on_again(unit: StandIn) -> None:
    """With other firmware, too."""
    simplon = Simplon(unit.url)
    assert simplon.state() == "idle"
    unit.switch_off()
    with pytest.raises(DetectorUnreachable, match="Is it switched on"):
        simplon.state()
    unit.version = "1.6.0"
    unit.switch_on()
    assert simplon.state() == "na"
    assert simplon.version == "1.6.0"


def test_other_firmware_that_nobody_saw_come(unit: StandIn) -> None:
    simplon = Simplon(unit.url)
    assert simplon.state() == "idle"
    unit.version = "1.6.0"
    assert simplon.state() == "idle"


def test_a_name_that_moves_to_another_address(unit: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection asks anew where the detector is."""
    addresses, ask = {"eiger.beamline": "127.0.0.1"}, socket.getaddrinfo

    def answered(host: Any, *args: Any, **kwargs: Any) -> Any:
        return ask(addresses.get(host, host), *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", answered)
    port = int(unit.url.rpartition(":")[2])
    with StandIn("127.0.0.2", port) as other:
        other.state = "ready"
        simplon = Simplon(f"http://eiger.beamline:{port}")
        assert simplon.state() == "idle"
        addresses["eiger.beamline"] = "127.0.0.2"
        assert simplon.state() == "ready"


def test_a_command_that_is_given_up(unit: StandIn) -> None:
    began = threading.Event()
    unit.answers["detector/command/trigger"] = lambda: (began.set(), unit.closing.wait(20), (200, {}))[2]
    command = Simplon(unit.url).begin("trigger", None, 60.0, unexpected)
    assert began.wait(10)
    before = time.monotonic()
    command.give_up()
    assert time.monotonic() - before < 5
    assert command.wait(0)


def test_a_command_that_fails(unit: StandIn) -> None:
    errors: list[Exception] = []
    unit.answers["detector/command/trigger"] = 400, "not armed"
    command = Simplon(unit.url).begin("trigger", None, 60.0, errors.append)
    assert command.wait(10)
    command.give_up()
    assert "not armed" in str(errors[0])


@pytest.mark.parametrize("url", ["tcp://eiger:80", "http://", "https://eiger", "http://eiger:http", "http://[eiger"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="Write it as http://HOST"):
        Simplon(url)


def test_a_host_alone_is_an_address() -> None:
    assert Simplon("eiger:8080").url == "http://eiger:8080"
    assert module.VERSIONS[0] == "1.8.0"
