"""Plans that need more than Bluesky ships.

`bluesky.plans.fly` knows nothing of detectors that announce frames while they fly, and `collect_while_completing` ends
too early after a pause. These plans work for both faces of our detectors, and for other devices of the same protocols.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import Msg, plan, short_uid

MsgGenerator = Generator[Msg, Any, Any]


@plan
def fly(
    detectors: Sequence[Readable],
    events: int,
    exposure: float | None = None,
    *,
    stream_name: str = "primary",
    flush_period: float = 0.1,
    md: dict[str, Any] | None = None,
) -> MsgGenerator:
    """Take frames with all detectors at once, as fast as they go, and announce them while they come.

    The plan may be paused and resumed: what the detectors took meanwhile is announced afterwards.

    Parameters
    ----------
    detectors : list
        Detectors that can be prepared and kicked off.
    events : int
        How many events each detector takes.
    exposure : float, optional
        Exposure of each frame in s; left out, what is set.
    stream_name : str, optional
        The stream that the frames are announced in.
    flush_period : float, optional
        Seconds between announcements.
    md : dict, optional
        Metadata of the run.
    """
    described = {
        "plan_name": "fly",
        "detectors": [detector.name for detector in detectors],
        "num_points": events,
        "plan_args": {"detectors": [repr(one.name) for one in detectors], "events": events, "exposure": exposure},
        "hints": {},
    }

    @bpp.stage_decorator(detectors)
    @bpp.run_decorator(md={**described, **(md or {})})
    def inner() -> MsgGenerator:
        yield from _prepare_all(detectors, events, exposure)
        yield from bps.declare_stream(*detectors, name=stream_name, collect=True)
        yield from bps.kickoff_all(*detectors, wait=True)
        yield from announce_until_complete(detectors, stream_name, flush_period)

    return (yield from inner())


@plan
def announce_until_complete(
    detectors: Sequence[Readable], stream_name: str = "primary", flush_period: float = 0.1
) -> MsgGenerator:
    """Announce frames of detectors that fly, until all have completed; through pauses too.

    Each announcement is a checkpoint, so that a resumed plan neither repeats the flight nor counts events twice.

    Parameters
    ----------
    detectors : list
        Detectors that were kicked off, in a stream that was declared.
    stream_name : str, optional
        That stream.
    flush_period : float, optional
        Seconds between announcements.
    """
    flyers: list[Any] = list(detectors)
    done = None
    group = ""
    while not done:
        if done is None:
            # RunEngine answers None to a message that a pause interrupted, and forgets what the group waited for.
            group = short_uid(label="complete")
            yield from bps.complete_all(*flyers, group=group, wait=False)
        yield from bps.checkpoint()
        done = yield from bps.wait(group=group, timeout=flush_period, error_on_timeout=False)
        yield from bps.collect(*flyers, name=stream_name)


def _prepare_all(detectors: Sequence[Any], events: int, exposure: float | None) -> MsgGenerator:
    group = short_uid(label="prepare")
    for detector in detectors:
        if hasattr(detector, "events_to_kickoff"):
            preparation = _trigger_info(detector, events, exposure)
        else:
            preparation = events
            if exposure is not None:
                yield from bps.mv(detector.exposure, exposure)
        yield from bps.prepare(detector, preparation, group=group)
    yield from bps.wait(group=group)


def _trigger_info(detector: Any, events: int, exposure: float | None) -> Any:
    """What ophyd-async's detectors are prepared with; it says how many frames an event has."""
    from ophyd_async.core import TriggerInfo

    frames = getattr(detector, "frames_per_event", 1)
    return TriggerInfo(number_of_events=events, livetime=exposure or 0.0, collections_per_event=frames)
