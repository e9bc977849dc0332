"""Tomography: darks, flats and projections of one sample in one run."""

from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Flyable, Movable, Readable
from bluesky.utils import plan

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.plans.bursts import set_exposure
from bluesky_streamdet.plans.flying import (
    MsgGenerator,
    announce_until_complete,
    check_exposure_time,
    fail_with,
    prepare_all,
)
from bluesky_streamdet.plans.raster import GridRow, fly_row, spread


@plan
def tomography(
    detectors: Sequence[Readable],
    rotation: Movable | Flyable | Any,
    projections: int,
    *,
    start: float = 0.0,
    stop: float = 180.0,
    exposure: float | None = None,
    continuous: bool = False,
    overhead: float = 1e-3,
    darks: int = 0,
    flats: int = 0,
    shutter: Movable | Any = None,
    opened: Any = 1,
    closed: Any = 0,
    sample: Movable | Any = None,
    sample_in: float | None = None,
    sample_out: float = 0.0,
    flats_after: bool = False,
    flush_period: float = 0.1,
    md: dict[str, Any] | None = None,
) -> MsgGenerator:
    """Take darks with the shutter closed, flats with the sample out of the beam, and a projection at each angle.

    Darks and flats are flown, into the streams "darks", "flats" and "flats_after"; projections are the events of
    "primary". Each stream has files of its own. The sample stands still for each projection, or it turns without a stop
    and triggers the detectors by cable; then its angle at each trigger is in the stream "positions". In the end,
    however it comes, the shutter is closed and the sample is where it was in the beam.

    Parameters
    ----------
    detectors : list
        Detectors that can be prepared and kicked off.
    rotation : object
        What turns the sample; for continuous turns a flyer that is prepared for a `GridRow` of angles, as
        `devices.stage.SimulatedRotation` is.
    projections : int
        How many angles, evenly from the first to the last.
    start : float, optional
        The first angle.
    stop : float, optional
        The last angle.
    exposure : float, optional
        Exposure of each frame in s; left out, what is set. Continuous turns need it.
    continuous : bool, optional
        Whether the sample turns without a stop.
    overhead : float, optional
        Seconds from the end of one exposure to the next trigger, of continuous turns.
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
        Where the sample is in the beam; left out, where it is when the plan begins.
    sample_out : float, optional
        Where the sample is out of the beam.
    flats_after : bool, optional
        Whether to take as many flats again after the projections.
    flush_period : float, optional
        Seconds between announcements of darks and flats.
    md : dict, optional
        Metadata of the run.
    """
    _check(projections, darks, flats, exposure, shutter, sample)
    axis: Any = rotation
    fields = getattr(axis, "hints", {}).get("fields", [axis.name])
    row = _row_of(axis, spread((start, stop), projections), exposure, overhead) if continuous else None
    described = {
        "plan_name": "tomography",
        "detectors": [one.name for one in detectors],
        "motors": [axis.name],
        "num_points": projections,
        "num_intervals": projections - 1,
        "tomography": {"darks": darks, "flats": flats, "flats_after": flats if flats_after else 0},
        "plan_args": {
            "projections": projections,
            "start": start,
            "stop": stop,
            "exposure": exposure,
            "continuous": continuous,
            "overhead": overhead,
        },
        # Angles of a flight are in a stream of their own, which comes at its end.
        "hints": {"dimensions": [(("time",) if continuous else fields, "primary")]},
    }

    if sample is not None and sample_in is None:
        sample_in = yield from _place(sample)

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
        if row is None:
            yield from _turned(detectors, axis, spread((start, stop), projections))
        else:
            yield from _turned_without_stop(detectors, axis, row, exposure, flush_period)
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


def _turned(detectors: Sequence[Any], rotation: Any, angles: Sequence[float]) -> MsgGenerator:
    """Take a projection at each angle."""

    @bpp.stage_decorator([*detectors, rotation])
    def turn() -> MsgGenerator:
        for angle in angles:
            yield from bps.checkpoint()
            yield from bps.mv(rotation, angle)
            yield from bps.trigger_and_read([*detectors, rotation])

    yield from turn()


def _turned_without_stop(
    detectors: Sequence[Any], rotation: Any, row: GridRow, exposure: float | None, flush_period: float
) -> MsgGenerator:
    """Fly through all angles, and announce the projections while they come. A turn that has begun is not begun anew."""

    @bpp.stage_decorator([*detectors, rotation])
    def turn() -> MsgGenerator:
        yield from prepare_all(detectors, len(row.x), exposure, "edge")
        yield from bps.declare_stream(*detectors, name="primary", collect=True)
        yield from bps.declare_stream(rotation, name="positions", collect=True)
        yield from bps.kickoff_all(*detectors, wait=True)
        yield from fail_with(detectors)
        # From here on nothing but the turn is repeated after a pause.
        yield from bps.checkpoint()
        yield from fly_row(detectors, rotation, row, "primary", flush_period)
        yield from announce_until_complete(detectors, "primary", flush_period)

    yield from turn()


def _row_of(rotation: Any, angles: tuple[float, ...], exposure: float | None, overhead: float) -> GridRow:
    """The turn as a flyer takes it. Raises `ConfigError`."""
    if not hasattr(rotation, "kickoff"):
        raise ConfigError(f"{rotation.name} can't turn without a stop.", "Give a flyer, or leave continuous out.")
    if exposure is None:
        raise ConfigError("A turn without a stop wants an exposure, which says how fast it goes.", "Give exposure=….")
    return GridRow(0, 0.0, angles, exposure + overhead)


def _place(device: Any) -> MsgGenerator:
    """Where it is."""
    return (yield from bps.rd(device, default_value=0.0))


def _put(device: Any, value: Any) -> MsgGenerator:
    """Move what is there."""
    if device is not None:
        yield from bps.mv(device, value)


def _check(projections: int, darks: int, flats: int, exposure: float | None, shutter: Any, sample: Any) -> None:
    if min(projections, darks, flats) < 0 or not projections:
        raise ConfigError(f"There are no {projections} projections, {darks} darks, {flats} flats.", "Count from one.")
    if exposure is not None:
        check_exposure_time(exposure)
    if darks and shutter is None:
        raise ConfigError("Darks want a shutter that keeps the beam away.", "Give shutter=…, or darks=0.")
    if flats and sample is None:
        raise ConfigError("Flats want something that takes the sample out.", "Give sample=…, sample_out=…, or flats=0.")
