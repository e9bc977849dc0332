"""The table of rules is total, and the receiver does what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluesky_streamdet.core.actions import Action, Begin, Finish
from bluesky_streamdet.core.errors import Busy
from bluesky_streamdet.core.events import Event, SeriesEnd, SeriesStart
from bluesky_streamdet.core.receiver import Receiver
from bluesky_streamdet.core.rules import RULES, Act, Happening, State
from bluesky_streamdet.core.series import Limits, Order, Outcome
from tests.unit.core.streams import frame

ROWS = [pytest.param(state, happening, id=f"{state}-{happening}") for state in State for happening in Happening]


def test_every_state_has_a_rule_for_every_happening() -> None:
    assert set(RULES) == {(state, happening) for state in State for happening in Happening}


def test_every_act_is_called_for() -> None:
    assert set(RULES.values()) == set(Act)


class Scene:
    """A receiver in one of its states; 2 of 4 frames have come where a series runs."""

    def __init__(self, state: State) -> None:
        self.now = 0.0
        self.receiver = Receiver(Limits(), lambda _: Order("unarmed", quiet=30))
        self.actions: list[Action] = []
        if state is not State.IDLE:
            self.receiver.arm(Order("armed", quiet=30), self.now)
        if state in (State.RUNNING, State.FINISHING):
            self.receive(SeriesStart(None, 10, frames=4), frame(0, 11), frame(1, 12))
        if state is State.FINISHING:
            self.receive(SeriesEnd(None, 15))
        assert self.receiver.state is state
        self.before = state
        self.actions.clear()

    def receive(self, *events: Event) -> None:
        self.actions += self.receiver.receive(events, self.now)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.actions += self.receiver.tick(self.now)

    def bring_about(self, happening: Happening) -> None:
        match happening:
            case Happening.ARM:
                self.receiver.arm(Order("second"), self.now)
            case Happening.HEADER:
                self.receive(SeriesStart(None, 50))
            case Happening.FRAME:
                self.receive(frame(2, 13))
            case Happening.END:
                self.receive(SeriesEnd(None, 15))
            case Happening.COUNT:
                # Without a series nobody counts.
                if self.receiver.series is not None:
                    self.receive(frame(2, 13), frame(3, 14))
            case Happening.STOP:
                self.actions += self.receiver.stop(self.now)
            case Happening.ABORT:
                self.actions += self.receiver.abort()
            case Happening.TIME_UP:
                self.tick(100.0)

    @property
    def ended(self) -> list[Finish]:
        return [one for one in self.actions if isinstance(one, Finish)]


def _began(scene: Scene) -> None:
    assert scene.receiver.state is State.RUNNING
    assert [type(one) for one in scene.actions] == [Begin]
    assert scene.receiver.series is not None and scene.receiver.series.start is not None


def _began_headless(scene: Scene) -> None:
    assert scene.receiver.state is State.RUNNING
    assert scene.receiver.series is not None
    assert (scene.receiver.series.start, scene.receiver.series.reason) == (None, "the header was lost")


def _superseded(scene: Scene) -> None:
    scene.tick(1.0)
    assert scene.receiver.state is State.RUNNING
    assert [type(one) for one in scene.actions] == [Finish, Begin]
    assert scene.receiver.series is not None and scene.receiver.series.start == SeriesStart(None, 50)


def _took(scene: Scene) -> None:
    assert scene.receiver.state is scene.before
    assert scene.receiver.series is not None and scene.receiver.series.ledger.unique == 3


def _finishes(scene: Scene) -> None:
    assert scene.receiver.state is State.FINISHING
    assert scene.actions == []


def _closed(scene: Scene) -> None:
    assert scene.receiver.state is State.IDLE
    assert [one.series.outcome()[0] is Outcome.ABORTED for one in scene.ended] == [False]


def _discarded(scene: Scene) -> None:
    assert scene.receiver.state is State.IDLE
    assert [one.series.outcome()[0] for one in scene.ended] == [Outcome.ABORTED]


def _ignored(scene: Scene) -> None:
    assert scene.receiver.state is scene.before
    assert scene.actions == []


def _awaits(scene: Scene) -> None:
    assert scene.receiver.state is State.ARMED
    assert scene.receiver.current == "second"


EFFECTS: dict[Act, Callable[[Scene], None]] = {
    Act.AWAIT: _awaits,
    Act.BEGIN: _began,
    Act.BEGIN_HEADLESS: _began_headless,
    Act.SUPERSEDE: _superseded,
    Act.TAKE: _took,
    Act.FINISH: _finishes,
    Act.CLOSE: _closed,
    Act.DISCARD: _discarded,
    Act.IGNORE: _ignored,
}


@pytest.mark.parametrize(("state", "happening"), ROWS)
def test_the_receiver_does_what_the_table_says(state: State, happening: Happening) -> None:
    scene = Scene(state)
    act = RULES[state, happening]
    if act is Act.REFUSE:
        with pytest.raises(Busy, match=f"Series armed is {state}"):
            scene.bring_about(happening)
        _ignored(scene)
    else:
        scene.bring_about(happening)
        EFFECTS[act](scene)
