"""Bursts: several frames with each event of a step scan, one right behind the other.

The data of a detector then have the shape (events, frames, ...).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import Msg, plan, short_uid

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.plans.flying import MsgGenerator, check_exposure_time, is_async


@plan
def burst_scan(
    detectors: Sequence[Readable],
    *args: Movable | Any,
    num: int,
    frames: int,
    exposure: float | None = None,
    md: dict[str, Any] | None = None,
) -> MsgGenerator:
    """Scan over one motor, or several together, and take a burst of frames at each point.

    Parameters
    ----------
    detectors : list
        Detectors, of which those that can take bursts do; others are read.
    *args :
        Motor, start, stop; the same of further motors that move together with it.
    num : int
        How many points.
    frames : int
        How many frames at each point.
    exposure : float, optional
        Exposure of each frame in s; left out, what is set.
    md : dict, optional
        Metadata of the run.
    """
    described = {"plan_name": "burst_scan", "frames_per_point": frames, "exposure": exposure}
    points = bp.scan(detectors, *args, num=num, md={**described, **(md or {})})
    return (yield from bursts_wrapper(points, detectors, frames, exposure))


def bursts_wrapper(
    plan: Iterable[Msg], detectors: Sequence[Any], frames: int | None = None, exposure: float | None = None
) -> MsgGenerator:
    """Have the detectors take so many frames with each trigger of any plan, as `bluesky.plans.grid_scan` is one.

    Among the detectors may be others that take none, such as sensors. Raises `ConfigError` before anything moves.

    frames: left out, as many as the detectors take otherwise; what they take otherwise is put back in the end.
    exposure: in s, of each frame; left out, what is set.
    """
    if frames is None and exposure is None:
        return (yield from plan)
    _check(detectors, frames, exposure)
    before: dict[Any, int] = {}

    def inner() -> MsgGenerator:
        yield from set_exposure(detectors, exposure)
        if frames is not None:
            for one in filter(_takes_as_set, detectors):
                before[one] = yield from bps.rd(one.frames_per_event, default_value=1)
                yield from bps.mv(one.frames_per_event, frames)
        return (yield from bpp.plan_mutator(plan, once_open))

    def once_open(message: Msg) -> tuple[None, MsgGenerator | None]:
        # By now detectors are staged, which forgets for what they were prepared.
        return None, _prepare(detectors, frames, exposure) if message.command == "open_run" else None

    def put_back() -> MsgGenerator:
        for one, value in before.items():
            yield from bps.mv(one.frames_per_event, value)

    return (yield from bpp.finalize_wrapper(inner(), put_back))


def set_exposure(detectors: Sequence[Any], exposure: float | None) -> MsgGenerator:
    """Set the exposure of all detectors that have one; not when there is none to set."""
    if exposure is not None:
        settable = [one.exposure for one in detectors if hasattr(one, "exposure")]
        yield from bps.mv(*(value for signal in settable for value in (signal, exposure)))


def _prepare(detectors: Sequence[Any], frames: int | None, exposure: float | None) -> MsgGenerator:
    """Tell the detectors of ophyd-async for what their triggers are."""
    prepared = [one for one in detectors if is_async(one)]
    if frames is None or not prepared:
        return
    from ophyd_async.core import TriggerInfo

    group = short_uid(label="prepare")
    for one in prepared:
        livetime = exposure
        if livetime is None and hasattr(one, "exposure"):
            livetime = yield from bps.rd(one.exposure, default_value=0.0)
        info = TriggerInfo(number_of_events=1, livetime=livetime or 0.0, collections_per_event=frames)
        yield from bps.prepare(one, info, group=group)
    yield from bps.wait(group=group)


def _takes_as_set(detector: Any) -> bool:
    """Whether it has a signal for the frames of an event, as classic ones of ours have."""
    return hasattr(getattr(detector, "frames_per_event", None), "set")


def _check(detectors: Sequence[Any], frames: int | None, exposure: float | None) -> None:
    if frames is not None:
        if frames < 1:
            raise ConfigError(f"A burst of {frames} frames is none.", "Ask for at least one.")
        if not any(is_async(one) or _takes_as_set(one) for one in detectors):
            names = ", ".join(one.name for one in detectors)
            raise ConfigError(f"None of {names} takes bursts.", "That is a detector with frames_per_event.")
    if exposure is not None:
        check_exposure(detectors, exposure)


def check_exposure(detectors: Sequence[Any], exposure: float) -> None:
    """Raises `ConfigError` for an exposure that none can have, or that nobody could be told."""
    check_exposure_time(exposure)
    if not any(hasattr(one, "exposure") for one in detectors):
        names = ", ".join(one.name for one in detectors)
        raise ConfigError(f"None of {names} has an exposure that could be set.", "Leave the exposure out.")
