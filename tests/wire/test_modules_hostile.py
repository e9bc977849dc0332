"""Detectors whose modules send each by a socket of its own, when one of them fails: named, counted, survived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.catalog import CODECS, DETECTORS
from bluesky_streamdet.codecs.codec import Encoder, Message
from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.pipeline import Pipeline
from bluesky_streamdet.streaming.report import StatusReporter
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import SeriesReport
from tests.unit.streaming.frames import frame, picture
from tests.wire.simulated import config_of
from tests.wire.streams import balanced, numbers_of, rows_of, until

pytestmark = pytest.mark.wire

SHAPE = (6, 8)
"""Of one module."""


class Modules:
    """The modules of a detector, each with a sender and an encoder of its own, and the pipeline that receives them."""

    def __init__(self, name: str, directory: Path) -> None:
        row = DETECTORS[name]
        self.lanes = range(row.modules)
        self._codec, self._kind = CODECS[row.codec], "pub" if row.socket == "sub" else "push"
        self.senders = [self._sender("tcp://127.0.0.1:0") for _ in self.lanes]
        self.encoders: list[Encoder] = [self._codec.encoder() for _ in self.lanes]
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoints = [one.address for one in self.senders]
        wait = {"gap_seconds": 0.2, "finish_seconds": 0.5, "settle_seconds": 0.1}
        self._seen = 0
        self._reports: list[SeriesReport] = []
        config = config_of(name, endpoints, directory, wait=wait)
        self.pipeline = Pipeline(config, self._context, on_change=self._note)
        self.status = StatusReporter(self.pipeline).status
        self.until(lambda: all(one.has_peer() for one in self.senders), "the connections")

    def _note(self) -> None:
        last = self.pipeline.last
        if last is not None and last.id not in [one.id for one in self._reports]:
            self._reports.append(last)

    def _sender(self, endpoint: str) -> Sender:
        return Sender(endpoint, self._kind, linger=0)  # type: ignore[arg-type]

    def until(self, condition: Callable[[], Any], what: str) -> None:
        until(condition, lambda: self.pipeline.turn(0.01), what)

    def send(self, lane: int, message: Sequence[Buffer]) -> None:
        if message:
            self.until(lambda: self.senders[lane].offer(message), "room for a message")

    def start(self, lanes: Sequence[int] | None = None) -> None:
        for lane in self.lanes if lanes is None else lanes:
            whole = [len(self.lanes) * SHAPE[0], SHAPE[1]]
            metadata = {"x": 0, "y": lane * SHAPE[0], "rotation": 0, "full_shape": whole}
            self.send(lane, self.encoders[lane].start(SeriesStart(metadata=metadata)))

    def part(self, lane: int, number: int, **way: Any) -> Message:
        return self.encoders[lane].frame(part(lane, number, **way))

    def frames(self, numbers: Sequence[int], without: dict[int, Sequence[int]] | None = None) -> None:
        """The parts of all modules; those that `without` has for a lane are lost on the way."""
        for number in numbers:
            for lane in self.lanes:
                message = self.part(lane, number)
                if number not in (without or {}).get(lane, ()):
                    self.send(lane, message)

    def end(self, lanes: Sequence[int] | None = None) -> None:
        for lane in self.lanes if lanes is None else lanes:
            self.send(lane, self.encoders[lane].end(SeriesEnd()))

    def restart(self, lane: int) -> None:
        """A module's sender ends, and begins anew where it was, counting from 0."""
        address = self.senders[lane].address
        self.senders[lane].close()
        self.until(lambda: not self.status().sources[lane].connected, "the end of the connection")
        self.senders[lane], self.encoders[lane] = self._sender(address), self._codec.encoder()
        self.until(self.senders[lane].has_peer, "the connection")

    def report(self) -> SeriesReport:
        """Of the next series that ends, or has ended."""
        self.until(lambda: len(self._reports) > self._seen, "the end of the series")
        report = self._reports[self._seen]
        self._seen += 1
        assert balanced(report.ledger)
        return report

    def works(self) -> None:
        """The next series is whole."""
        self.start()
        self.frames(range(4))
        self.end()
        report = self.report()
        assert (report.outcome, report.reason) == (Outcome.COMPLETE, "")
        self.holds(report, range(4))

    def holds(self, report: SeriesReport, numbers: Sequence[int]) -> None:
        assert numbers_of(report) == list(numbers)
        np.testing.assert_array_equal(rows_of(report), np.stack([self.whole(number) for number in numbers]))

    def whole(self, number: int) -> NDArray[Any]:
        return np.stack([picture(10 * number + lane, SHAPE) for lane in self.lanes])

    def close(self) -> None:
        for one in self.senders:
            one.close()
        self.pipeline.close()
        self._context.term()


def part(lane: int, number: int, shape: tuple[int, int] = SHAPE, dtype: str = "<u2") -> Frame:
    return msgspec.structs.replace(frame(10 * number + lane, shape, dtype), number=number)


@pytest.fixture(params=["lambda", "psi-eiger"])
def modules(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Modules]:
    made = Modules(request.param, tmp_path)
    yield made
    made.close()


def test_parts_that_are_lost_are_named_and_counted(modules: Modules) -> None:
    last = modules.lanes[-1]
    modules.start()
    modules.frames(range(10), {last: [3, 4], 0: [7]})
    modules.end()

    report = modules.report()
    assert report.ledger.malformed == {f"module {last + 1} is missing": 2, "module 1 is missing": 1}
    assert report.outcome is Outcome.INCOMPLETE
    modules.holds(report, [0, 1, 2, 5, 6, 8, 9])
    modules.works()


def test_a_silent_module_shows_in_the_status(modules: Modules) -> None:
    """It sends nothing at all, and comes back for the next series."""
    silent = modules.lanes[-1]
    others = modules.lanes[:-1]
    modules.pipeline.arm(ArmRequest(expected_frames=6))
    modules.start(others)
    for number in range(6):
        for lane in others:
            modules.send(lane, modules.part(lane, number))
        modules.part(silent, number)
    modules.until(lambda: modules.status().sources[silent].owed >= 6, "parts that wait")
    sources = modules.status().sources
    assert [one.owed for one in sources[:-1]] == [0 for _ in others]
    assert sources[silent].messages == 0 < sources[0].messages
    assert sources[silent].endpoint == modules.senders[silent].address

    modules.until(lambda: not modules.status().sources[silent].owed, "that it is given up")
    modules.pipeline.stop()
    report = modules.report()
    # Where no header announces a series, it begins with its first whole frame.
    between = modules.status().between.malformed
    assert (report.ledger.malformed or between) == {f"module {silent + 1} is missing": 6}
    assert report.ledger.written == 0
    assert modules.pipeline.state is State.IDLE


@pytest.mark.parametrize("restarted", [0, -1])
def test_a_module_that_is_started_anew_between_series(modules: Modules, restarted: int) -> None:
    modules.works()
    modules.restart(modules.lanes[restarted])
    modules.works()


@pytest.mark.parametrize("restarted", [0, -1])
def test_a_module_that_is_started_anew_in_a_series(modules: Modules, restarted: int) -> None:
    lane = modules.lanes[restarted]
    modules.start()
    modules.frames(range(4))
    modules.until(lambda: modules.pipeline.frames == 4, "4 frames")
    modules.restart(lane)
    for number in range(4, 8):
        for other in modules.lanes:
            if other != lane:
                modules.send(other, modules.part(other, number))
    modules.end([other for other in modules.lanes if other != lane])
    modules.start()
    modules.frames(range(3))
    modules.end()

    first = modules.report()
    modules.holds(first, range(4))
    assert first.outcome is Outcome.INCOMPLETE
    assert sum(count for why, count in first.ledger.malformed.items() if "module" in why) == 4
    modules.holds(modules.report(), range(3))
    modules.works()


@pytest.mark.parametrize(
    "way", [{"shape": (8, 6)}, {"dtype": "<u4"}, {"shape": (2, 2), "dtype": "|u1"}], ids=["shape", "type", "both"]
)
def test_a_module_that_disagrees(modules: Modules, way: dict[str, Any]) -> None:
    odd = modules.lanes[-1]
    modules.start()
    for number in range(6):
        for lane in modules.lanes:
            modules.send(lane, modules.part(lane, number, **(way if lane == odd and number in (2, 4) else {})))
    modules.end()

    report = modules.report()
    assert report.ledger.malformed == {"modules disagree": 2}
    modules.holds(report, [0, 1, 3, 5])
    modules.works()


GARBAGE = [
    [b""],
    [b"{"],
    [b"null"],
    [b"\xff" * 100],
    [b'{"htype": "image"}', b"x"],
    [b"[" * 100_000],
]


def test_garbage_of_one_module_costs_no_frame(modules: Modules) -> None:
    modules.start()
    modules.frames([0])
    modules.until(lambda: modules.pipeline.frames, "a frame")
    for number, garbage in enumerate(GARBAGE, start=1):
        modules.send(modules.lanes[0], garbage)
        modules.frames([number])
    modules.end()

    report = modules.report()
    modules.holds(report, range(len(GARBAGE) + 1))
    assert sum(report.ledger.malformed.values()) == len(GARBAGE)
    modules.works()


def test_one_module_that_is_far_ahead(modules: Modules) -> None:
    """Its parts wait, and nothing is lost."""
    modules.start()
    first, *others = modules.lanes
    for number in range(200):
        modules.send(first, modules.part(first, number))
    modules.until(lambda: modules.status().sources[others[0]].owed >= 200, "parts that wait")
    for lane in others:
        for number in range(200):
            modules.send(lane, modules.part(lane, number))
    modules.end()

    report = modules.report()
    assert report.outcome is Outcome.COMPLETE
    modules.holds(report, range(200))


def test_an_end_of_one_module_only(modules: Modules) -> None:
    """The others lost theirs: the series ends all the same."""
    modules.start()
    modules.frames(range(5))
    modules.end(modules.lanes[:1])

    modules.holds(modules.report(), range(5))
