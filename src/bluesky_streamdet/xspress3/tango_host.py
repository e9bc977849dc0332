"""Where the Tango device gets its service from: one that runs, or a process of its own that outlives Tango's Init."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from bluesky_streamdet.core.errors import ConfigError, ServiceUnreachable, StreamdetError
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import ServedDetector
from bluesky_streamdet.xspress3.config import for_system

CONFIG_PATH = "/home/xspress3/settings"
"""Where the calibration lies on the vendor's computers."""
TIMEOUT = 2.0
"""Seconds for a request; less than a Tango client's own 3."""


class Host(Protocol):
    """Has a service, as long as it is not closed."""

    def connect(self) -> ServiceClient: ...
    def close(self) -> None: ...


class GivenService:
    """A service that somebody else has started."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> ServiceClient:
        """A client, whether the service answers or not."""
        return ServiceClient(self.url, timeout=TIMEOUT)

    def close(self) -> None:
        """Leave the service alone."""


class OwnService:
    """A service in a process of its own, which is started when it is first needed, and again when it has died."""

    def __init__(self, config: ServedDetector) -> None:
        self.config = config
        self._process: ServiceProcess | None = None
        self._lock = threading.Lock()

    def connect(self) -> ServiceClient:
        """A client of the service; starts it if it does not answer. Raises what that meets, such as `AddressTaken`."""
        with self._lock:
            if self._process is not None:
                client = ServiceClient(self._process.url, self._process.api_key, TIMEOUT)
                if _answers(client):
                    return client
                client.close()
                self._end()
            process = ServiceProcess(self.config)
            try:
                process.start()
            except StreamdetError:
                process.close()
                raise
            self._process = process
            return ServiceClient(process.url, process.api_key, TIMEOUT)

    def close(self) -> None:
        """End the process; what is on its way is written first."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()


def _answers(client: ServiceClient) -> bool:
    try:
        client.status()
    except ServiceUnreachable:
        return False
    return True


class Hosts:
    """The services of the devices of one server, by the devices' names. They outlive Init, which Tango carries out as
    the end of a device and a new beginning.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, tuple[object, Host]] = {}
        self._lock = threading.Lock()

    def get(self, device: str, wanted: str | ServedDetector) -> Host:
        """The service of a device: at a URL, or one with this configuration. One of another kind is ended."""
        with self._lock:
            known, host = self._hosts.get(device, (None, None))
            if host is not None and known == wanted:
                return host
            if host is not None:
                host.close()
            host = GivenService(wanted) if isinstance(wanted, str) else OwnService(wanted)
            self._hosts[device] = wanted, host
            return host

    def close(self) -> None:
        """End all."""
        with self._lock:
            hosts, self._hosts = self._hosts, {}
        for _, host in hosts.values():
            host.close()


HOSTS = Hosts()


def wanted_service(properties: Mapping[str, Any]) -> str | ServedDetector:
    """The service that a device's properties ask for: a URL, or the configuration of one of its own.

    Raises `ConfigError`.
    """
    if properties["ServiceUrl"]:
        return str(properties["ServiceUrl"])
    simulate = _simulation(properties["Simulate"])
    # A simulated detector needs no calibration, and the usual place is there with a real one only.
    settings = properties["ConfigPath"] if simulate is None or properties["ConfigPath"] != CONFIG_PATH else ""
    system = {
        "library": properties["LibraryPath"] or None,
        "name": properties["Name"] or None,
        "settings": settings or None,
        "address": properties["BaseIP"] or None,
        "port": properties["BasePort"],
        "mac": properties["BaseMAC"] or None,
        "cards": properties["Cards"],
        "max_frames": properties["MaxFrames"],
        "event_widths": [int(one) for one in properties["EventWidths"]],
        "simulate": simulate,
    }
    place = f"tcp://{properties['StreamInterface']}"
    outputs = [
        {"name": name, "kind": kind, "address": f"{place}:{properties[port]}", "encoder": "xspress3"}
        for name, kind, port in (("data", "push", "StreamerPort"), ("public", "pub", "PublicPort"))
    ]
    files = {"directory": properties["DataDirectory"]} if properties["DataDirectory"] else {}
    return for_system(
        {
            "system": system,
            "outputs": outputs,
            "monitor": f"{place}:{properties['MonitorPort']}",
            "files": files,
            "rest": {"port": 0},
        }
    )


def _simulation(text: str) -> dict[str, Any] | None:
    if not text or text.lower() == "false":
        return None
    if text.lower() == "true":
        return {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"The property Simulate is {text[:60]!r}, which is no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"The property Simulate is {text[:60]!r}.", 'Write true, or an object such as {"channels": 4}.'
        )
    return values


def value_of(name: str, text: str, defaults: Mapping[str, Any]) -> Any:
    """A property from the command line, of the type that its default has. Raises `ConfigError`."""
    if name not in defaults:
        raise ConfigError(f"The Tango device has no property {name!r}.", f"It has {', '.join(defaults)}.")
    default = defaults[name]
    if isinstance(default, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if type(value) is not type(default):
        raise ConfigError(f"The property {name} is {text[:60]!r}.", f"Write it like {json.dumps(default)}.")
    return value
