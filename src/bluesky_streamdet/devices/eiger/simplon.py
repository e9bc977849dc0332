"""Talks to a detector's control unit by SIMPLON, DECTRIS' REST interface.

    PUT /detector/api/1.8.0/config/count_time   {"value": 0.1}     names of parameters that changed
    GET /detector/api/1.8.0/status/state        {"value": "idle", "value_type": "string", "allowed_values": […], …}
    PUT /detector/api/1.8.0/command/arm         {"sequence id": 7}, the number of the series in the stream

What can go wrong:

    DetectorUnreachable   nobody answers at that address, or the connection broke
    DeadlineExceeded      it is connected, and does not answer in time
    UnknownParameter      it has no such parameter or command
    RequestRefused        it refuses; its own words are in the message
    HardwareFailed        it reports an error of its own, or answers what is no SIMPLON

Each request is a connection of its own, so that a detector that was switched off and on, or that has another address
by now, is found again. Source: DECTRIS, "SIMPLON API Reference".
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bluesky_streamdet.core.errors import (
    LONGEST_DETAIL,
    ConfigError,
    DeadlineExceeded,
    HardwareFailed,
    RequestRefused,
    StreamdetError,
)
from bluesky_streamdet.devices.eiger.request import Request

CONNECTING = 5.0
"""Seconds that a connection may take."""
ANSWERING = 10.0
"""Seconds that an answer may take, of requests that do nothing that takes its time."""
SETTING = 60.0
"""Seconds that a parameter may take; flat fields are computed anew for another energy."""
VERSIONS = ("1.8.0", "1.6.0")
"""Of the interface, to be tried where the detector does not say which it has."""
EQUAL = 1e-6
"""Two numbers that differ by less, of themselves, are the same setting."""


class DetectorUnreachable(HardwareFailed):
    """Nobody answers at the detector's address."""


class UnknownParameter(ConfigError):
    """The detector has no such parameter or command."""


class Parameter(NamedTuple):
    """A value with what the detector says of it; what it does not say is None."""

    value: Any
    unit: str | None = None
    min: Any = None
    max: Any = None
    allowed: list[Any] | None = None

    def check(self, name: str, value: Any) -> None:
        """Raises `ConfigError` for a value that the parameter can't have."""
        if self.allowed and value not in self.allowed:
            raise ConfigError(f"{name} can't be {value!r}.", f"It may be {', '.join(map(str, self.allowed))}.")
        low, high = self.min, self.max
        if (low is not None and value < low) or (high is not None and value > high):
            unit = f" {self.unit}" if self.unit else ""
            raise ConfigError(f"{name} can't be {value!r}.", f"It may be from {low} to {high}{unit}.")

    def is_set_to(self, value: Any) -> bool:
        if isinstance(value, float) and isinstance(self.value, int | float):
            return math.isclose(value, self.value, rel_tol=EQUAL)
        return bool(self.value == value)


class Simplon:
    """url: of the control unit, as "http://eiger" or "http://172.16.0.5:8080". Thread-safe; holds no connection.

    Parameters are named as in "detector/config/count_time". Every method raises `DetectorUnreachable`,
    `DeadlineExceeded` and `HardwareFailed` besides what it says. Raises `ConfigError` for another kind of address.
    """

    def __init__(self, url: str) -> None:
        wrong = ConfigError(f"{url!r} is no address of a detector.", "Write it as http://HOST or http://HOST:PORT.")
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port or 80
        except ValueError as error:
            raise wrong from error
        if parts.scheme != "http" or not parts.hostname:
            raise wrong
        self.url = f"http://{parts.netloc}"
        self._host, self._port = parts.hostname, port
        self._version = ""

    def parameter(self, name: str) -> Parameter:
        """A parameter as it is now. Raises `UnknownParameter`."""
        said = self._ask("GET", name)
        if not isinstance(said, dict) or "value" not in said:
            raise self._strange(name, said)
        return Parameter(said["value"], said.get("unit"), said.get("min"), said.get("max"), said.get("allowed_values"))

    def state(self) -> str:
        """Of the detector: "na" before it is initialized, "idle", "ready" when armed, "acquire", "error" and others."""
        try:
            return str(self.value("detector/status/state"))
        except UnknownParameter:
            # It has been switched off meanwhile, and has other firmware now.
            self._version = ""
            return str(self.value("detector/status/state"))

    def value(self, name: str) -> Any:
        """The value of a parameter. Raises `UnknownParameter`."""
        return self.parameter(name).value

    def set(self, name: str, value: Any) -> bool:
        """Set a parameter, if it is not set so; whether it had to be.

        Raises `UnknownParameter`, `ConfigError` for what the parameter can't be, and `RequestRefused`.
        """
        now = self.parameter(name)
        if now.is_set_to(value):
            return False
        now.check(f"{name} of the detector at {self.url}", value)
        self._ask("PUT", name, {"value": value}, SETTING)
        return True

    def command(self, name: str, timeout: float = ANSWERING) -> int | None:
        """Have the detector do something, and wait until it has, at most `timeout` seconds.

        Returns the number of the series, where the answer has one. Raises `UnknownParameter` and `RequestRefused`.
        """
        said = self._ask("PUT", f"detector/command/{name}", timeout=timeout)
        number = said.get("sequence id", said.get("series id")) if isinstance(said, dict) else None
        return number if isinstance(number, int) else None

    def begin(
        self, name: str, value: Any, timeout: float, on_error: Callable[[StreamdetError], None]
    ) -> PendingCommand:
        """Have the detector do something that may take as long as `timeout` seconds, and do not wait.

        value: goes with the command, unless it is None.
        """
        path = f"/detector/api/{self.version}/command/{name}"
        body = None if value is None else {"value": value}
        request = self._request()
        answered = partial(self._exchange, "PUT", path, body, timeout, request)
        return PendingCommand(f"{name} of {self.url}", answered, request, on_error)

    @property
    def version(self) -> str:
        """Of the interface. The detector is asked once, and anew when it was not there."""
        if not self._version:
            self._version = self._find_version()
        return self._version

    def _find_version(self) -> str:
        try:
            said = self._exchange("GET", "/detector/api/version", None, ANSWERING)
        except UnknownParameter:
            return self._tried_version()
        version = said.get("value") if isinstance(said, dict) else said
        if not isinstance(version, str):
            raise self._strange("detector/api/version", said)
        return version

    def _tried_version(self) -> str:
        for version in VERSIONS:
            try:
                self._exchange("GET", f"/detector/api/{version}/status/state", None, ANSWERING)
            except UnknownParameter:
                continue
            return version
        raise HardwareFailed(
            f"{self.url} answers, but not as a detector's control unit does.", "Is it the address of the detector?"
        )

    def _ask(self, method: str, name: str, body: Any = None, timeout: float = ANSWERING) -> Any:
        module, _, rest = name.partition("/")
        try:
            return self._exchange(method, f"/{module}/api/{self.version}/{rest}", body, timeout)
        except DetectorUnreachable:
            self._version = ""
            raise

    def _exchange(self, method: str, path: str, body: Any, timeout: float, request: Request | None = None) -> Any:
        request = request or self._request()
        try:
            request.connect()
        except OSError as error:
            raise self._unreachable(str(error)) from error
        try:
            status, content = request.exchange(method, path, body, timeout)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The detector at {self.url} did not answer {method} {path} within {timeout:g} s.",
                "Look at its web page, or at its control unit.",
            ) from error
        except (OSError, HTTPException) as error:
            why = f"the connection broke in {method} {path} ({error or type(error).__name__})"
            raise self._unreachable(why) from error
        return self._understood(f"{method} {path}", status, content)

    def _request(self) -> Request:
        return Request(HTTPConnection(self._host, self._port, timeout=CONNECTING))

    def _understood(self, what: str, status: int, content: bytes) -> Any:
        text = content.decode(errors="replace").strip()
        if 200 <= status < 300:
            try:
                return json.loads(text) if text else None
            except ValueError as error:
                raise self._strange(what, text) from error
        said = f": {text[:LONGEST_DETAIL]}" if text else ""
        if status == 404:
            raise UnknownParameter(
                f"The detector at {self.url} does not know {what}{said}.", "Other models and firmware may have it."
            )
        if status < 500:
            raise RequestRefused(f"The detector at {self.url} refused {what} with status {status}{said}.")
        raise HardwareFailed(
            f"The detector at {self.url} answered {what} with status {status}{said}.",
            "Look at its web page; initializing it may help.",
        )

    def _strange(self, what: str, said: Any) -> HardwareFailed:
        return HardwareFailed(
            f"{self.url} answered {what} with {str(said)[:LONGEST_DETAIL]!r}, which is no SIMPLON.",
            "Is it the address of the detector's control unit?",
        )

    def _unreachable(self, why: str) -> DetectorUnreachable:
        return DetectorUnreachable(
            f"The detector at {self.url} can't be reached: {why}.", "Is it switched on, and is that its address?"
        )

    def __repr__(self) -> str:
        return f"Simplon({self.url!r})"


class PendingCommand:
    """A command that takes its time, waited for in a thread of its own.

    answered: waits for the answer to `request`. on_error: called in that thread with what went wrong, unless the
    command was given up.
    """

    def __init__(
        self,
        name: str,
        answered: Callable[[], object],
        request: Request,
        on_error: Callable[[StreamdetError], None],
    ) -> None:
        self._request = request
        self._done = threading.Event()

        def work() -> None:
            try:
                answered()
            except StreamdetError as error:
                if not request.given_up:
                    on_error(error)
            finally:
                self._done.set()

        self._thread = threading.Thread(target=work, name=name, daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait until it is answered, or has failed. False when it was not within `timeout` seconds."""
        return self._done.wait(timeout)

    def give_up(self) -> None:
        """Wait for the answer no more; nothing is heard of it after that."""
        self._request.give_up()
        self._thread.join()
