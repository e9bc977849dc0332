"""Modules on sockets of their own, one of which falls silent: what waits for it is named, and holds nothing up."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import zmq

from bluesky_streamdet.codecs.codec import Encoder
from bluesky_streamdet.codecs.stins import ModuleDecoder, ModuleEncoder
from bluesky_streamdet.core.events import RAW, Event, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.intake import SILENCE, StreamIntake
from tests.wire.streams import Clock, until

FORM = FrameFormat((2, 3), "<u2", RAW, (2, 3))
PIXELS = np.arange(6, dtype="<u2").tobytes()


class Modules:
    """Two modules, and the intake that takes what they send; its clock stands still."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.clock = Clock()
        self._sockets = [context.socket(zmq.PUSH) for _ in range(2)]
        self._encoders: list[Encoder] = [ModuleEncoder(2) for _ in range(2)]
        self._sent = 0
        ports = [one.bind_to_random_port("tcp://127.0.0.1") for one in self._sockets]
        config = SourceConfig(endpoints=[f"tcp://127.0.0.1:{port}" for port in ports], modules=True)
        self.intake = StreamIntake(config, ModuleDecoder, context, self.clock)
        self.events: list[Event] = []
        self.complaints: list[str] = []

    def send(self, module: int, frames: int) -> None:
        encoder = self._encoders[module]
        messages = [encoder.start(SeriesStart())]
        messages += [encoder.frame(Frame(number, None, None, FORM, (PIXELS,), 0)) for number in range(frames)]
        for message in [*messages, encoder.end(SeriesEnd())]:
            self._sockets[module].send_multipart(message)
            self._sent += 1

    def look(self) -> None:
        """At all inputs, once."""
        for lane in range(self.intake.lanes):
            for events, complaint in self.intake.take(lane):
                self.events += events
                if complaint is not None:
                    self.complaints.append(complaint.reason)

    def take(self) -> None:
        """All that was sent."""
        until(lambda: sum(one.messages for one in self.intake.report()) == self._sent, self.look)

    def close(self) -> None:
        self.intake.close()
        for socket in self._sockets:
            socket.close(0)


@pytest.fixture
def modules() -> Iterator[Modules]:
    with zmq.Context() as context:
        made = Modules(context)
        yield made
        made.close()


def test_what_waits_for_a_silent_module_is_given_up(modules: Modules) -> None:
    modules.send(0, 3)
    modules.take()
    assert modules.events == []
    assert modules.intake.patience == SILENCE
    modules.clock.advance(SILENCE / 2)
    modules.look()
    assert (modules.events, modules.intake.patience) == ([], SILENCE / 2)

    modules.clock.advance(SILENCE / 2)
    modules.look()

    assert [type(one) for one in modules.events] == [SeriesStart, SeriesEnd]
    assert modules.complaints == ["module 2 is missing"] * 3
    assert modules.intake.patience == math.inf


def test_what_came_while_nobody_looked_is_no_silence(modules: Modules) -> None:
    """As when the disk was slow, or somebody had the service paused."""
    modules.send(0, 3)
    modules.take()
    modules.clock.advance(10 * SILENCE)
    modules.send(1, 3)
    until(lambda: modules.intake.sockets[1].poll(0), lambda: None)
    modules.look()
    modules.take()

    assert modules.complaints == []
    assert sum(type(one) is Frame for one in modules.events) == 3


def test_a_pause_is_no_silence(modules: Modules) -> None:
    modules.send(0, 3)
    modules.take()
    modules.intake.pause(True)
    modules.clock.advance(10 * SILENCE)
    assert modules.intake.patience == math.inf
    modules.intake.pause(False)
    modules.look()

    assert (modules.complaints, modules.intake.patience) == ([], SILENCE)
