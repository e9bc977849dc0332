"""Asking a monitor port for the latest frame: that of our services, or of an older Xspress3 streamer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import msgspec
import zmq
from typing_extensions import Buffer

from bluesky_streamdet.codecs import xspress3
from bluesky_streamdet.codecs.codec import json_of
from bluesky_streamdet.core.errors import ConfigError, MalformedMessage
from bluesky_streamdet.core.events import RAW, Frame
from bluesky_streamdet.streaming.monitor import AXIS, WITH_SCALARS
from bluesky_streamdet.streaming.source import LARGEST_MESSAGE, open_socket

PATIENCE = 2.0
"""Seconds after which a question that got no answer is asked again: whoever had it may have gone."""


class MonitorClient:
    """One client of a monitor port. Raises `ConfigError` for an impossible address.

    axis: what the latest answer said of the bins of its spectra, by the names of a series' header.
    """

    def __init__(self, endpoint: str) -> None:
        if "://" not in endpoint:
            raise ConfigError(f"{endpoint!r} is no ZeroMQ address.", "Write it as tcp://HOST:PORT.")
        self.address = endpoint
        self.axis: dict[str, Any] = {}
        self._decode = xspress3.Decoder().decode
        self._asked: float | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # No REQ, which could never ask again when an answer got lost.
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        try:
            open_socket(self._socket, endpoint, bind=False)
        except BaseException:
            self.close()
            raise

    def ask(self, timeout: float) -> Frame | None:
        """The latest frame, whose `number` counts from 1, or 0 before the first; None without an answer in time.

        timeout: seconds. Raises `MalformedMessage` for an answer that is none.
        """
        now = time.monotonic()
        if self._asked is None or now - self._asked > PATIENCE:
            self._asked = now
            self._socket.send_multipart([b"", WITH_SCALARS])
        if not self._socket.poll(round(1000 * timeout)):
            return None
        self._asked = None
        return self._read(self._socket.recv_multipart())

    def _read(self, parts: Sequence[Buffer]) -> Frame:
        if len(parts) < 3 or bytes(parts[0]):
            raise MalformedMessage("wrong number of parts", f"{len(parts)} in an answer")
        header: dict[str, Any] = json_of(xspress3.SETTINGS, parts[1])
        # An older streamer's knows neither series nor scalars.
        more = parts[2:] if header.get("scalars") else parts[2:3]
        header = {"series": "", **header, "compression": RAW}
        (event,) = self._decode([msgspec.json.encode(header), *more], time.time_ns())
        if not isinstance(event, Frame):
            raise MalformedMessage("an answer that is no image")
        self.axis = {name: header[name] for name in AXIS if name in header}
        return event

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def __enter__(self) -> MonitorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
