"""Plans that need more than Bluesky ships.

`bluesky.plans.fly` knows nothing of detectors that announce frames while they fly, and `collect_while_completing` ends
too early after a pause. These plans work for both faces of our detectors, and for other devices of the same protocols.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import Msg, plan, short_uid

MsgGenerator = Generator[Msg, Any, Any]


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
        across = _spread(self.x, self.columns)
        return [
            GridRow(number, y, across[::-1] if self.snake and number % 2 else across, period)
            for number, y in enumerate(_spread(self.y, self.rows))
        ]


def _spread(limits: tuple[float, float], points: int) -> tuple[float, ...]:
    """So many points, evenly from the first limit to the second."""
    low, high = limits
    return tuple(low + (high - low) * one / max(1, points - 1) for one in range(points))


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
def raster(
    detectors: Sequence[Readable],
    stage: Any,
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
    finished meanwhile.

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
    grid = Grid(rows, columns, x, y, snake)
    described = {
        "plan_name": "raster",
        "detectors": [detector.name for detector in detectors],
        "motors": [stage.name],
        "num_points": rows * columns,
        "shape": [rows, columns],
        "extents": [list(y), list(x)],
        "snaking": [False, snake],
        "plan_args": {"rows": rows, "columns": columns, "exposure": exposure, "overhead": overhead},
        "hints": {"gridding": "rectilinear"},
    }

    @bpp.stage_decorator([*detectors, stage])
    @bpp.run_decorator(md={**described, **(md or {})})
    def inner() -> MsgGenerator:
        yield from _prepare_all(detectors, rows * columns, exposure, external=True)
        yield from bps.declare_stream(*detectors, name=stream_name, collect=True)
        yield from bps.declare_stream(stage, name="positions", collect=True)
        yield from bps.kickoff_all(*detectors, wait=True)
        # From here on nothing but a row is repeated after a pause.
        yield from bps.checkpoint()
        for row in grid.rows_in_order(exposure + overhead):
            yield from _fly_row(detectors, stage, row, stream_name, flush_period)
        yield from announce_until_complete(detectors, stream_name, flush_period)

    return (yield from inner())


def _fly_row(detectors: Sequence[Any], stage: Any, row: GridRow, stream_name: str, flush_period: float) -> MsgGenerator:
    """Fly one row, and announce what the detectors have taken meanwhile; a row that was begun is not begun anew."""
    yield from bps.mv(stage.y, row.y)
    yield from bps.prepare(stage, row, wait=True)
    yield from bps.kickoff(stage, wait=True)
    done = None
    group = ""
    while not done:
        if done is None:
            group = short_uid(label="row")
            yield from bps.complete(stage, group=group, wait=False)
        yield from bps.checkpoint()
        done = yield from bps.wait(group=group, timeout=flush_period, error_on_timeout=False)
        yield from bps.collect(*detectors, name=stream_name)
    yield from bps.collect(stage, name="positions")
    yield from bps.checkpoint()


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


def _prepare_all(
    detectors: Sequence[Any], events: int, exposure: float | None, *, external: bool = False
) -> MsgGenerator:
    group = short_uid(label="prepare")
    for detector in detectors:
        if external or hasattr(detector, "events_to_kickoff"):
            preparation = _trigger_info(detector, events, exposure, external=external)
        else:
            preparation = events
            if exposure is not None:
                yield from bps.mv(detector.exposure, exposure)
        yield from bps.prepare(detector, preparation, group=group)
    yield from bps.wait(group=group)


def _trigger_info(detector: Any, events: int, exposure: float | None, *, external: bool) -> Any:
    """What ophyd-async's detectors are prepared with, and others understand; it says how many frames an event has."""
    from ophyd_async.core import DetectorTrigger, TriggerInfo

    frames = detector.frames_per_event if hasattr(detector, "events_to_kickoff") else 1
    trigger = DetectorTrigger.EXTERNAL_EDGE if external else DetectorTrigger.INTERNAL
    return TriggerInfo(number_of_events=events, trigger=trigger, livetime=exposure or 0.0, collections_per_event=frames)
