"""Flights: detectors that take their frames by themselves, and announce them while they come.

`bluesky.plans.fly` knows nothing of such detectors, and `collect_while_completing` ends too early after a pause.
"""

from collections.abc import Generator, Sequence
from numbers import Integral
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import Msg, plan, short_uid

from bluesky_streamdet.core.errors import ConfigError

MsgGenerator = Generator[Msg, Any, Any]

TRIGGERS = {"internal": "INTERNAL", "edge": "EXTERNAL_EDGE", "level": "EXTERNAL_LEVEL"}
"""What starts frames: the plan, an edge of a cable each, or a level that lasts as long as the frame; what ophyd-async
calls it."""


@plan
def fly(
    detectors: Sequence[Readable],
    events: int,
    exposure: float | None = None,
    *,
    trigger: str = "internal",
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
    trigger : str, optional
        What starts the frames: "internal", or by cable the "edge" or the "level" of something that gives triggers by
        itself, once the detectors are armed.
    stream_name : str, optional
        The stream that the frames are announced in.
    flush_period : float, optional
        Seconds between announcements.
    md : dict, optional
        Metadata of the run.
    """
    check_flight(detectors, exposure, events=events)
    described = {
        "plan_name": "fly",
        "detectors": [detector.name for detector in detectors],
        "num_points": events,
        "plan_args": {
            "detectors": [repr(one.name) for one in detectors],
            "events": events,
            "exposure": exposure,
            "trigger": trigger,
        },
        "hints": {},
    }

    @bpp.stage_decorator(detectors)
    @bpp.run_decorator(md={**described, **(md or {})})
    def inner() -> MsgGenerator:
        yield from prepare_all(detectors, events, exposure, trigger)
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
    yield from announce_while(detectors, detectors, stream_name, flush_period)


def announce_while(
    flyers: Sequence[Any], detectors: Sequence[Any], stream_name: str, flush_period: float
) -> MsgGenerator:
    """Announce frames of the detectors until `flyers`, which may be others, have completed; as above."""
    simulated = yield from is_simulated()
    done = None
    group = ""
    while not done:
        if done is None:
            # RunEngine answers None to a message that a pause interrupted, and forgets what the group waited for.
            group = short_uid(label="complete")
            yield from bps.complete_all(*flyers, group=group, wait=False)
        yield from bps.checkpoint()
        done = yield from bps.wait(group=group, timeout=flush_period, error_on_timeout=False)
        done = True if simulated else done
        yield from bps.collect(*detectors, name=stream_name)


def fail_with(detectors: Sequence[Any]) -> MsgGenerator:
    """Have the plan fail as soon as one of the detectors does, which fly while it waits for something else."""
    yield from bps.complete_all(*detectors, group=short_uid(label="frames"), wait=False)


def is_simulated() -> Generator[Msg, Any, bool]:
    """Whether nobody carries the messages out, as with `summarize_plan`, which then would wait for ever.

    A RunEngine says what it is, unless a pause has swallowed the question.
    """
    for _ in range(3):
        if (yield Msg("RE_class")) is not None:
            return False
    return True


def check_flight(detectors: Sequence[Any], exposure: float | None, **numbers: int) -> None:
    """Raises `ConfigError` for a flight that can't be, before anything of it is set. numbers: how many of what."""
    if not detectors:
        raise ConfigError("A flight without detectors takes no frames.", "Give a list of at least one.")
    grounded = [
        getattr(one, "name", repr(one))
        for one in detectors
        if not (hasattr(one, "prepare") and hasattr(one, "kickoff"))
    ]
    if grounded:
        raise ConfigError(f"{', '.join(grounded)} can't fly.", "Give detectors that can be prepared and kicked off.")
    for what, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise ConfigError(f"There is no flight of {number!r} {what}.", "Give a whole number above zero.")
    if exposure is not None:
        check_exposure_time(exposure)


def check_exposure_time(exposure: float) -> None:
    """Raises `ConfigError` for an exposure, in s, that no frame can have."""
    if not exposure > 0:
        raise ConfigError(f"An exposure of {exposure} s is none.", "Give one above zero.")


def prepare_all(
    detectors: Sequence[Any], events: int, exposure: float | None, trigger: str = "internal"
) -> MsgGenerator:
    """Prepare detectors of both faces for a flight of so many events. Raises `ConfigError`."""
    if trigger not in TRIGGERS:
        raise ConfigError(f"There is no trigger {trigger!r}; there are {', '.join(TRIGGERS)}.")
    group = short_uid(label="prepare")
    for detector in detectors:
        if trigger != "internal" or is_async(detector):
            preparation = _trigger_info(detector, events, exposure, trigger)
        else:
            preparation = events
            if exposure is not None:
                yield from bps.mv(detector.exposure, exposure)
        yield from bps.prepare(detector, preparation, group=group)
    yield from bps.wait(group=group)


def is_async(detector: Any) -> bool:
    """Whether it is one of ophyd-async's detectors, which want a `TriggerInfo`."""
    return hasattr(detector, "events_to_kickoff")


def _trigger_info(detector: Any, events: int, exposure: float | None, trigger: str) -> Any:
    """What ophyd-async's detectors are prepared with, and others understand; it says how many frames an event has."""
    from ophyd_async.core import DetectorTrigger, TriggerInfo

    # Of a detector that is not ours, an event is one frame.
    frames = getattr(detector, "frames_per_event", 1) if is_async(detector) else 1
    return TriggerInfo(
        number_of_events=events,
        trigger=DetectorTrigger[TRIGGERS[trigger]],
        livetime=exposure or 0.0,
        collections_per_event=frames,
    )
