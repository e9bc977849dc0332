"""The Tango device without a server: what it offers is described, and properties are read as they are written."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.xspress3.config import Xspress3Config
from bluesky_streamdet.xspress3.tango_attributes import OF_CHANNEL
from bluesky_streamdet.xspress3.tango_host import (
    CONFIG_PATH,
    GivenService,
    Hosts,
    OwnService,
    value_of,
    wanted_service,
)
from bluesky_streamdet.xspress3.tango_settings import TriggerMode
from bluesky_streamdet.xspress3.tango_state import Condition

device = pytest.importorskip("bluesky_streamdet.xspress3.tango", reason="needs the extra 'tango'")

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "tango.md"
CLASS = device.Xspress3DS.TangoClassClass


def properties(**changes: Any) -> dict[str, Any]:
    """All properties, as they are unless somebody sets them."""
    return {name: row[2] for name, row in CLASS.device_property_list.items()} | changes


def own(**changes: Any) -> Xspress3Config:
    """The service that a device with these properties starts."""
    config = wanted_service(properties(**changes))
    assert isinstance(config, Xspress3Config)
    return config


def test_the_page_describes_all_that_there_is_and_nothing_else() -> None:
    text = PAGE.read_text()
    first_columns = "\n".join(re.findall(r"^\|([^|]*)\|", text, re.MULTILINE))
    described = {name.removesuffix("_Ch0") for name in re.findall(r"`(\w+)`", first_columns)}
    offered = {*CLASS.device_property_list, *CLASS.attr_list, *CLASS.cmd_list, *OF_CHANNEL}
    modes_and_states = {*TriggerMode, *Condition}

    assert described - modes_and_states == offered
    assert modes_and_states <= described


def test_a_device_asks_for_the_service_that_its_properties_describe() -> None:
    config = own(
        BaseIP="10.0.0.1", BaseMAC="02.00", BasePort=30123, Name="sdd", Cards=2, EventWidths=[6, 7], StreamInterface="*"
    )
    system = config.system

    assert (system.address, system.mac, system.port, system.name, system.cards) == (
        "10.0.0.1",
        "02.00",
        30123,
        "sdd",
        2,
    )
    assert system.event_widths == [6, 7]
    assert system.settings == Path(CONFIG_PATH)
    assert system.simulate is None
    assert [(one.kind, one.address) for one in config.outputs] == [("push", "tcp://*:9999"), ("pub", "tcp://*:9997")]
    assert config.monitor == "tcp://*:9998"
    assert config.rest.port == 0


def test_a_simulated_detector_needs_no_calibration() -> None:
    assert own(Simulate="true").system.settings is None
    assert own(Simulate="true", ConfigPath="/mine").system.settings == Path("/mine")
    simulate = own(Simulate='{"channels": 3}').system.simulate
    assert simulate is not None
    assert simulate.channels == 3
    assert own(Simulate="false").system.simulate is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Simulate": "{"}, "which is no JSON"),
        ({"Simulate": "[1]"}, "Write true, or an object"),
        ({"Simulate": '{"chanels": 3}'}, "chanels"),
        ({"Cards": 0}, "cards"),
    ],
)
def test_properties_that_make_no_sense_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        wanted_service(properties(**changes))


def test_a_url_goes_before_everything() -> None:
    assert wanted_service(properties(ServiceUrl="http://x:8010", Cards=0)) == "http://x:8010"


def test_a_device_keeps_its_service_until_it_wants_another() -> None:
    hosts = Hosts()
    first = hosts.get("a/b/1", own())

    assert isinstance(first, OwnService)
    assert hosts.get("a/b/1", own()) is first
    assert hosts.get("a/b/2", own()) is not first
    assert hosts.get("a/b/1", own(Cards=2)) is not first
    assert isinstance(hosts.get("a/b/1", "http://x:8010"), GivenService)
    hosts.close()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("BaseIP", "10", "10"),
        ("Cards", "2", 2),
        ("EventWidths", "[6, 7]", [6, 7]),
        ("NumberTakenFiles", "true", True),
        ("Simulate", '{"channels": 2}', '{"channels": 2}'),
    ],
)
def test_properties_of_the_command_line(name: str, text: str, value: Any) -> None:
    assert value_of(name, text, properties()) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Colour", "red", "has no property 'Colour'"),
        ("Cards", "two", "Write it like 1"),
        ("Cards", "1.5", "Write it like 1"),
        ("NumberTakenFiles", "1", "Write it like false"),
    ],
)
def test_properties_of_the_command_line_that_make_no_sense(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        value_of(name, text, properties())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--device", "a/b/c", "--property", "Colour=red"], 2, "has no property 'Colour'"),
        (["--device", "a/b/c", "--property", "Cards"], 2, "write it as NAME=VALUE"),
        (["--device", "nonsense"], 2, "write it as DOMAIN/FAMILY/MEMBER"),
        ([], 2, "TANGO_HOST is not set"),
    ],
)
def test_a_server_that_can_not_start_says_why(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.delenv("TANGO_HOST", raising=False)

    assert main(["xspress3", "tango", "1", *arguments]) == code
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["xspress3", "tango", "1", "--device", "a/b/c", "--port", str(port)]) == 1

    assert f"The port {port} on 127.0.0.1 can't be used" in capsys.readouterr().err


def test_without_its_library_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tango", None)
    monkeypatch.delitem(sys.modules, "bluesky_streamdet.xspress3.tango")

    assert main(["xspress3", "tango", "1", "--device", "a/b/c"]) == 1
    assert "Install bluesky-streamdet[tango]" in capsys.readouterr().err
