"""Where a writer is, by the arguments that scripts give: a URL, an older name of it, or the name of a camera."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import yaml

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.client import DEFAULT_URL

VARIABLE = "STREAMDET_URL"


class Camera(NamedTuple):
    """connection_address: where it sends; None when nobody said."""

    url: str
    connection_address: str | None = None


def camera_of(url: str | None, cam: str, config_file: str | Path, local: bool) -> Camera:
    """url: of the service; where it is None, `STREAMDET_URL` has it, or it is the usual one of this machine.

    cam: of a supervisor with several, or with config_file the name of an entry of `cameras` there, which is the file of
    the old writer's client: `name`, `connection_address`, and `url` or `flask_api_address`. local: the service is the
    usual one of this machine. Raises `ConfigError`.
    """
    found = DEFAULT_URL if local else url or os.environ.get(VARIABLE) or DEFAULT_URL
    if config_file and not cam:
        raise ConfigError(f"Of the cameras in {config_file} none is named.", 'Give cam, such as cam="pco1".')
    if cam and config_file:
        entry = _entry(Path(config_file), cam)
        named = entry.get("url") or entry.get("flask_api_address")
        return Camera(_checked(found if local or named is None else named), entry.get("connection_address"))
    return Camera(_checked(f"{found.rstrip('/')}/cameras/{quote(cam, safe='')}" if cam else found))


def _entry(path: Path, cam: str) -> dict[str, Any]:
    try:
        # JSON is YAML.
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The file of cameras {path} can't be read: {error}.") from error
    cameras = content.get("cameras") if isinstance(content, dict) else None
    if not isinstance(cameras, list) or not all(isinstance(one, dict) for one in cameras):
        raise ConfigError(f"The file {path} has no list of cameras.", "Write cameras: [{name: …, url: …}].")
    entries = {str(one.get("name")): one for one in cameras}
    if cam not in entries:
        raise ConfigError(f"There is no camera {cam!r} in {path}.", f"It has: {', '.join(entries) or 'none'}.")
    return entries[cam]


def _checked(url: Any) -> str:
    if not isinstance(url, str) or urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise ConfigError(f"{url!r} is no URL of a service.", "Write it as http://HOST:PORT.")
    return url
