"""Time series: events at equal distances in time."""

import time
from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import plan

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.plans.bursts import bursts_wrapper
from bluesky_streamdet.plans.flying import MsgGenerator


@plan
def time_series(
    detectors: Sequence[Readable],
    num: int,
    period: float,
    *,
    exposure: float | None = None,
    frames: int | None = None,
    md: dict[str, Any] | None = None,
) -> MsgGenerator:
    """Take events one period after the other, counted from start to start, so that they do not drift.

    An event that takes longer than the period delays those behind it; none is left out, and after a pause nothing is
    caught up on. For frames one right behind the other, `fly` is the plan.

    Parameters
    ----------
    detectors : list
        Detectors and whatever else is to be read.
    num : int
        How many events.
    period : float
        Seconds from the start of one event to the start of the next.
    exposure : float, optional
        Exposure of each frame in s; left out, what is set.
    frames : int, optional
        How many frames each event has, one right behind the other; left out, what is set.
    md : dict, optional
        Metadata of the run.
    """
    if num < 1 or period < 0:
        raise ConfigError(f"There is no series of {num} events, one each {period} s.", "Count from one, and forwards.")
    described = {
        "plan_name": "time_series",
        "detectors": [one.name for one in detectors],
        "num_points": num,
        "num_intervals": num - 1,
        "plan_args": {"num": num, "period": period, "exposure": exposure, "frames": frames},
        "hints": {"dimensions": [(("time",), "primary")]},
    }

    @bpp.stage_decorator(detectors)
    @bpp.run_decorator(md={**described, **(md or {})})
    def inner() -> MsgGenerator:
        due = time.monotonic()
        for number in range(num):
            if number:
                due = max(due + period, time.monotonic())
                yield from bps.checkpoint()
                yield from bps.sleep(max(0.0, due - time.monotonic()))
            yield from bps.one_shot(detectors)

    return (yield from bursts_wrapper(inner(), detectors, frames, exposure))
