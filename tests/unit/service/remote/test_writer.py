"""What a `RemoteWriter` is made of; nothing here reaches a service."""

from __future__ import annotations

from typing import Any

import pytest

from bluesky_streamdet import RemoteWriter
from bluesky_streamdet.core.errors import ConfigError, PathRefused, ServiceUnreachable
from bluesky_streamdet.service.client import DEFAULT_URL
from bluesky_streamdet.service.remote.settings import WriterSettings
from bluesky_streamdet.service.remote.state import WriterStatus

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMDET_URL", raising=False)


def test_arguments_stand_in_the_order_of_the_old_client() -> None:
    arguments = ("scan.h5", "data", 10, "tcp://camera:8080", NOBODY, "http://daq:9555", 503, 20000, "", "", False)
    with RemoteWriter(*arguments) as writer:
        assert writer.client.url == NOBODY
        assert writer.get_configuration() == WriterSettings(
            output_file="scan.h5",
            dataset_name="data",
            n_frames=10,
            connection_address="tcp://camera:8080",
            user_id=503,
            max_frames_per_file=20000,
        )
        changed = writer.configure("other.h5", "data_white", 5, "tcp://camera:8081", 504, 100, True)
        assert dict(changed) == {
            "output_file": "other.h5",
            "dataset_name": "data_white",
            "n_frames": 5,
            "connection_address": "tcp://camera:8081",
            "user_id": 504,
            "max_frames_per_file": 100,
            "layout": None,
            "parameters": {},
        }


def test_without_arguments() -> None:
    with RemoteWriter() as writer:
        assert repr(writer) == f"RemoteWriter(url='{DEFAULT_URL}', output_file='')"
        assert not writer.validate_configuration()
        writer.configure(n_frames=3)
        assert not writer.validate_configuration()
    with RemoteWriter(url=NOBODY, flask_api_address="http://old:9901", cam="pco1") as writer:
        assert writer.client.url == f"{NOBODY}/cameras/pco1"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"output_file": "../scan.h5"}, PathRefused),
        ({"n_frames": "10"}, ConfigError),
        ({"connection_address": "camera"}, ConfigError),
        ({"url": "daq:8010"}, ConfigError),
        ({"parameters": {"x": {"value": 1, "units": 5}}, "output_file": "scan.h5"}, ConfigError),
    ],
)
def test_what_can_not_be_is_refused_at_once(arguments: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        RemoteWriter(**arguments)


def test_nobody_there() -> None:
    with RemoteWriter("scan.h5", url=NOBODY) as writer:
        assert writer.get_status(verbose=True) is WriterStatus.UNKNOWN
        assert not writer.is_connected()
        with pytest.raises(ConfigError, match="no output file"):
            RemoteWriter(url=NOBODY).start()
        with pytest.raises(ServiceUnreachable):
            writer.start()
        assert writer.series is None
