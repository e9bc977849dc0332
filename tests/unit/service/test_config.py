from __future__ import annotations

import json
from pathlib import Path

import pytest

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.config import for_row, load, load_cameras

TWO = """
detectors:
  eiger1:
    type: eiger
    source: {endpoints: [tcp://10.0.0.5:9999]}
    files: {directory: here}
    rest: {port: 8011}
  other:
    type: stins
    source:
      endpoints: [tcp://10.0.0.6:9999]
      socket: sub
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "streamdet.yaml"
    path.write_text(text)
    return path


def complaint(path: Path, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, None, environ)
    return str(caught.value)


def test_takes_format_and_socket_from_the_catalog(tmp_path: Path) -> None:
    config = load(written(tmp_path, TWO), "eiger1", {})

    assert (config.detector, config.codec, config.source.socket, config.rest.port) == (
        "eiger1",
        "dectris_v1",
        "pull",
        8011,
    )


def test_the_file_goes_before_the_catalog(tmp_path: Path) -> None:
    assert load(written(tmp_path, TWO), "other", {}).source.socket == "sub"


def test_the_data_directory_is_absolute(tmp_path: Path) -> None:
    assert load(written(tmp_path, TWO), "eiger1", {}).files.directory == Path.cwd() / "here"


def test_the_data_plane_gets_its_part(tmp_path: Path) -> None:
    part = load(written(tmp_path, TWO), "eiger1", {}).data_plane()

    assert part.detector == "eiger1"
    assert not hasattr(part, "rest")


def test_another_detector_of_the_file_may_be_wrong(tmp_path: Path) -> None:
    assert load(written(tmp_path, TWO.replace("stins", "nonsense")), "eiger1", {}).detector == "eiger1"


def test_the_only_detector_needs_no_name(tmp_path: Path) -> None:
    text = "detectors: {one: {type: eiger, source: {endpoints: [tcp://a:1]}}}"

    assert load(written(tmp_path, text), None, {}).detector == "one"


def test_several_detectors_need_a_name(tmp_path: Path) -> None:
    assert "eiger1, other" in complaint(written(tmp_path, TWO))


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no detector 'eiger2'.*It has: eiger1, other"):
        load(written(tmp_path, TWO), "eiger2", {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("type: eigre", "line 4: detectors.one.type is 'eigre': no such detector; allowed: dhyana, eiger, "),
        (
            "type: eiger\n    codec: morse",
            "line 5: detectors.one.codec is 'morse': no such format; allowed: xspress3, ",
        ),
        ("type: eiger\n    unarmed: maybe", "line 5: detectors.one.unarmed is 'maybe'; allowed: 'write', 'forward' or"),
        ("type: eiger\n    rest: {prot: 1}", "line 5: there is no setting detectors.one.rest.prot; did you mean port?"),
        ("type: eiger\n    rest: {port: 99999}", "line 5: detectors.one.rest.port is 99999; it should be less than or"),
        (
            "type: eiger\n    outputs: [{kind: pul}]",
            "line 5: detectors.one.outputs.0.kind is 'pul'; allowed: 'push' or",
        ),
        (
            "type: eiger\n    outputs: [{colour: red}]",
            "there may stand address, connect, encoder, kind, name, overflow",
        ),
        ("type: eiger\n    source: 5", "line 5: the key 'source' stands in line 3 already"),
        ("type: eiger\n    rest: {port: ]", "line 5 is no YAML"),
        ("type: eiger\n    rest: &itself [*itself]", "refers to itself"),
    ],
)
def test_says_where_and_what_is_wrong(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, f"detectors:\n  one:\n    source: {{endpoints: [tcp://a:1]}}\n    {line}\n")

    assert said in complaint(path)
    assert complaint(path).startswith(str(path))


def test_a_mistyped_setting_comes_before_the_one_that_is_missing(tmp_path: Path) -> None:
    text = "detectors: {one: {type: eiger, source: {endpoint: [tcp://a:1]}}}"

    first, second = complaint(written(tmp_path, text)).splitlines()
    assert "no setting detectors.one.source.endpoint; did you mean endpoints?" in first
    assert "detectors.one.source.endpoints is missing" in second


@pytest.mark.parametrize("text", ["", "5", "[1, 2]", "detectors: {}", "detectors: 7", "detectors: {a: 7}", "a: {b: 1}"])
def test_refuses_what_is_no_configuration(tmp_path: Path, text: str) -> None:
    assert complaint(written(tmp_path, text))


def test_refuses_an_impossible_detector_name(tmp_path: Path) -> None:
    text = "detectors: {'a b': {type: eiger, source: {endpoints: [tcp://a:1]}}}"

    assert "does not match" in complaint(written(tmp_path, text))


def test_a_file_that_is_not_there() -> None:
    assert "can't be read" in complaint(Path("/nowhere/at/all.yaml"))


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    environ = {
        "STREAMDET_REST__PORT": "0",
        "STREAMDET_FILES__FLUSH_SECONDS": "0.5",
        "STREAMDET_SOURCE__ENDPOINTS": "[tcp://b:2]",
        "LOG_LEVEL": "debug",
        "STREAMDET_API_KEY": "not a setting",
    }
    config = load(written(tmp_path, TWO), "eiger1", environ)

    assert (config.rest.port, config.files.flush_seconds, config.log_level) == (0, 0.5, "DEBUG")
    assert config.source.endpoints == ["tcp://b:2"]


def test_our_own_log_level_goes_before_the_common_one(tmp_path: Path) -> None:
    environ = {"LOG_LEVEL": "debug", "STREAMDET_LOG_LEVEL": "ERROR"}

    assert load(written(tmp_path, TWO), "eiger1", environ).log_level == "ERROR"


def test_names_the_variable_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the environment variable STREAMDET_REST__PORT: .*port is 'many'"):
        load(written(tmp_path, TWO), "eiger1", {"STREAMDET_REST__PORT": "many"})


def test_a_row_of_the_catalog_can_be_served_without_a_file() -> None:
    config = for_row("eiger", directory=Path("/data"), environ={})

    assert config.source.endpoints == ["tcp://127.0.0.1:9999"]
    assert config.files.directory == Path("/data")


def test_an_unknown_row_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"The catalog has: .*eiger.*, stins"):
        for_row("eigre", environ={})


def test_the_schema_is_one_that_editors_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0

    schema = json.loads(capsys.readouterr().out)
    assert "detectors" in schema["properties"]
    assert "eiger" in str(schema["$defs"]["DetectorConfig"]["properties"]["type"])


def test_the_check_goes_through_all_detectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, TWO.replace("socket: sub", "socket: su"))

    assert main(["config", "check", str(path)]) == 2
    said = capsys.readouterr()
    assert "eiger1: eiger, from tcp://10.0.0.5:9999" in said.out
    assert f"{path}, line 12: detectors.other.source.socket is 'su'; allowed: 'pull'" in said.err
    assert main(["config", "check", str(path), "eiger1"]) == 0


HALL = """
rest: {port: 8020}
detectors:
  one: {type: stins, source: {endpoints: [tcp://h:1]}}
  two: {type: pco, source: {endpoints: [tcp://h:2]}, rest: {port: 8030}}
"""


def test_several_cameras_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "hall.yaml").write_text(HALL)
    cameras, rest = load_cameras(tmp_path / "hall.yaml", environ={})
    assert [one.detector for one in cameras] == ["one", "two"]
    assert rest.port == 8020

    cameras, rest = load_cameras(tmp_path / "hall.yaml", ["two", "two"], {"STREAMDET_REST__PORT": "8040"})
    assert [one.detector for one in cameras] == ["two"]
    assert rest.port == 8040


def test_all_that_is_wrong_with_any_camera_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "hall.yaml").write_text(HALL.replace("endpoints: [tcp://h:1]", "").replace("type: pco", "type: pc"))
    with pytest.raises(ConfigError) as caught:
        load_cameras(tmp_path / "hall.yaml", environ={})

    assert "line 4: detectors.one.source.endpoints is missing" in str(caught.value)
    assert "line 5: detectors.two.type is 'pc': no such detector" in str(caught.value)


def test_the_file_of_the_guide(tmp_path: Path) -> None:
    guide = Path(__file__).parents[3] / "docs/how-to/supervise-cameras.md"
    (tmp_path / "cameras.yaml").write_text(guide.read_text().partition("```yaml\n")[2].partition("```")[0])
    cameras, rest = load_cameras(tmp_path / "cameras.yaml", environ={})

    assert [one.detector for one in cameras] == ["pco1", "pco2"]
    assert (rest.port, cameras[1].compat and cameras[1].compat.ports) == (
        8010,
        {"compat.port": 9902, "compat.writer_port": 9556},
    )
