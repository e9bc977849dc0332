"""The control port of a simulated detector: commands come as JSON, and each is answered."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

import msgspec

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.sim.commands import Arm, Command, Disarm, GetStatus, Quit, Restart, Trigger
from bluesky_streamdet.sim.detector import SimulatedDetector
from bluesky_streamdet.streaming.requests import Responder

TURN = 0.05
"""Seconds after which the thread looks whether it has to end."""

_COMMANDS = msgspec.json.Decoder(Command)


class ControlPort:
    """Answers at `endpoint` for `detector`, in a thread of its own. `quit` is set once somebody has asked to end it
    all.
    """

    def __init__(self, detector: SimulatedDetector, endpoint: str) -> None:
        self._detector = detector
        self._responder = Responder(endpoint, self._answer)
        self.address = self._responder.address
        self.quit = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control port")
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def __enter__(self) -> ControlPort:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._responder.turn(TURN)
        finally:
            self._responder.close()

    def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            command = _COMMANDS.decode(request)
        except msgspec.MsgspecError as error:
            raise MalformedMessage("no command", str(error)) from error
        match command:
            case Arm():
                return {"series": self._detector.arm(command)}
            case Trigger():
                self._detector.trigger()
            case Disarm():
                self._detector.disarm()
            case Restart():
                self._detector.restart()
            case GetStatus():
                return {"status": msgspec.to_builtins(self._detector.status())}
            case Quit():
                self.quit.set()
        return {}
