"""A control unit as SIMPLON has it, on a port of this machine, and a service that hears what it streams.

It does what simulators don't: it has limits and checks them, refuses, is switched off and on, answers late or never.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, SourceReport, Status
from tests.scripted import SHAPE, ScriptedSeries, ScriptedService

VERSION = "1.8.0"
PARAMETERS: dict[str, dict[str, Any]] = {
    "detector/config/count_time": {"value": 1.0, "unit": "s", "min": 1e-6, "max": 1800.0},
    "detector/config/frame_time": {"value": 1.0, "unit": "s", "min": 2e-6, "max": 1800.0},
    "detector/config/detector_readout_time": {"value": 0.001, "unit": "s"},
    "detector/config/nimages": {"value": 1, "min": 1, "max": 1_000_000},
    "detector/config/ntrigger": {"value": 1, "min": 1, "max": 50_000},
    "detector/config/trigger_mode": {"value": "exts", "allowed_values": ["ints", "inte", "exts", "exte"]},
    "detector/config/photon_energy": {"value": 8000.0, "unit": "eV", "min": 4000.0, "max": 40_000.0},
    "detector/config/threshold_energy": {"value": 4000.0, "unit": "eV"},
    "detector/config/threshold/1/mode": {"value": "enabled", "allowed_values": ["enabled", "disabled"]},
    "detector/config/threshold/2/mode": {"value": "enabled", "allowed_values": ["enabled", "disabled"]},
    "detector/config/threshold/2/energy": {"value": 16_000.0, "unit": "eV"},
    "detector/config/roi_mode": {"value": "disabled", "allowed_values": ["disabled", "4M"]},
    "detector/config/compression": {"value": "bslz4", "allowed_values": ["lz4", "bslz4", "none"]},
    "detector/config/description": {"value": "Stand-in of an EIGER2"},
    "detector/config/detector_number": {"value": "E-01"},
    "detector/config/x_pixels_in_detector": {"value": SHAPE[1]},
    "detector/config/y_pixels_in_detector": {"value": SHAPE[0]},
    "detector/config/bit_depth_image": {"value": 16},
    "detector/status/state": {"value": "idle"},
    "detector/status/error": {"value": []},
    "detector/status/board_000/th0_temp": {"value": 21.5, "unit": "degC"},
    "detector/status/high_voltage/state": {"value": "READY"},
    "stream/config/mode": {"value": "disabled", "allowed_values": ["enabled", "disabled"]},
    "stream/config/format": {"value": "cbor", "allowed_values": ["legacy", "cbor"]},
    "stream/config/header_detail": {"value": "all", "allowed_values": ["none", "basic", "all"]},
    "stream/config/header_appendix": {"value": ""},
}


class StandIn:
    """parameters: as they are now. commands: that it was told, in order. written: names of parameters, likewise.

    answers: other answers than the usual to a path behind the version: a status with a text, or a function that gives
    one. forgetful: a trigger that is aborted is never answered. on_arm: called with the number of each series.
    on_trigger: called with the frames of each trigger, and the trigger is answered after it.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.parameters = {name: {**one} for name, one in PARAMETERS.items()}
        self.version: str | None = VERSION
        self.commands: list[str] = []
        self.written: list[str] = []
        self.arguments: list[Any] = []
        self.answers: dict[str, Any] = {}
        self.forgetful = False
        self.on_arm: Callable[[int], object] = lambda number: None
        self.on_trigger: Callable[[int], object] = lambda frames: None
        self.series = 0
        self.left = 0
        self.aborted = threading.Event()
        self.closing = threading.Event()
        self._address = (host, port)
        self._server: Any = None
        self.switch_on("idle")

    @property
    def url(self) -> str:
        host, port = self._address
        return f"http://{host}:{port}"

    def value(self, name: str) -> Any:
        return self.parameters[name]["value"]

    @property
    def state(self) -> str:
        return str(self.value("detector/status/state"))

    @state.setter
    def state(self, state: str) -> None:
        self.parameters["detector/status/state"]["value"] = state

    def switch_on(self, state: str = "na") -> None:
        self.closing.clear()
        self.state = state
        self._server = _Server(self._address, _Handler)
        self._server.unit = self
        self._address = self._server.server_address
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="stand-in").start()

    def switch_off(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/detector/api/version" and self.version is not None:
            return 200, {"value": self.version, "value_type": "string"}
        module, _, rest = path.removeprefix("/").partition("/")
        version, _, name = rest.removeprefix("api/").partition("/")
        if version != (self.version or VERSION):
            return 404, "no such version"
        name = f"{module}/{name}"
        if name in self.answers:
            answer = self.answers[name]
            return cast("tuple[int, Any]", answer() if callable(answer) else answer)
        if name.startswith("detector/command/") and method == "PUT":
            return self._command(name.rpartition("/")[2], body)
        if name not in self.parameters:
            return 404, f"unknown path: {name}"
        if method == "PUT":
            self.parameters[name]["value"] = body["value"]
            self.written.append(name)
            return 200, [name]
        return 200, self.parameters[name]

    def _command(self, command: str, body: Any) -> tuple[int, Any]:
        self.commands.append(command)
        self.arguments.append(None if body is None else body["value"])
        match command:
            case "arm":
                self.series += 1
                self.state, self.left = "ready", self.value("detector/config/ntrigger")
                self.aborted.clear()
                self.on_arm(self.series)
                return 200, {"sequence id": self.series}
            case "trigger":
                return self._trigger()
            case "abort" | "disarm":
                self.state = "idle"
                self.aborted.set()
            case "initialize":
                self.state = "idle"
        return 200, {"sequence id": self.series}

    def _trigger(self) -> tuple[int, Any]:
        self.state = "acquire"
        self.left -= 1
        self.on_trigger(self.value("detector/config/nimages"))
        if self.aborted.is_set() and self.forgetful:
            self.closing.wait()
        if self.state == "acquire":
            self.state = "ready" if self.left else "idle"
        return 200, {"sequence id": self.series}

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.closing.is_set():
            self.switch_off()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    unit: StandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked may have gone."""


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        server: Any = self.server
        status, said = server.unit.answer(self.command, self.path, body)
        content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = _answer  # noqa: N815, the base class looks for these names

    def log_message(self, format: str, *args: object) -> None:
        pass


class StreamedService(ScriptedService):
    """A service that the stand-in streams to: headers begin its series, triggers give frames.

    deaf: the header gets lost. hold: frames of a trigger come when the test gives them; the trigger lasts till then.
    """

    def __init__(self, directory: Path, unit: StandIn) -> None:
        super().__init__(directory)
        self.deaf = False
        self.hold = False
        self.connected = 1
        self.triggered = threading.Event()
        self._unit = unit
        unit.on_arm = self.header
        unit.on_trigger = self.frames

    def header(self, number: int | str) -> None:
        if self.current is not None and not self.deaf:
            assert isinstance(self.current, StreamedSeries)
            self.current.name = str(number)
            self.push()

    def frames(self, frames: int) -> None:
        self.triggered.set()
        if self.hold:
            self._unit.aborted.wait(20)
        else:
            self.give(frames)

    def status(self) -> Status:
        source = SourceReport(endpoint="tcp://eiger:9999", connected=self.connected)
        return super().status().model_copy(update={"sources": [source]})

    def arm_series(self, request: ArmRequest) -> SeriesReport:
        super().arm_series(request)
        assert self.current is not None
        self.current = StreamedSeries(self, request, self.current.id)
        self.push()
        return self.current.report()


class StreamedSeries(ScriptedSeries):
    """name: what the header called it; empty before it has come."""

    def __init__(self, service: ScriptedService, request: ArmRequest, id: str) -> None:
        super().__init__(service, request)
        self.id = id
        self.name = ""

    def report(self, *args: Any, **kwargs: Any) -> SeriesReport:
        told = {"stream_series": self.name, "started_at": datetime.now(UTC)} if self.name else {}
        return super().report(*args, **kwargs).model_copy(update=told)
