"""The latest frame for whoever asks: a request of any text, a reply of two parts.

    {"htype": "image", "frame", "exptime", "shape", "type", "compression", "number", "series"} and the counts

"frame" is how many frames of the series there have been, as viewers of Xspress3 streams expect, and "number" is that of
this one. "first_bin", "ev_per_bin" and "regions" are there when the header of the series has them. To the request
`scalars` there is a third part, the record of what came with the frame, which "scalars" in the header describes. Before
the first frame it is an image of 2 x 2 zeros.

Any number of clients may ask; one that goes away, or never reads its replies, holds up nobody.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import zmq
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import plain
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesStart
from bluesky_streamdet.streaming.source import address_of, open_socket
from bluesky_streamdet.transforms import pixels

WITH_SCALARS = b"scalars"
"""The request for the scalars, too."""
AT_ONCE = 16
"""Requests that are answered before the loop goes on."""
WAITING = 16
"""Replies that ZeroMQ keeps for a client that does not read them; it gets no more."""
LARGEST_REQUEST = 1 << 16

AXIS = ("first_bin", "ev_per_bin", "regions")
"""What the header of a series says of its bins."""

NOTHING = Frame(-1, None, None, FrameFormat((2, 2), "<u4", RAW, (2, 2)), (bytes(16),), 0)


class Monitor:
    """The port. Raises `AddressTaken`, or `ConfigError` for an impossible address.

    `socket` tells when somebody has asked; then call `answer`.
    """

    def __init__(self, address: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.answered = 0
        self._frame = NOTHING
        self._exposure: float | None = None
        self._clock_period: float | None = None
        self._axis: dict[str, Any] = {}
        # No REP, which waits for the client whose turn it is; to REQ sockets this looks the same.
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.sndhwm = self.socket.rcvhwm = WAITING
        self.socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_REQUEST)
        try:
            open_socket(self.socket, address, bind=True)
        except BaseException:
            self.socket.close()
            raise
        self.address = address_of(self.socket)

    def start(self, start: SeriesStart) -> None:
        """A series begins; its header says how long frames are exposed, and what their bins are."""
        self._axis = {name: plain(start.metadata[name]) for name in AXIS if name in start.metadata}
        self._exposure = _number(start.metadata.get("count_time"))
        self._clock_period = _number(start.metadata.get("clock_period"))

    def show(self, frame: Frame) -> None:
        """This is the latest frame. It is kept as it is, and encoded when somebody asks."""
        self._frame = frame

    def answer(self) -> bool:
        """Answer those who have asked, but no more than some of them. Whether anybody had."""
        for count in range(AT_ONCE):
            try:
                *envelope, request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return count > 0
            # Makes ZeroMQ hear of replies that have left: otherwise it looks only each millisecond, and drops this one.
            self.socket.getsockopt(zmq.EVENTS)
            try:
                self.socket.send_multipart([*envelope, *self._reply(request)], zmq.NOBLOCK)
            except zmq.ZMQError:
                continue  # The client has gone, or does not read.
            self.answered += 1
        return True

    def close(self, linger: int = 0) -> None:
        """Close; replies may still leave within `linger` ms."""
        self.socket.linger = linger
        self.socket.close()

    def _reply(self, request: bytes) -> list[Buffer]:
        frame = self._frame
        form = frame.format
        header: dict[str, Any] = {
            "htype": "image",
            "frame": frame.number + 1,
            "exptime": self._exposure_of(frame),
            "shape": form.shape,
            "type": np.dtype(form.dtype).name,
            "compression": RAW,
            "number": frame.number,
            "series": frame.series or "",
            **self._axis,
        }
        parts: list[Buffer] = [_counts(frame)]
        if request == WITH_SCALARS:
            header["scalars"] = [
                {"name": one.name, "type": np.dtype(one.dtype).name, "shape": one.shape, "unit": one.unit}
                for one in form.scalars
            ]
            parts.append(frame.scalars or b"")
        return [msgspec.json.encode(header), *parts]

    def _exposure_of(self, frame: Frame) -> float | None:
        """Seconds: what the frame says, what its clock cycles come to, or what was asked for."""
        real_time = (frame.detail or {}).get("real_time")
        if real_time is not None:
            return real_time / 1e9
        names = frame.format.record.names or ()
        if "total_ticks" in names and self._clock_period is not None and frame.scalars is not None:
            return float(np.frombuffer(frame.scalars, frame.format.record)["total_ticks"].flat[0] * self._clock_period)
        return self._exposure


def _counts(frame: Frame) -> Buffer:
    """The counts of the whole frame; zeros for what can't be decoded."""
    if frame.format.encoding == RAW and len(frame.parts) == 1:
        return frame.parts[0]
    try:
        return pixels.decode(frame).tobytes()
    except MalformedMessage:
        return bytes(frame.format.nbytes)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
