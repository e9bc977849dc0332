"""Each frame goes to one worker, and every frame is accounted for."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bluesky_streamdet.core.handout import Given, Handout


def given_now(handout: Handout[int]) -> list[tuple[object, int]]:
    return [(one.peer, one.item) for one in handout.give()]


def test_requests_are_answered_in_their_order() -> None:
    handout: Handout[int] = Handout("complete")
    for peer in "abc":
        handout.ask(peer)
    for number in range(5):
        handout.put(number, 1)

    assert given_now(handout) == [("a", 0), ("b", 1), ("c", 2)]
    handout.ask("b")
    assert given_now(handout) == [("b", 3)]
    assert (handout.delivered, handout.done, handout.in_hand, handout.waiting) == (4, 1, 3, 1)


def test_a_request_waits_until_a_frame_is_there() -> None:
    handout: Handout[int] = Handout("complete")
    assert handout.ask("a")
    assert given_now(handout) == []
    handout.put(7, 1)
    assert given_now(handout) == [("a", 7)]


def test_fresh_gives_the_newest_and_drops_the_oldest() -> None:
    handout: Handout[int] = Handout("fresh", most=3)
    dropped = [one for number in range(5) for one in handout.put(number, 1)]
    for peer in "abcd":
        handout.ask(peer)

    assert dropped == [0, 1]
    assert given_now(handout) == [("a", 4), ("b", 3), ("c", 2)]
    assert handout.asking == 1


def test_complete_drops_nothing_and_says_when_it_is_full() -> None:
    handout: Handout[int] = Handout("complete", most=3)
    assert [handout.full for number in range(4) if handout.put(number, 1) == []] == [False, False, True, True]
    assert handout.dropped == 0


def test_bytes_are_bounded_too() -> None:
    handout: Handout[int] = Handout("fresh", most=100, most_bytes=10)
    dropped = [one for number in range(5) for one in handout.put(number, 4)]

    assert dropped == [0, 1, 2]
    # A frame that is larger than all that is allowed still gets its chance.
    assert handout.put(9, 1000) == [3, 4]
    assert handout.waiting == 1


def test_a_second_request_of_a_worker_gets_no_second_frame() -> None:
    handout: Handout[int] = Handout("complete")
    assert handout.ask("a")
    assert not handout.ask("a")
    handout.put(1, 1)
    handout.put(2, 1)
    assert given_now(handout) == [("a", 1)]


def test_what_a_worker_had_in_hand_is_lost_with_it() -> None:
    handout: Handout[int] = Handout("complete")
    handout.ask("a")
    handout.put(1, 1)
    assert given_now(handout) == [("a", 1)]
    assert not handout.all_wait

    assert handout.leave("a") == 1
    assert (handout.delivered, handout.done, handout.lost, handout.in_hand) == (1, 0, 1, 0)
    assert handout.all_wait
    assert handout.leave("a") == 0


def test_a_frame_that_could_not_be_handed_over_is_the_next() -> None:
    handout: Handout[int] = Handout("complete")
    handout.ask("a")
    for number in range(3):
        handout.put(number, 1)
    (one,) = handout.give()
    handout.take_back(one, 1)
    handout.ask("b")

    assert given_now(handout) == [("b", 0)]
    assert (handout.delivered, handout.lost, handout.gone["workers"]) == (1, 0, 1)


class Story(RuleBasedStateMachine):
    """Whatever happens, no frame is given twice, and each is somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.handout: Handout[int] = Handout("fresh", most=5)
        self.number = 0
        self.got: list[int] = []

    @rule(peer=st.integers(0, 4))
    def ask(self, peer: int) -> None:
        self.handout.ask(peer)

    @rule(peer=st.integers(0, 4))
    def leave(self, peer: int) -> None:
        self.handout.leave(peer)

    @rule()
    def put(self) -> None:
        self.handout.put(self.number, 1)
        self.number += 1

    @rule()
    def give(self) -> None:
        self.got += [one.item for one in self.handout.give()]

    @precondition(lambda self: self.handout.asking and self.handout.waiting)
    @rule()
    def fail_to_hand_over(self) -> None:
        one: Given[int] = next(self.handout.give())
        self.handout.take_back(one, 1)

    @precondition(lambda self: self.handout.asking and self.handout.waiting)
    @rule()
    def can_not_be_sent(self) -> None:
        asking = self.handout.asking
        one: Given[int] = next(self.handout.give())
        self.handout.spoil(one)
        assert self.handout.asking == asking
        if (following := next(self.handout.give(), None)) is not None:
            assert following.peer == one.peer
            self.got.append(following.item)

    @rule()
    def discard(self) -> None:
        self.handout.discard()

    @invariant()
    def everything_is_accounted_for(self) -> None:
        handout = self.handout
        assert handout.seen == self.number
        assert handout.seen == handout.delivered + handout.waiting + handout.dropped + handout.failed
        assert handout.delivered == len(self.got) == handout.done + handout.in_hand + handout.lost
        assert len(set(self.got)) == len(self.got)
        assert handout.waiting <= 5 + 1


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
