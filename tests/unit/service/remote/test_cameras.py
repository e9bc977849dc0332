from __future__ import annotations

import json
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.client import DEFAULT_URL
from bluesky_streamdet.service.remote.cameras import Camera, camera_of

CAMERAS = [
    {
        "name": "pco1",
        "connection_address": "tcp://10.10.1.26:8080",
        "flask_api_address": "http://daq:9901",
        "writer_api_address": "http://daq:9555",
    },
    {"name": "pco2", "url": "http://daq:8010/cameras/pco2"},
]


@pytest.fixture(autouse=True)
def no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMDET_URL", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pco_config.json"
    path.write_text(json.dumps({"cameras": CAMERAS}))
    return path


def test_where_a_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert camera_of(None, "", "", False) == Camera(DEFAULT_URL)
    monkeypatch.setenv("STREAMDET_URL", "http://daq:8010/")
    assert camera_of(None, "", "", False) == Camera("http://daq:8010/")
    assert camera_of(None, "pco1", "", False) == Camera("http://daq:8010/cameras/pco1")
    assert camera_of("http://other:1", "a/../b", "", False) == Camera("http://other:1/cameras/a%2F..%2Fb")
    assert camera_of("http://other:1", "", "", True) == Camera(DEFAULT_URL)


def test_cameras_by_name(file: Path) -> None:
    assert camera_of(None, "pco1", file, False) == Camera("http://daq:9901", "tcp://10.10.1.26:8080")
    assert camera_of(None, "pco2", file, False) == Camera("http://daq:8010/cameras/pco2")
    assert camera_of(None, "pco1", file, True) == Camera(DEFAULT_URL, "tcp://10.10.1.26:8080")


@pytest.mark.parametrize(
    ("text", "cam", "said"),
    [
        (None, "pco3", "There is no camera 'pco3' in .*It has: pco1, pco2"),
        (None, "", "none is named"),
        ("[", "pco1", "can't be read"),
        ("5", "pco1", "has no list of cameras"),
        ("cameras: [1]", "pco1", "has no list of cameras"),
        ("cameras: [{name: pco1, url: daq}]", "pco1", "'daq' is no URL"),
    ],
)
def test_a_file_that_does_not_say(file: Path, text: str | None, cam: str, said: str) -> None:
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        camera_of(None, cam, file, False)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        camera_of(None, "pco1", tmp_path / "none", False)
