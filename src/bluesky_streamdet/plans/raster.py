"""A raster that a stage flies, and its grid: detectors are triggered by the stage's cable at each point."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Flyable, Readable
from bluesky.utils import plan

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.plans.flying import (
    MsgGenerator,
    announce_until_complete,
    announce_while,
    check_flight,
    fail_with,
    prepare_all,
)


class GridRow(NamedTuple):
    """One row of a grid: where the stage is at the triggers, of which there is one each `period` seconds."""

    number: int
    y: float
    x: tuple[float, ...]
    period: float


class Grid(NamedTuple):
    """Points in rows: where they begin and end along the fast axis, and along the slow one."""

    rows: int
    columns: int
    x: tuple[float, float]
    y: tuple[float, float]
    snake: bool = False

    def rows_in_order(self, period: float) -> list[GridRow]:
        """The rows as they are flown."""
        across = spread(self.x, self.columns)
        return [
            GridRow(number, y, across[::-1] if self.snake and number % 2 else across, period)
            for number, y in enumerate(spread(self.y, self.rows))
        ]


def spread(limits: tuple[float, float], points: int) -> tuple[float, ...]:
    """So many points, evenly from the first limit to the second."""
    low, high = limits
    return tuple(low + (high - low) * one / max(1, points - 1) for one in range(points))


@plan
def raster(
    detectors: Sequence[Readable],
    stage: Flyable | Any,
    rows: int,
    columns: int,
    exposure: float,
    *,
    x: tuple[float, float] = (0.0, 1.0),
    y: tuple[float, float] = (0.0, 1.0),
    snake: bool = False,
    overhead: float = 1e-3,
    stream_name: str = "primary",
    flush_period: float = 0.1,
    md: dict[str, Any] | None = None,
) -> MsgGenerator:
    """Take one frame at each point of a grid, while a stage flies along its rows and triggers the detectors by cable.

    The detectors fly through the whole grid at once, and their frames are announced while they come; where the stage
    was at each trigger is in the stream "positions". The plan may be paused and resumed: a row that has begun is
    finished meanwhile. From one row to the next it may take no longer than the detectors' margin.

    Parameters
    ----------
    detectors : list
        Detectors that can be prepared for external triggers.
    stage : object
        A flyer with a slow axis `y`, that is prepared for each row as `devices.stage.SimulatedStage` is.
    rows : int
        Points along the slow axis.
    columns : int
        Points along the fast axis.
    exposure : float
        Exposure of each frame in s.
    x : tuple, optional
        Where the rows begin and end.
    y : tuple, optional
        Where the first and the last row are.
    snake : bool, optional
        Whether every other row is flown backwards.
    overhead : float, optional
        Seconds from the end of one exposure to the next trigger.
    stream_name : str, optional
        The stream that the frames are announced in.
    flush_period : float, optional
        Seconds between announcements.
    md : dict, optional
        Metadata of the run.
    """
    check_flight(detectors, exposure, rows=rows, columns=columns)
    if not (hasattr(stage, "kickoff") and hasattr(stage, "y")):
        raise ConfigError(f"{stage.name} can't fly along rows.", "Give a flyer that has a slow axis y.")
    grid = Grid(rows, columns, x, y, snake)
    flyer: Any = stage
    described = {
        "plan_name": "raster",
        "detectors": [detector.name for detector in detectors],
        "motors": [flyer.name],
        "num_points": rows * columns,
        "shape": [rows, columns],
        "extents": [list(y), list(x)],
        "snaking": [False, snake],
        "plan_args": {"rows": rows, "columns": columns, "exposure": exposure, "overhead": overhead},
        # Positions are in a stream of their own, which comes row by row: nothing to make a table of.
        "hints": {"gridding": "rectilinear", "dimensions": [(("time",), "primary")]},
    }

    @bpp.stage_decorator([*detectors, flyer])
    @bpp.run_decorator(md={**described, **(md or {})})
    def inner() -> MsgGenerator:
        yield from prepare_all(detectors, rows * columns, exposure, "edge")
        yield from bps.declare_stream(*detectors, name=stream_name, collect=True)
        yield from bps.declare_stream(flyer, name="positions", collect=True)
        yield from bps.kickoff_all(*detectors, wait=True)
        yield from fail_with(detectors)
        # From here on nothing but a row is repeated after a pause.
        yield from bps.checkpoint()
        for row in grid.rows_in_order(exposure + overhead):
            yield from bps.mv(flyer.y, row.y)
            yield from fly_row(detectors, flyer, row, stream_name, flush_period)
        yield from announce_until_complete(detectors, stream_name, flush_period)

    return (yield from inner())


def fly_row(detectors: Sequence[Any], stage: Any, row: GridRow, stream_name: str, flush_period: float) -> MsgGenerator:
    """Fly one row, and announce what the detectors have taken meanwhile; a row that was begun is not begun anew."""
    yield from bps.prepare(stage, row, wait=True)
    yield from bps.kickoff(stage, wait=True)
    yield from announce_while([stage], detectors, stream_name, flush_period)
    yield from bps.collect(stage, name="positions")
    yield from bps.checkpoint()
