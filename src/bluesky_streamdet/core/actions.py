"""What the receiver decides, for others to carry out in this order."""

from __future__ import annotations

from dataclasses import dataclass

from bluesky_streamdet.core.events import Frame, SeriesStart
from bluesky_streamdet.core.series import Series


@dataclass(slots=True)
class Begin:
    """Open the sinks for a series. `start` is None when its header was lost, or the stream has none."""

    series: Series
    start: SeriesStart | None


@dataclass(slots=True)
class Deliver:
    """Frames of the open series, in order."""

    series: Series
    frames: list[Frame]


@dataclass(slots=True)
class Finish:
    """Close the sinks, then judge `series.outcome()`."""

    series: Series


Action = Begin | Deliver | Finish
