"""Messages handed on as they came, byte by byte, in whatever format they are."""

from __future__ import annotations

from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.events import Event, Frame, SeriesEnd, SeriesStart


class Encoder:
    """The message of each event; none where the series began or ended without one."""

    def start(self, start: SeriesStart) -> Message:
        return _message(start)

    def frame(self, frame: Frame) -> Message:
        return _message(frame)

    def end(self, end: SeriesEnd) -> Message:
        return _message(end)


def _message(event: Event) -> Message:
    return list(event.message or ())
