"""Energy scans: regions of different steps and exposures, as around an absorption edge."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import plan

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.plans.bursts import check_exposure, set_exposure
from bluesky_streamdet.plans.flying import MsgGenerator

CLOSE = 1e-6
"""Of a step: how far a point may lie behind a region's end and still be in it."""


class EnergyPoint(NamedTuple):
    """exposure: in s; None for what is set."""

    energy: float
    exposure: float | None


@plan
def energy_scan(
    detectors: Sequence[Readable],
    energy: Movable | Any,
    regions: list[list[float]],
    *,
    edge: float = 0.0,
    exposure: float | None = None,
    md: dict[str, Any] | None = None,
) -> MsgGenerator:
    """Step an energy through regions, each with its own step and exposure, and take an event at each.

    Where the exposure changes, detectors begin a new file; it is one run all the same.

    Parameters
    ----------
    detectors : list
        Detectors and whatever else is to be read.
    energy : object
        What sets the energy: a monochromator, or a pseudo motor over it and the undulator.
    regions : list
        Regions in their order: [start, stop, step], or [start, stop, step, exposure in s]; as [[-50, -10, 5],
        [-10, 20, 0.5, 1.0]]. A point that two regions share is taken once, with the second.
    edge : float, optional
        What the regions count from, in their unit.
    exposure : float, optional
        Exposure in s in the regions that have none of their own; left out, what is set.
    md : dict, optional
        Metadata of the run.
    """
    axis: Any = energy
    points = energies_of(regions, edge, exposure)
    takers = [one for one in detectors if hasattr(one, "exposure")]
    for value in {one.exposure for one in points if one.exposure is not None}:
        check_exposure(detectors, value)
    described = {
        "plan_name": "energy_scan",
        "detectors": [one.name for one in detectors],
        "motors": [axis.name],
        "num_points": len(points),
        "num_intervals": len(points) - 1,
        "edge": edge,
        "plan_args": {"regions": regions, "edge": edge, "exposure": exposure},
        "hints": {"dimensions": [(getattr(axis, "hints", {}).get("fields", [axis.name]), "primary")]},
    }

    @bpp.stage_decorator([*detectors, axis])
    @bpp.run_decorator(md={**described, **(md or {})})
    def inner() -> MsgGenerator:
        now = None
        for point in points:
            yield from bps.checkpoint()
            yield from bps.mv(axis, point.energy)
            if point.exposure != now:
                now = point.exposure
                yield from set_exposure(takers, now)
            yield from bps.trigger_and_read([*detectors, axis])

    return (yield from inner())


def energies_of(
    regions: Sequence[Sequence[float]], edge: float = 0.0, exposure: float | None = None
) -> list[EnergyPoint]:
    """The points of an energy scan, in their order. Raises `ConfigError`."""
    points: list[EnergyPoint] = []
    for region in regions:
        if len(region) not in (3, 4):
            raise ConfigError(f"The region {list(region)} has {len(region)} numbers.", "Give [start, stop, step].")
        start, stop, step = region[:3]
        if not step or (stop - start) * step < 0:
            raise ConfigError(f"Steps of {step} do not lead from {start} to {stop}.", "Give another step.")
        of_region = region[3] if len(region) == 4 else exposure
        if points and abs(points[-1].energy - (edge + start)) <= abs(step) * CLOSE:
            points.pop()
        count = int((stop - start) / step + 1 + CLOSE)
        points += [EnergyPoint(edge + start + number * step, of_region) for number in range(count)]
    if not points:
        raise ConfigError("An energy scan without regions has no points.", "Give [[start, stop, step], ...].")
    return points
