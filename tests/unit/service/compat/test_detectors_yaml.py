"""The stream receiver's own configuration file, read as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.config import for_environment, load

OLD = """
nanomax-eiger:
  class: Eiger
  dcu_host_purple: 172.18.1.244
  api_port: 8001
  data_port: 23009
  dset_name: /entry/instrument/eiger/data
dummy:
  class: Detector
  dcu_host_purple: [one, other]
  dcu_port_purple: [9998, 9997]
"""


def written(tmp_path: Path, text: str = OLD) -> Path:
    path = tmp_path / "detectors.yaml"
    path.write_text(text)
    return path


def complaint(path: Path, name: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, name, {})
    return str(caught.value)


def test_the_old_file_is_read_as_it_is(tmp_path: Path) -> None:
    config = load(written(tmp_path), "nanomax-eiger", {})

    assert (config.detector, config.type, config.codec) == ("nanomax-eiger", "eiger", "dectris_v1")
    assert config.source.endpoints == ["tcp://172.18.1.244:9999"]
    assert [(one.address, one.kind, one.encoder) for one in config.outputs] == [("tcp://*:23009", "push", "")]
    assert config.files.also_at == "/entry/instrument/eiger/data"
    assert config.files.stream_names
    assert not config.files.append
    assert config.transforms == [{"rotate_if_told": {}}]
    assert config.compat is not None
    assert (config.compat.dialect, config.compat.port) == ("receiver", 8001)


def test_each_host_has_its_port(tmp_path: Path) -> None:
    assert load(written(tmp_path), "dummy", {}).source.endpoints == ["tcp://one:9998", "tcp://other:9997"]


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ("class: Lambda\n  dcu_host_purple: [x, x, x, x]", [9010, 9011, 9012, 9013]),
        ("class: Lambda\n  dcu_host_purple: x\n  dcu_port_purple: 9010", [9010, 9011, 9012, 9013]),
        ("class: PsiEiger\n  dcu_host_purple: x", [30001, 30002]),
        ("class: Detector\n  dcu_host_purple: [x, x]", [9999, 9999]),
    ],
)
def test_modules_have_ports_that_follow_one_another(tmp_path: Path, settings: str, ports: list[int]) -> None:
    config = load(written(tmp_path, f"a:\n  {settings}"), "a", {})

    assert config.source.endpoints == [f"tcp://x:{port}" for port in ports]


def test_an_orca_is_unpacked_and_no_more(tmp_path: Path) -> None:
    text = "a:\n  class: Detector\n  pipeline: OrcaPipeline\n  dcu_host_purple: x"

    config = load(written(tmp_path, text), "a", {})
    assert (config.type, config.compress) == ("orca", "none")


def test_a_dataset_may_be_named_as_h5py_takes_it(tmp_path: Path) -> None:
    text = "a:\n  class: Eiger\n  dcu_host_purple: x\n  dset_name: entry/instrument/eiger/data"

    assert load(written(tmp_path, text), "a", {}).files.also_at == "/entry/instrument/eiger/data"


def test_without_an_api_port_it_is_the_one_of_the_old_program(tmp_path: Path) -> None:
    compat = load(written(tmp_path), "dummy", {}).compat

    assert compat is not None
    assert compat.port == 5000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n  class: Eigre\n  dcu_host_purple: x", "line 2: class is 'Eigre'; allowed: Detector, Eiger, Lambda"),
        ("a:\n  class: Eiger\n  dcu_hots: x", "line 3: there is no setting 'dcu_hots'; allowed: class"),
        ("a:\n  class: Eiger", "line 1: a has no dcu_host_purple"),
        ("a:\n  class: Detector\n  pipeline: Some\n  dcu_host_purple: x", "line 3: pipeline is 'Some'; allowed: Pil"),
        ("a:\n  class: Eiger\n  dcu_host_purple: x\n  api_port: many", "line 4: detectors.a.compat.port is 'many'"),
        ("a:\n  class: Eiger\n  dcu_host_purple: [x, y]\n  dcu_port_purple: [1]", "line 4: 1 ports for 2 hosts"),
        ("a:\n  class: Eiger\n  dcu_host_purple: x\nb: 5", "line 4: b is no detector"),
    ],
)
def test_complaints_name_the_line_of_the_old_file(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)

    assert said in complaint(path, "b" if "b: 5" in text else "a")


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    environ = {"DETECTOR_CONFIG": '{"dcu_host_purple": "elsewhere"}', "LOG_LEVEL": "debug"}
    config = load(written(tmp_path), "nanomax-eiger", environ)

    assert config.source.endpoints == ["tcp://elsewhere:9999"]
    assert config.log_level == "DEBUG"


def test_the_environment_alone_is_enough() -> None:
    old = {"class": "Eiger", "dcu_host_purple": "here", "api_port": 8002}
    config = for_environment({"DETECTOR_CONFIG": json.dumps(old)})

    assert config.source.endpoints == ["tcp://here:9999"]
    assert config.compat is not None
    assert config.compat.port == 8002


@pytest.mark.parametrize("text", ["{", "[1]", '"Eiger"'])
def test_an_environment_that_is_no_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match="DETECTOR_CONFIG"):
        for_environment({"DETECTOR_CONFIG": text})


def test_what_it_is_converted_to_means_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = written(tmp_path)
    assert main(["config", "convert", str(old)]) == 0
    new = tmp_path / "new.yaml"
    new.write_text(capsys.readouterr().out)

    assert set(yaml.safe_load(new.read_text())["detectors"]) == {"nanomax-eiger", "dummy"}
    for name in ("nanomax-eiger", "dummy"):
        assert load(new, name, {}) == load(old, name, {})


def test_only_the_old_form_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "detectors: {a: {type: eiger, source: {endpoints: [tcp://a:1]}}}")

    assert main(["config", "convert", str(path)]) == 2
    assert "is no detectors.yaml" in capsys.readouterr().err


PILATUS = """
femtomax-pilatus:
  class: Detector
  nworkers: 4
  dcu_host_purple: pilatus
  data_port: 27001
  pipeline: PilatusPipeline
  rotate: true
  compress: false
  mask: [[0, 3], [1, 4]]
  tot: {tensor}
"""


def test_the_steps_of_the_old_pipeline_in_its_order(tmp_path: Path) -> None:
    tensor = tmp_path / "calibration.npz"
    np.savez(tensor, tot_to_energy_tensor=np.ones((619, 487, 3)))
    config = load(written(tmp_path, PILATUS.format(tensor=tensor)), None, {})

    assert config.type == "pilatus"
    assert [next(iter(step)) for step in config.transforms] == ["tot", "rotate", "mask"]
    assert (config.compress, config.workers) == ("none", 4)


CLASSES = {
    "Detector": ("stins", ["tcp://h:9999"]),
    "Eiger": ("eiger", ["tcp://h:9999"]),
    "DectrisStream2": ("eiger-stream2", ["tcp://h:31001"]),
    "Lambda": ("lambda", ["tcp://h:9010", "tcp://h:9011", "tcp://h:9012", "tcp://h:9013"]),
    "Jungfrau": ("jungfraujoch-preview", ["tcp://h:2345"]),
    "PsiEiger": ("psi-eiger", ["tcp://h:30001", "tcp://h:30002"]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_is_a_row_with_its_ports(name: str, tmp_path: Path) -> None:
    config = load(written(tmp_path, f"one: {{class: {name}, dcu_host_purple: h}}"), None, {})

    assert (config.type, config.source.endpoints) == CLASSES[name]
    assert config.source.modules is (len(CLASSES[name][1]) > 1)
