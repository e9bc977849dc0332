"""The file of cameras that the PCO's old supervisor and client read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.service.config import load


def camera(number: int, **changes: Any) -> dict[str, Any]:
    values = {
        "name": f"pco{number}",
        "connection_address": f"tcp://10.10.1.{number}:8080",
        "flask_api_address": f"http://xbl-daq-34:990{number}",
        "writer_api_address": f"http://xbl-daq-34:{9554 + number}",
        "ioc_name": f"X02DA-CCDCAM{number}",
    }
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def written(folder: Path, cameras: Any) -> Path:
    file = folder / "pco_config.json"
    file.write_text(json.dumps({"cameras": cameras}, indent=1))
    return file


def test_both_cameras_in_the_new_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "convert", str(written(tmp_path, [camera(1), camera(2)]))]) == 0
    new = tmp_path / "pco.yaml"
    new.write_text(capsys.readouterr().out)

    for number in (1, 2):
        config = load(new, f"pco{number}", {})
        assert (config.type, config.source.endpoints) == ("pco", [f"tcp://10.10.1.{number}:8080"])
        assert config.compat is not None
        assert config.compat.ports == {"compat.port": 9900 + number, "compat.writer_port": 9554 + number}
        assert "10.0.0.0/8" in config.compat.allow
        assert config.files.layout == "exchange"


@pytest.mark.parametrize(
    ("cameras", "complaint"),
    [
        ([], "it holds no camera"),
        (["pco1"], "this is no camera"),
        ([camera(1, writer_api_address=None, name=7)], "a camera needs name, writer_api_address"),
        ([camera(1), camera(1)], "'pco1' is the name of another camera"),
        ([camera(1, name="a b")], "'a b'"),
        ([camera(1, connection_address="camera:8080")], "no ZeroMQ address"),
        ([camera(1, flask_api_address="http://host")], "flask_api_address is 'http://host'; it has no port"),
        ([camera(1, writer_api_address="http://host:99999")], "writer_api_address"),
    ],
)
def test_what_is_wrong_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cameras: Any, complaint: str
) -> None:
    assert main(["config", "convert", str(written(tmp_path, cameras))]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert "pco_config.json, line " in said
