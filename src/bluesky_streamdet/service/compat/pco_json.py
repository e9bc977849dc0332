"""The cameras of the PCO's old supervisor and client, which both read one file of them.

    {"cameras": [{"name": "pco1", "connection_address": "tcp://10.10.1.26:8080", "ioc_name": "X02DA-CCDCAM1",
                  "flask_api_address": "http://xbl-daq-34:9901", "writer_api_address": "http://xbl-daq-34:9555"}]}

The old program listened to everybody; here its paths are open to this machine and to private networks. Where files may
go it did not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.compat.config import LOOPBACK, PRIVATE
from bluesky_streamdet.service.compat.repeater_json import NAME
from bluesky_streamdet.streaming.endpoints import checked_address
from bluesky_streamdet.streaming.wording import Place

CAMERAS = "cameras"
KEYS = ("name", "connection_address", "flask_api_address", "writer_api_address")
REST_PORT = 8010


def is_old(values: Any) -> bool:
    """Whether a whole file is of the old form."""
    return isinstance(values, Mapping) and isinstance(values.get(CAMERAS), list)


def convert(values: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Each camera by its name, in the new form. Raises `ConfigError`, which names every line that is wrong.

    place: where the value at a path of the old file stands.
    """
    faults: list[str] = []
    cameras: dict[str, Any] = {}
    for number, camera in enumerate(values[CAMERAS]):
        wrong = _faults_of(camera, cameras)
        faults += [f"{place((CAMERAS, number))}: {one}." for one in wrong]
        if not wrong:
            cameras[camera["name"]] = _new(camera, REST_PORT + number)
    if not (cameras or faults):
        faults.append(f"{place((CAMERAS,))}: it holds no camera.")
    if faults:
        raise ConfigError("\n".join(faults))
    return cameras


def _faults_of(camera: Any, before: Mapping[str, Any]) -> list[str]:
    if not isinstance(camera, Mapping):
        return ["this is no camera; write its settings between braces"]
    if missing := [key for key in KEYS if not isinstance(camera.get(key), str)]:
        return [f"a camera needs {', '.join(missing)}, each a text"]
    faults = []
    if camera["name"] in before or not NAME.fullmatch(camera["name"]):
        faults.append(f"{camera['name']!r} is the name of another camera, or none")
    try:
        checked_address(camera["connection_address"])
    except ValueError as error:
        faults.append(str(error))
    return faults + [f"{key} is {camera[key]!r}; it has no port" for key in KEYS[2:] if _port(camera[key]) is None]


def _new(camera: Mapping[str, str], rest_port: int) -> dict[str, Any]:
    return {
        "type": "pco",
        "source": {"endpoints": [camera["connection_address"]]},
        "files": {"directory": "data"},
        "rest": {"port": rest_port},
        "compat": {
            "dialect": "pco-supervisor",
            "host": "0.0.0.0",  # noqa: S104, as it was; compat.allow says who is let in
            "port": _port(camera["flask_api_address"]),
            "writer_port": _port(camera["writer_api_address"]),
            "allow": [*LOOPBACK, *PRIVATE],
        },
    }


def _port(address: str) -> int | None:
    try:
        return urlsplit(address).port or None
    except ValueError:
        return None
