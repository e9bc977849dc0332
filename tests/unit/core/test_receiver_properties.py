"""Whatever a network, a detector and its users do: nothing is lost without a count, and the next series works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.receiver import Receiver
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Limits, Order, Outcome
from tests.unit.core.streams import Kind, Message, Sender, Sink, frame

QUIET = 30.0
LIMITS = [Limits(), Limits(gap_bytes=2000), Limits(gap_seconds=0, finish_seconds=0, settle_seconds=0)]

repeatable = settings(max_examples=200, derandomize=True)
"""A run of the tests is no lottery. To look for more, raise the number and drop the second."""

Step = Message | tuple[Any, ...]
"""A message, or what somebody does: ("arm", expected), ("stop", expected), ("abort",), ("wait", s), ("malformed",)."""

DEEDS = st.one_of(
    st.tuples(st.just("arm"), st.none() | st.integers(0, 6), st.booleans()),
    st.tuples(st.just("stop"), st.none() | st.integers(0, 6)),
    st.tuples(st.just("abort")),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.3, 1.5, 5.0, QUIET + 1])),
    st.tuples(st.just("malformed")),
)


@st.composite
def broadcasts(draw: st.DrawFn, kind: Kind) -> list[Message]:
    """What a detector sends: some series, with several passes, without an end, and from a sender that starts anew."""
    messages: list[Message] = []
    sender = Sender(kind)
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 4)) == 0:
            sender = Sender(kind)
        passes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=2 if kind is not Kind.NAMED else 1))
        announced = draw(st.none() | st.just(sum(passes)) | st.integers(1, 8))
        messages.append(sender.header(announced))
        messages += [sender.frame(number) for frames in passes for number in range(frames)]
        if draw(st.integers(0, 3)):
            messages.append(sender.end())
    return messages


@st.composite
def stories(draw: st.DrawFn, kind: Kind) -> list[Step]:
    """A broadcast after the network has dropped, repeated and reordered, and users have done what they do."""
    steps: list[Step] = list(draw(broadcasts(kind)))
    for _ in range(draw(st.integers(0, 12))):
        index = draw(st.integers(0, max(len(steps) - 1, 0)))
        match draw(st.sampled_from(["drop", "repeat", "move", "do", "foreign"])):
            case "drop" if steps:
                del steps[index]
            case "repeat" if steps:
                steps.insert(min(index + draw(st.integers(0, 8)), len(steps)), steps[index])
            case "move" if steps:
                steps.insert(max(0, index + draw(st.integers(-6, 6))), steps.pop(index))
            case "foreign":
                steps.insert(index, _foreign(kind, draw(st.integers(0, 8))))
            case _:
                steps.insert(index, draw(DEEDS))
    return steps


def _foreign(kind: Kind, number: int) -> Frame:
    """A frame of somebody else, who counts otherwise."""
    if kind is Kind.NAMED:
        return frame(number, number, "other")
    return frame(number, 1000 + 2 * number if kind is Kind.NUMBERED else None, None, "other")


class World:
    """A receiver with a sink, a clock, and a count of what was put in."""

    def __init__(self, limits: Limits, *, unarmed: bool = True, announced: bool = True) -> None:
        self._orders = 0
        self._unarmed = unarmed
        self.now = 100.0
        self.fed: list[Frame] = []
        self.malformed = 0
        self.sink = Sink()
        self.receiver = Receiver(limits, self._order, announced=announced)

    def _order(self, start: SeriesStart | None) -> Order | None:
        self._orders += 1
        return Order(f"unarmed-{self._orders}", quiet=QUIET) if self._unarmed else None

    def play(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.now += 0.01
            if isinstance(step, tuple):
                self._do(*step)
            else:
                if type(step) is Frame:
                    self.fed.append(step)
                self.sink.take(self.receiver.receive([step], self.now))
            self.sink.take(self.receiver.tick(self.now))
            self.check_while_running()

    def _do(self, deed: str, *details: Any) -> None:
        receiver = self.receiver
        match deed:
            case "arm" if receiver.state is State.IDLE:
                self._orders += 1
                receiver.arm(Order(f"armed-{self._orders}", details[0], details[1]), self.now)
            case "stop":
                self.sink.take(receiver.stop(self.now, *details))
            case "abort":
                self.sink.take(receiver.abort())
            case "wait":
                self.now += details[0]
            case "malformed":
                self.malformed += 1
                receiver.malformed("noise", self.now)

    def calm_down(self) -> None:
        """Stop what runs, wait until it has ended."""
        for _ in range(10):
            self.sink.take(self.receiver.stop(self.now))
            self.now += 10
            self.sink.take(self.receiver.tick(self.now))
        assert self.receiver.state is State.IDLE
        assert self.receiver.current is None

    def check_while_running(self) -> None:
        receiver = self.receiver
        assert receiver.between.imbalance() == []
        if receiver.series is not None:
            assert receiver.series.ledger.imbalance() == []

    def check_accounts(self, kind: Kind) -> None:
        """Call it when nothing runs: all that was put in is somewhere, and nothing is written twice."""
        ledgers = [series.ledger for series in self.sink.series]
        assert self.sink.open is None
        assert self.sink.finished == len(ledgers)
        for series, frames in zip(self.sink.series, self.sink.frames, strict=True):
            assert series.ledger.imbalance() == []
            assert series.ledger.pending == 0
            if kind is not Kind.BARE:
                assert max(Counter(map(_identity, frames)).values(), default=1) == 1
        between = self.receiver.between
        received = between.received + sum(ledger.received for ledger in ledgers)
        assert received == len(self.fed) + self.malformed
        delivered = sum(map(len, self.sink.frames))
        aborted = sum(ledger.discarded.total() for ledger in ledgers)
        assert sum(ledger.unique for ledger in ledgers) == delivered + aborted
        # A duplicate is of a frame that is there: whatever is nowhere was counted as foreign or discarded.
        foreign = between.foreign.total() + sum(ledger.foreign.total() for ledger in ledgers)
        name = _payload if kind is Kind.BARE else _identity
        nowhere = set(map(name, self.fed)) - {name(one) for frames in self.sink.frames for one in frames}
        assert len(nowhere) <= foreign + aborted


def _identity(one: Frame) -> tuple[Any, ...]:
    return one.series, one.position, one.number


def _payload(one: Frame) -> bytes:
    return bytes(one.parts[0])


def _check_clean_series(world: World, sender: Sender, frames: int) -> None:
    """A series that nothing happens to is complete, with its frames in order."""
    header, *rest = sender.series(frames)
    assert isinstance(header, SeriesStart)
    header.filename = "clean"  # not to be taken for the header before it, sent once more
    world.play([header, *rest])
    world.play([("wait", 5.0)] * 20)
    sink = world.sink
    assert sink.starts[-1] == header
    assert sink.numbers[-1] == list(range(frames))
    assert sink.series[-1].outcome() == (Outcome.COMPLETE, "")
    assert world.receiver.state is State.IDLE


def _with_stories(kind: Kind) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return given(stories(kind), st.sampled_from(LIMITS), st.booleans(), st.integers(0, 8))


def _tell(kind: Kind, steps: list[Step], limits: Limits, unarmed: bool, frames: int) -> None:
    world = World(limits, unarmed=unarmed)
    world.play(steps)
    world.calm_down()
    world.check_accounts(kind)
    world._unarmed = True
    # The same detector goes on, or another takes its place.
    _check_clean_series(world, Sender(kind, position=5000, series=5000), frames)
    _check_clean_series(world, Sender(kind), frames)
    world.check_accounts(kind)


@repeatable
@_with_stories(Kind.NUMBERED)
def test_streams_with_numbered_messages(steps: list[Step], limits: Limits, unarmed: bool, frames: int) -> None:
    _tell(Kind.NUMBERED, steps, limits, unarmed, frames)


@repeatable
@_with_stories(Kind.NAMED)
def test_streams_with_named_series(steps: list[Step], limits: Limits, unarmed: bool, frames: int) -> None:
    _tell(Kind.NAMED, steps, limits, unarmed, frames)


@repeatable
@_with_stories(Kind.BARE)
def test_streams_with_frame_numbers_only(steps: list[Step], limits: Limits, unarmed: bool, frames: int) -> None:
    _tell(Kind.BARE, steps, limits, unarmed, frames)


FRAMES = st.builds(frame, st.integers(0, 6), st.none(), st.sampled_from([None, "a", "b"]), st.integers(0, 3))
"""Of streams in which no message announces a series."""


@repeatable
@given(st.lists(FRAMES | DEEDS | st.builds(SeriesEnd), max_size=40), st.sampled_from(LIMITS), st.booleans())
def test_streams_without_headers(steps: list[Step], limits: Limits, unarmed: bool) -> None:
    world = World(limits, unarmed=unarmed, announced=False)
    world.play(steps)
    world.calm_down()
    world.check_accounts(Kind.BARE)
    # The next series is whole, whatever was before.
    world.play([("wait", 100.0), ("arm", 5, False)])
    world.play([frame(number, None, "c", f"c{number}") for number in range(100, 105)])
    assert world.sink.numbers[-1] == list(range(100, 105))
    assert world.sink.series[-1].outcome() == (Outcome.COMPLETE, "")
    world.check_accounts(Kind.BARE)


@pytest.mark.parametrize("kind", Kind)
@repeatable
@given(data=st.data(), limits=st.sampled_from(LIMITS))
def test_a_clean_series_right_after_the_chaos(kind: Kind, data: st.DataObject, limits: Limits) -> None:
    """Nobody waits, and nobody stops what still runs."""
    world = World(limits)
    world.play(data.draw(stories(kind)))
    if world.receiver.state is State.ARMED:
        world.play([("abort",)])
    _check_clean_series(world, Sender(kind, position=5000, series=5000), 5)
    world.calm_down()
    world.check_accounts(kind)


@st.composite
def jitters(draw: st.DrawFn, kind: Kind, most: int = 2) -> tuple[list[list[Message]], list[Message]]:
    """Series as they were sent, and their messages after each was overtaken by at most `most` others."""
    sender = Sender(kind, position=draw(st.integers(0, 20)))
    sent = [sender.series(draw(st.integers(4, 8)), draw(st.none())) for _ in range(draw(st.integers(1, 4)))]
    messages = [message for series in sent for message in series]
    delays = draw(st.lists(st.integers(0, most), min_size=len(messages), max_size=len(messages)))
    order = sorted(range(len(messages)), key=lambda index: (index + delays[index], index))
    return sent, [messages[index] for index in order]


@pytest.mark.parametrize("kind", [Kind.NUMBERED, Kind.NAMED])
@repeatable
@given(data=st.data())
def test_order_of_arrival_changes_nothing(kind: Kind, data: st.DataObject) -> None:
    """With several sockets, headers and ends are overtaken too, and what is of one series stays of it."""
    sent, arriving = data.draw(jitters(kind))
    world = World(Limits())
    world.play(arriving)
    world.play([("wait", 5.0)] * 10)
    assert world.sink.frames == [series[1:-1] for series in sent]
    assert world.sink.starts == [series[0] for series in sent]
    assert [series.outcome() for series in world.sink.series] == [(Outcome.COMPLETE, "")] * len(sent)


@repeatable
@given(st.lists(st.sets(st.integers(0, 6)), min_size=1, max_size=4), st.booleans())
def test_numbered_messages_show_what_was_dropped(drops: list[set[int]], patient: bool) -> None:
    """All that was not dropped is delivered; the missing frames are named."""
    sender = Sender(Kind.NUMBERED)
    world = World(Limits())
    for dropped in drops:
        header, *frames, end = sender.series(7)
        world.play([header, *(one for number, one in enumerate(frames) if number not in dropped), end])
        world.play([("wait", 1.2)] * (4 if patient else 1))
    world.play([("wait", 5.0)] * 10)
    assert world.sink.numbers == [[number for number in range(7) if number not in dropped] for dropped in drops]
    for series, dropped in zip(world.sink.series, drops, strict=True):
        listed = {number for a, b in series.ledger.missing_ranges for number in range(a, b + 1)}
        assert (series.ledger.missing, listed) == (len(dropped), dropped)
        assert series.outcome()[0] is (Outcome.INCOMPLETE if dropped else Outcome.COMPLETE)
