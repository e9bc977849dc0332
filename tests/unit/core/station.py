"""A receiver with a sink and a clock, and short ways to write what it receives."""

from __future__ import annotations

from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.receiver import Receiver
from bluesky_streamdet.core.series import Limits, Order, Outcome
from tests.unit.core.streams import Message, Sink, frame


class Station:
    """A receiver, what it delivers, and a clock."""

    def __init__(
        self, limits: Limits | None = None, *, unarmed: bool = True, announced: bool = True, shared: bool = False
    ) -> None:
        self.now = 0.0
        self.sink = Sink()
        self.receiver = Receiver(limits or Limits(), self._order, announced=announced, shared=shared)
        self._unarmed = unarmed

    def _order(self, start: SeriesStart | None) -> Order | None:
        return Order(f"unarmed-{len(self.sink.series)}", quiet=30) if self._unarmed else None

    def arm(self, expected: int | None = None, *, open_ended: bool = False, quiet: float | None = None) -> None:
        self.receiver.arm(Order("armed", expected, open_ended, quiet), self.now)

    def receive(self, *messages: Message) -> None:
        self.sink.take(self.receiver.receive(messages, self.now))

    def numbered(self, text: str) -> None:
        """Messages at the positions before the colons, such as "10:h 11:0 12:1 13:e"."""
        self.receive(*(message(*one.split(":")) for one in text.split()))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.sink.take(self.receiver.tick(self.now))

    def stop(self, expected: int | None = None) -> None:
        self.sink.take(self.receiver.stop(self.now, expected))

    @property
    def outcomes(self) -> list[tuple[Outcome, str]]:
        return [series.outcome() for series in self.sink.series if series is not self.sink.open]


COMPLETE = (Outcome.COMPLETE, "")


def message(position: str, what: str) -> Message:
    match what:
        case "h":
            return SeriesStart(None, int(position))
        case "e":
            return SeriesEnd(None, int(position))
        case _:
            return frame(int(what), int(position))


def named(series: str, *numbers: int) -> list[Frame]:
    return [frame(number, number, series) for number in numbers]


def bare(*numbers: int) -> list[Frame]:
    return [frame(number) for number in numbers]
