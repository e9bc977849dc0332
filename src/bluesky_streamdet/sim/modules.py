"""A detector of several modules: each sends its rows of every picture by a socket of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import Encoder, Message
from bluesky_streamdet.core.events import BSLZ4, RAW, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.transforms import bslz4, pixels

GAP = 8
"""Rows between two modules."""


class ModuleEncoder:
    """An encoder whose messages are those of all modules, one behind another, each of as many parts."""

    def __init__(self, encoder: Callable[[], Encoder], modules: int) -> None:
        self._encoders = [encoder() for _ in range(modules)]

    def start(self, start: SeriesStart) -> Message:
        rows, columns = (int(start.metadata[f"{axis}_pixels_in_detector"]) for axis in "yx")
        modules = len(self._encoders)
        height = rows // modules
        whole = [rows + (modules - 1) * GAP, columns]
        message: Message = []
        for number, encoder in enumerate(self._encoders):
            place = {"x": 0, "y": number * (height + GAP), "rotation": 0, "full_shape": whole}
            message += encoder.start(msgspec.structs.replace(start, metadata=start.metadata | place))
        return message

    def frame(self, frame: Frame) -> Message:
        modules = len(self._encoders)
        rows, columns = frame.format.shape
        form = replace(frame.format, shape=(rows // modules, columns), chunk=(rows // modules, columns))
        encode = {BSLZ4: bslz4.encode, RAW: bytes}[form.encoding]
        message: Message = []
        for encoder, part in zip(self._encoders, pixels.decode(frame).reshape(modules, *form.shape), strict=True):
            message += encoder.frame(msgspec.structs.replace(frame, format=form, parts=(encode(part),)))
        return message

    def end(self, end: SeriesEnd) -> Message:
        return [part for encoder in self._encoders for part in encoder.end(end)]


class ModuleSender:
    """The senders of all modules as one: a message is sent when each has its share of the parts."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = senders
        self._sent = 0
        self.address = ", ".join(sender.address for sender in senders)

    def offer(self, parts: Sequence[Buffer], timeout: float = 0.0) -> bool:
        """Send a message, or what of it has found no room before. False when some of it has found none again."""
        if not parts:
            return True
        share = len(parts) // len(self._senders)
        while self._sent < len(self._senders):
            mine = parts[self._sent * share : (self._sent + 1) * share]
            if not self._senders[self._sent].offer(mine, timeout):
                return False
            self._sent += 1
        self._sent = 0
        return True

    def has_peer(self, timeout: float = 0.0) -> bool:
        """Whether, each within `timeout` seconds, all of them have somebody to send to."""
        return all(sender.has_peer(timeout) for sender in self._senders)
