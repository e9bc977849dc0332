"""Frames straight from the service, for plots that don't wait for files: by an output that publishes, or by REST."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bluesky_streamdet.callbacks.live import Direct, Shot
from bluesky_streamdet.core.errors import ConfigError, MalformedMessage, RequestRefused, StreamdetError
from bluesky_streamdet.core.events import Frame, SeriesStart

if TYPE_CHECKING:
    from bluesky_streamdet.codecs.codec import Decoder
    from bluesky_streamdet.service.client import ServiceClient
    from bluesky_streamdet.streaming.listener import Listener

log = logging.getLogger(__name__)

KEY = "frames"
"""What frames are called until documents say it."""
FEW, MANY = 16, 1000
"""Messages that may wait for a plot of the newest frame, and of all."""
PERIOD = 0.5
"""Seconds between two requests for the latest frame."""


def direct_of(address: str) -> Direct:
    """The source at an address. Raises `ConfigError` for one that is none."""
    if address.startswith(("http://", "https://")):
        return LatestByRest(address)
    if address.startswith(("tcp://", "ipc://")):
        return PublishedFrames(address)
    raise ConfigError(
        f"There are no frames at {address!r}.", "Give an output that publishes, tcp://HOST:PORT, or http://HOST:PORT."
    )


class PublishedFrames:
    """What a port of the fan-out (`kind: pub`), or a detector, publishes. No receiver loses a frame by it."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._listener: Listener | None = None
        self._decoder: Decoder | None = None
        self._metadata: Mapping[str, Any] = {}

    def take(self, timeout: float, *, newest: bool) -> Sequence[Shot]:
        """As of `Direct`; messages that nobody can read are left out."""
        from bluesky_streamdet.streaming.listener import Listener

        # Who wants all frames has them wait while it draws.
        self._listener = self._listener or Listener(self._endpoint, "sub", queue=FEW if newest else MANY)
        came: list[tuple[Frame, Mapping[str, Any]]] = []
        for message in self._listener.receive(timeout):
            came += self._frames(message)
        return [_shot(*one) for one in (came[-1:] if newest else came)]

    def _frames(self, message: Sequence[Any]) -> list[tuple[Frame, Mapping[str, Any]]]:
        from bluesky_streamdet.catalog import CODECS
        from bluesky_streamdet.streaming.sniff import codec_of

        if self._decoder is None:
            codec = codec_of(message)
            if codec is None or CODECS[codec].by_choice:
                return []
            self._decoder = CODECS[codec].decoder()
        try:
            events = self._decoder.decode(message, time.time_ns())
        except MalformedMessage as error:
            events = error.events
        found = []
        for event in events:
            if isinstance(event, SeriesStart):
                self._metadata = event.metadata
            elif isinstance(event, Frame):
                found.append((event, self._metadata))
        return found

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = self._decoder = None


class LatestByRest:
    """The latest frame of a service, asked for by REST twice a second.

    connect: makes the client; with the URL it is that of our services.
    """

    def __init__(self, url: str, connect: Callable[[str], Any] | None = None) -> None:
        self._url = url
        self._connect = connect or _client
        self._client: Any = None
        self._seen: tuple[str | None, int] | None = None
        self._next = 0.0
        self._told = False

    def take(self, timeout: float, *, newest: bool) -> Sequence[Shot]:
        """As of `Direct`; nothing while there is no frame, or no service."""
        now = time.monotonic()
        if now < self._next:
            threading.Event().wait(min(timeout, self._next - now))
            return []
        self._next = now + PERIOD
        client = self._client = self._client or self._connect(self._url)
        try:
            latest = client.frame()
        except RequestRefused:
            return []  # no frame has come yet
        except StreamdetError as error:
            if not self._told:
                log.warning("%s", error.message)
            self._told = True
            return []
        which = latest.header.series, latest.header.number
        if which == self._seen:
            return []
        self._seen = which
        columns = {name: np.asarray(values)[np.newaxis] for name, values in latest.scalars.items()}
        number = latest.header.number + 1
        return [Shot(KEY, range(number, number + 1), latest.pixels[np.newaxis], columns)]

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


class _Told(NamedTuple):
    """What a header says that a descriptor would, with names as there."""

    ev_per_bin: float | None
    first_bin: int | None


def _shot(frame: Frame, metadata: Mapping[str, Any]) -> Shot:
    from bluesky_streamdet.transforms.pixels import decode

    columns = {}
    if frame.scalars is not None:
        record = np.frombuffer(frame.scalars, frame.format.record)
        columns = {name: record[name] for name in record.dtype.names or ()}
    told = _Told(metadata.get("ev_per_bin"), metadata.get("first_bin"))
    said = {f"{KEY}_{name}": value for name, value in told._asdict().items() if value is not None}
    said[f"{KEY}_bins"] = frame.format.shape[-1]
    number = frame.number + 1
    described = {"configuration": {KEY: {"data": said}}}
    return Shot(KEY, range(number, number + 1), decode(frame)[np.newaxis], columns, described=described)


def _client(url: str) -> ServiceClient:
    from bluesky_streamdet.service.client import ServiceClient

    return ServiceClient(url)
