"""Pictures of the latest frame, made once for all who look: the data plane is asked as often as for one viewer."""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

from bluesky_streamdet.service import frames
from bluesky_streamdet.service.control import FRAME_AGE, Control
from bluesky_streamdet.streaming.status import FrameReport, PictureReport

SLOWEST = 60.0
"""Seconds between pictures at most."""
LONGEST_SIDE = 1100
"""Pixels of a picture that is made to fit a screen."""
KEPT = 4
"""Pictures of the latest frame, of different sizes."""


class Picture(NamedTuple):
    """about: a `PictureReport` as JSON."""

    about: str
    png: bytes


class Live:
    """The pictures of one service. Lives in its event loop."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._drawing = asyncio.Lock()
        self._frame: FrameReport | None = None
        self._pictures: dict[int, Picture] = {}

    async def newest(self, max_age: float, factor: int = 0) -> Picture:
        """The latest frame, or one that was the latest `max_age` seconds ago.

        factor: blocks of so many pixels a side become one; 0 for as many as make it fit a screen.
        Raises `NoFrame`, what the data plane raises, or what says that it can't be drawn.
        """
        report, parts = await self._control.frame(max(max_age, FRAME_AGE))
        factor = factor or fitting(report)
        async with self._drawing:
            if report != self._frame:
                self._frame, self._pictures = report, {}
            if factor not in self._pictures:
                png = await asyncio.to_thread(frames.encode, "png", report, parts, factor)
                about = PictureReport(
                    series=report.series,
                    number=report.number,
                    received=report.received,
                    shape=report.shape,
                    downsample=factor,
                )
                if len(self._pictures) >= KEPT:
                    self._pictures.clear()
                self._pictures[factor] = Picture(about.model_dump_json(), png)
            return self._pictures[factor]


def fitting(report: FrameReport) -> int:
    """The factor by which a frame fits a screen."""
    return min(256, max(1, math.ceil(max(report.shape, default=1) / LONGEST_SIDE)))
