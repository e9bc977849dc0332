"""Tomography: darks, flats and projections of one sample in one run."""

from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import plan

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.plans.bursts import set_exposure
from bluesky_streamdet.plans.flying import MsgGenerator, announce_until_complete, prepare_all


@plan
def tomography(
    detectors: Sequence[Readable],
    rotation: Movable | Any,
    projections: int,
    *,
    start: float = 0.0,
    stop: float = 180.0,
    exposure: float | None = None,
    darks: int = 0,
    flats: int = 0,
    shutter: Movable | Any = None,
    opened: Any = 1,
    closed: Any = 0,
    sample: Movable | Any = None,
    sample_in: float = 0.0,
    sample_out: float = 0.0,
    flats_after: bool = False,
    flush_period: float = 0.1,
    md: dict[str, Any] | None = None,
) -> MsgGenerator:
    """Take darks with the shutter closed, flats with the sample out of the beam, and a projection at each angle.

    Darks and flats are flown, into the streams "darks", "flats" and "flats_after"; projections are the events of
    "primary". Each stream has files of its own. In the end, however it comes, the shutter is closed and the sample is
    where it was in the beam.

    Parameters
    ----------
    detectors : list
        Detectors that can be prepared and kicked off.
    rotation : object
        What turns the sample.
    projections : int
        How many angles, evenly from the first to the last.
    start : float, optional
        The first angle.
    stop : float, optional
        The last angle.
    exposure : float, optional
        Exposure of each frame in s; left out, what is set.
    darks : int, optional
        How many frames without beam; these want a shutter.
    flats : int, optional
        How many frames without sample; these want something that takes it out of the beam.
    shutter : object, optional
        Lets the beam through or not.
    opened : int, float or str, optional
        What the shutter is set to for beam.
    closed : int, float or str, optional
        What the shutter is set to for none.
    sample : object, optional
        Moves the sample out of the beam and into it.
    sample_in : float, optional
        Where the sample is in the beam.
    sample_out : float, optional
        Where the sample is out of the beam.
    flats_after : bool, optional
        Whether to take as many flats again after the projections.
    flush_period : float, optional
        Seconds between announcements of darks and flats.
    md : dict, optional
        Metadata of the run.
    """
    _check(projections, darks, flats, shutter, sample)
    axis: Any = rotation
    described = {
        "plan_name": "tomography",
        "detectors": [one.name for one in detectors],
        "motors": [axis.name],
        "num_points": projections,
        "num_intervals": projections - 1,
        "tomography": {"darks": darks, "flats": flats, "flats_after": flats if flats_after else 0},
        "plan_args": {"projections": projections, "start": start, "stop": stop, "exposure": exposure},
        "hints": {"dimensions": [(getattr(axis, "hints", {}).get("fields", [axis.name]), "primary")]},
    }

    @bpp.run_decorator(md={**described, **(md or {})})
    def inner() -> MsgGenerator:
        yield from set_exposure(detectors, exposure)
        yield from _put(shutter, closed)
        yield from _flown(detectors, darks, exposure, "darks", flush_period)
        if flats:
            yield from _put(sample, sample_out)
        yield from _put(shutter, opened)
        yield from _flown(detectors, flats, exposure, "flats", flush_period)
        yield from _put(sample, sample_in)
        yield from _turned(detectors, axis, (start, stop), projections)
        if flats_after:
            yield from _put(sample, sample_out)
            yield from _flown(detectors, flats, exposure, "flats_after", flush_period)

    def leave() -> MsgGenerator:
        yield from _put(shutter, closed)
        yield from _put(sample, sample_in)

    return (yield from bpp.finalize_wrapper(inner(), leave))


def _flown(
    detectors: Sequence[Readable], frames: int, exposure: float | None, stream: str, flush_period: float
) -> MsgGenerator:
    """Take frames without motion, if any; staged for themselves, so that the stream's files hold nothing else."""
    if not frames:
        return

    @bpp.stage_decorator(detectors)
    def flight() -> MsgGenerator:
        yield from prepare_all(detectors, frames, exposure)
        yield from bps.declare_stream(*detectors, name=stream, collect=True)
        yield from bps.kickoff_all(*detectors, wait=True)
        yield from announce_until_complete(detectors, stream, flush_period)

    yield from flight()


def _turned(detectors: Sequence[Any], rotation: Any, angles: tuple[float, float], projections: int) -> MsgGenerator:
    """Take a projection at each angle."""
    start, stop = angles
    step = (stop - start) / max(1, projections - 1)

    @bpp.stage_decorator([*detectors, rotation])
    def turn() -> MsgGenerator:
        for number in range(projections):
            yield from bps.checkpoint()
            yield from bps.mv(rotation, start + number * step)
            yield from bps.trigger_and_read([*detectors, rotation])

    yield from turn()


def _put(device: Any, value: Any) -> MsgGenerator:
    """Move what is there."""
    if device is not None:
        yield from bps.mv(device, value)


def _check(projections: int, darks: int, flats: int, shutter: Any, sample: Any) -> None:
    if min(projections, darks, flats) < 0 or not projections:
        raise ConfigError(f"There are no {projections} projections, {darks} darks, {flats} flats.", "Count from one.")
    if darks and shutter is None:
        raise ConfigError("Darks want a shutter that keeps the beam away.", "Give shutter=…, or darks=0.")
    if flats and sample is None:
        raise ConfigError("Flats want something that takes the sample out.", "Give sample=…, sample_out=…, or flats=0.")
