"""The old stream repeater's settings: its file, read as it is, and requests to change some of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.compat.repeater_config import Settings, mode_of
from bluesky_streamdet.service.config import DetectorConfig, load, names
from bluesky_streamdet.streaming.endpoints import OutputConfig, SourceConfig


def stream(port: int, mode: str = "send_every_nth", param: Any = 1, kind: str = "PUSH") -> dict[str, Any]:
    return {"zmq_mode": kind, "port": port, "send_output_mode": mode, "send_output_param": param}


def written(path: Path, streams: Any, **source: Any) -> Path:
    known = {"name": "backend", "zmq_mode": "PULL", "address": "tcp://camera:9980"}
    path.write_text(json.dumps({"in-stream": known | source, "out-streams": streams}, indent=1))
    return path


def test_the_old_file_is_read_as_it_is(tmp_path: Path) -> None:
    streams = {"a b": stream(9610), "live": stream(9611, "strides", 3, "PUB"), "std-det-writer": stream(9612)}
    file = written(tmp_path / "old.json", streams, zmq_mode="SUB")
    config = load(file, environ={})
    assert names(file) == ["backend"]
    assert (config.detector, config.paused, config.unarmed) == ("backend", True, "forward")
    assert (config.source.endpoints, config.source.socket) == (["tcp://camera:9980"], "sub")
    assert [(one.name, one.kind, one.encoder, one.address, mode_of(one)) for one in config.outputs] == [
        ("a_b", "push", "as-received", "tcp://*:9610", ("send_every_nth", 1)),
        ("live", "pub", "as-received", "tcp://*:9611", ("strides", 3)),
        ("std-det-writer", "push", "std-det-writer", "tcp://*:9612", ("send_every_nth", 1)),
    ]
    assert {(one.overflow, one.queue) for one in config.outputs} == {("drop-oldest", 5000)}
    assert config.compat is not None
    assert (config.compat.dialect, config.compat.port, config.compat.directory) == ("repeater", 8888, tmp_path)
    assert "0.0.0.0/0" not in config.compat.allow


def test_the_converted_file_means_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = written(tmp_path / "old.json", {"a": stream(9610, "send_every_sec", 0.5), "std-det-writer": stream(9611)})
    assert main(["config", "convert", str(old)]) == 0
    new = tmp_path / "new.yaml"
    new.write_text(capsys.readouterr().out)
    assert load(new, environ={}) == load(old, environ={})
    assert main(["config", "check", str(old)]) == 0
    assert "backend: gigafrost, from tcp://camera:9980" in capsys.readouterr().out


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    streams = {"a b": stream(9610), "c": {"port": 1}, "d": stream(9611, "strides", 0, "DEALER"), "e": 5}
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"in-stream": {"zmq_mode": "PUB"}, "out-streams": streams}, indent=1))
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("line 2: in-stream lacks address.")
    assert lines[1].endswith("line 3: zmq_mode is 'PUB'; allowed: PULL, SUB.")
    assert "c lacks zmq_mode, send_output_mode, send_output_param." in lines[2]
    assert "zmq mode 'DEALER'" in lines[3] and "parameter of strides is 0" in lines[3]
    assert "e holds no settings" in lines[4]


@pytest.mark.parametrize(
    ("streams", "source", "fault"),
    [
        ([], {}, "out-streams holds no streams"),
        ({"a": stream(9610), "b": stream(9610)}, {}, "both bound at port 9610"),
        ({"a!": stream(9610), "a?": stream(9611)}, {}, "2 outputs are called 'a_'"),
        ({}, {"address": 5}, "line 2: detectors.backend.source.endpoints.0 is 5"),
        ({}, {"address": "camera"}, "is no ZeroMQ address"),
    ],
)
def test_files_that_can_not_be(tmp_path: Path, streams: Any, source: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path / "old.json", streams, **source), environ={})
    assert fault in str(caught.value)
    assert str(tmp_path / "old.json") in str(caught.value)


def test_a_name_that_is_none(tmp_path: Path) -> None:
    assert load(written(tmp_path / "old.json", {}, name="2 backends"), environ={}).detector == "repeater"


def test_a_word_makes_a_service_of_our_form_wait_for_old_clients() -> None:
    values = {"detector": "a", "type": "gigafrost", "source": {"endpoints": ["tcp://a:1"]}}
    assert not DetectorConfig.model_validate(values).paused
    config = DetectorConfig.model_validate({**values, "compat": "repeater"})
    assert config.compat is not None
    assert (config.paused, config.compat.port, config.compat.directory) == (True, 8888, None)
    assert not DetectorConfig.model_validate({**values, "compat": {"dialect": "repeater"}, "paused": False}).paused
    assert not DetectorConfig.model_validate({**values, "compat": "receiver"}).paused


# Changes.

OUTPUTS = (
    OutputConfig(name="plain", address="tcp://127.0.0.1:9610", encoder="stins", queue=7),
    OutputConfig.model_validate({"name": "some", "address": "tcp://*:9611", "kind": "pub", "send": {"strides": 2}}),
    OutputConfig.model_validate({"name": "laser", "address": "tcp://*:9612", "send": {"where": "laser_on == true"}}),
)
SETTINGS = Settings(SourceConfig(endpoints=["tcp://camera:9980"]), OUTPUTS)


def changed(**asked: Any) -> Settings:
    return SETTINGS.changed(asked, "as-received")


def test_what_nobody_names_stays_as_it_is() -> None:
    assert changed() == SETTINGS
    assert changed(**{name: value for name, value in SETTINGS.said().items() if name != "config_file"})[:2] == (
        SETTINGS.source,
        tuple(one.model_copy(update={"queue": 100}) for one in OUTPUTS),
    )
    other = changed(stream_ports=[9610, 9700, 9612], send_output_param=[1, 5, SETTINGS.said()["send_output_param"][2]])
    assert other.outputs[0] == OUTPUTS[0]
    assert other.outputs[2] == OUTPUTS[2]
    assert (other.outputs[1].address, mode_of(other.outputs[1])) == ("tcp://*:9700", ("strides", 5))


def test_fewer_and_more_outputs() -> None:
    lists = {"send_output_mode": ["strides"], "send_output_param": [4], "stream_ports": [9610]}
    assert [one.name for one in changed(n_output_streams=1, **lists).outputs] == ["plain"]
    lists = {name: value * 5 for name, value in lists.items()} | {"stream_ports": [1, 2, 3, 4, 5]}
    five = changed(n_output_streams=5, **lists)
    assert [one.name for one in five.outputs] == ["plain", "some", "laser", "stream-3", "stream-4"]
    assert (five.outputs[4].kind, five.outputs[4].encoder, five.outputs[4].overflow) == (
        *("push", "as-received", "drop-oldest"),
    )


def test_the_name_decides_whether_a_writer_is_behind_it() -> None:
    with_writer = changed(stream_names=["std-det-writer", "some", "laser"])
    assert (with_writer.outputs[0].encoder, with_writer.has_writer) == ("std-det-writer", True)
    without = with_writer.changed({"stream_names": ["plain", "some", "laser"]}, "as-received")
    assert (without.outputs[0].encoder, without.has_writer) == ("as-received", False)


def test_the_block_of_frames_is_one_for_all() -> None:
    modes = {"send_output_mode": ["send_every_nth_frame"] * 3, "send_output_param": [1, 2, 3]}
    first = changed(**modes)
    assert [one.send.of for one in first.outputs if one.send] == [15, 15, 15]
    second = first.changed({"frame_block": 5}, "as-received")
    assert [(one.send.frames, one.send.of) for one in second.outputs if one.send] == [(1, 5), (2, 5), (3, 5)]


@pytest.mark.parametrize("value", [float("nan"), -1, "1", None, True, [1]])
def test_seconds_that_are_none(value: Any) -> None:
    with pytest.raises(ConfigError, match="output 0"):
        changed(send_output_mode=["send_every_sec", "strides", "other"], send_output_param=[value, 2, 3])


def test_the_old_form_can_be_loaded_by_yaml_too(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(
        yaml.safe_dump({"in-stream": {"zmq_mode": "PULL", "address": "tcp://a:1"}, "out-streams": {"a": stream(1)}})
    )
    assert load(file, environ={}).outputs[0].address == "tcp://*:1"
