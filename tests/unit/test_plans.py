"""What the plans ask of RunEngine, and that they can be listed by others."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
from bluesky.utils import Msg

from bluesky_streamdet import plans
from bluesky_streamdet.devices.classic import StreamDetector
from bluesky_streamdet.devices.stage import SimulatedStage


def sent(plan: Any, answers: dict[str, list[Any]]) -> list[Msg]:
    """The messages of a plan, answered by their commands; None for those without an answer.

    Who carries them out is asked for besides.
    """
    messages: list[Msg] = []
    answer: Any = None
    try:
        while True:
            message = plan.send(answer)
            if message.command == "RE_class":
                answer = object
                continue
            messages.append(message)
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


def test_the_order_of_a_raster() -> None:
    """After a pause nothing is repeated but the row that is being flown, which the stage does not fly twice."""
    stage: Any = SimulatedStage(name="stage", give_triggers=lambda count, period: None)
    plan = plans.raster([StreamDetector(name="one")], stage, 2, 3, 0.1)
    messages = sent(iter(plan), {"wait": [True] * 20})
    row = ["set", "wait", "prepare", "wait", "kickoff", "wait", "complete", "checkpoint", "wait", "collect", "collect"]
    assert commands(messages) == [
        *["stage", "stage", "open_run", "prepare", "wait", "declare_stream", "declare_stream", "kickoff", "wait"],
        *["complete", "checkpoint", *row, "checkpoint", *row, "checkpoint"],
        *["complete", "checkpoint", "wait", "collect", "close_run", "unstage", "unstage"],
    ]
    prepared = [message.args[0] for message in messages if message.command == "prepare"]
    assert (prepared[0].number_of_events, prepared[0].livetime, prepared[0].trigger.name) == (6, 0.1, "EXTERNAL_EDGE")
    assert [row.y for row in prepared[1:]] == [0.0, 1.0]


ALL = [
    plans.announce_until_complete,
    plans.burst_scan,
    plans.energy_scan,
    plans.fly,
    plans.raster,
    plans.time_series,
    plans.tomography,
]


@pytest.mark.parametrize("plan", ALL)
def test_a_queue_server_can_list_them(plan: Any) -> None:
    """It reads the parameters' descriptions in NumPy's form, and wants defaults that are literals."""
    assert plan._is_plan_
    assert "Parameters\n    ----------" in plan.__doc__
    for parameter in inspect.signature(plan).parameters.values():
        name = f"*{parameter.name}" if parameter.kind is parameter.VAR_POSITIONAL else parameter.name
        assert f"\n    {name} :" in plan.__doc__
        default = parameter.default
        assert default is inspect.Parameter.empty or ast.literal_eval(repr(default)) == default


def test_no_plan_is_forgotten_here() -> None:
    public = [getattr(plans, name) for name in plans.__all__]
    assert [one for one in public if getattr(one, "_is_plan_", False)] == ALL
