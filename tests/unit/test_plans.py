"""What the plans ask of RunEngine, and that they can be listed by others."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from bluesky.utils import Msg

from bluesky_streamdet import plans
from bluesky_streamdet.devices.classic import StreamDetector


def sent(plan: Any, answers: dict[str, list[Any]]) -> list[Msg]:
    """The messages of a plan, answered by their commands; None for those without an answer."""
    messages: list[Msg] = []
    answer = None
    try:
        while True:
            messages.append(plan.send(answer))
            waiting = answers.get(messages[-1].command, [])
            answer = waiting.pop(0) if waiting else None
    except StopIteration:
        return messages


def commands(messages: list[Msg]) -> list[str]:
    return [message.command for message in messages]


def test_announcing_until_all_have_completed() -> None:
    flyer = StreamDetector(name="one")
    messages = sent(iter(plans.announce_until_complete([flyer])), {"wait": [False, True]})
    assert commands(messages) == ["complete", *["checkpoint", "wait", "collect"] * 2]


def test_a_wait_that_was_interrupted_begins_anew() -> None:
    """RunEngine answers None then, and has forgotten what it waited for: waiting again would end at once."""
    flyer = StreamDetector(name="one")
    messages = sent(iter(plans.announce_until_complete([flyer])), {"wait": [False, None, True]})
    assert commands(messages) == [
        "complete",
        *["checkpoint", "wait", "collect"] * 2,
        "complete",
        "checkpoint",
        "wait",
        "collect",
    ]
    groups = [message.kwargs["group"] for message in messages if message.command in ("complete", "wait")]
    assert groups[0] == groups[1] == groups[2] != groups[3] == groups[4]


def test_the_order_of_a_fly_scan() -> None:
    messages = sent(
        iter(plans.fly([StreamDetector(name="one"), StreamDetector(name="two")], 5)), {"wait": [True, True, True]}
    )
    assert commands(messages) == [
        "stage",
        "stage",
        "open_run",
        "prepare",
        "prepare",
        "wait",
        "declare_stream",
        "kickoff",
        "kickoff",
        "wait",
        "complete",
        "complete",
        "checkpoint",
        "wait",
        "collect",
        "close_run",
        "unstage",
        "unstage",
    ]
    assert messages[2].kwargs["plan_name"] == "fly"
    assert messages[2].kwargs["num_points"] == 5
    assert [message.args for message in messages if message.command == "prepare"] == [(5,), (5,)]


@pytest.mark.parametrize("plan", [plans.fly, plans.announce_until_complete])
def test_a_queue_server_can_list_them(plan: Any) -> None:
    """It reads the parameters' descriptions in NumPy's form, and wants defaults that are literals."""
    assert plan._is_plan_
    assert "Parameters\n    ----------" in plan.__doc__
    for parameter in inspect.signature(plan).parameters.values():
        assert f"\n    {parameter.name} : " in plan.__doc__
        assert parameter.default is inspect.Parameter.empty or isinstance(parameter.default, float | str | None)
