"""What a stream looks like from outside: series, rate, gaps, order. It counts by the same rules as the service.

It owns no socket: messages go in, and what is known of the stream can be asked for at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from typing_extensions import Buffer

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs.codec import Decoder
from bluesky_streamdet.core.actions import Deliver, Finish
from bluesky_streamdet.core.errors import ConfigError, MalformedMessage
from bluesky_streamdet.core.events import Frame, SeriesStart, payload_bytes
from bluesky_streamdet.core.ledger import Ledger
from bluesky_streamdet.core.receiver import Receiver
from bluesky_streamdet.core.series import Limits, Order, Series
from bluesky_streamdet.streaming.sniff import codec_of

LIMITS = Limits(gap_seconds=0.5, gap_bytes=32 << 20)
"""A watcher holds back little, as it gives frames to nobody."""
AUTO = "auto"
UNKNOWN = "in no known format"


class Sight(msgspec.Struct, frozen=True):
    """What is known of a stream at a moment.

    series: its number or, where the stream gives none, how many have been seen. codec: None until a message told.
    frames, bytes: since watching began. ledger: of the latest series. state: of that series, its outcome once it has
    ended. between: what belongs to no series, mostly messages that nobody can read.
    """

    codec: str | None
    series: str | None
    state: str
    reason: str
    frames: int
    bytes: int
    ledger: Ledger
    between: Ledger
    header: SeriesStart | None
    frame: Frame | None


class Watcher:
    """Takes messages of one stream. codec: key of `catalog.CODECS`, or `AUTO`. Raises `ConfigError` for another."""

    def __init__(self, codec: str = AUTO) -> None:
        if codec != AUTO and codec not in CODECS:
            raise ConfigError(f"There is no codec {codec!r}.", f"Take {AUTO}, {', '.join(CODECS)}.")
        self.codec = None if codec == AUTO else codec
        self._decoder: Decoder | None = None if self.codec is None else CODECS[self.codec].decoder()
        announced = self.codec is None or CODECS[self.codec].announced
        self._receiver = Receiver(LIMITS, self._order, announced=announced)
        self._unknown = UNKNOWN
        self._seen = 0
        self._series: Series | None = None  # The last one that ended.
        self._ended = ("", "")
        self._frame: Frame | None = None
        self._frames = self._bytes = 0

    def take(self, parts: Sequence[Buffer], received: int, now: float) -> None:
        """Take a message that came at `received` (ns since 1970) and `now` (s, of any clock that goes steadily)."""
        decoder = self._decoder or self._recognise(parts)
        if decoder is None:
            self._receiver.malformed(self._unknown, now)
            return
        try:
            events = decoder.decode(parts, received)
        except MalformedMessage as error:
            self._receiver.malformed(error.reason, now)
            events = error.events
        for event in events:
            if isinstance(event, Frame):
                self._frame = event
                self._frames += 1
                self._bytes += payload_bytes(event)
        self._note(self._receiver.receive(events, now))

    def tick(self, now: float) -> None:
        """Give up gaps that have lasted too long."""
        self._note(self._receiver.tick(now))

    def sight(self) -> Sight:
        """What is known now."""
        running = self._receiver.series is not None
        series = self._receiver.series or self._series
        ended, reason = self._ended
        return Sight(
            codec=self.codec,
            series=None if series is None else series.key or series.id,
            state="" if series is None else str(self._receiver.state) if running else ended,
            reason="" if running else reason,
            frames=self._frames,
            bytes=self._bytes,
            ledger=Ledger() if series is None else series.ledger,
            between=self._receiver.between,
            header=None if series is None else series.start,
            frame=self._frame,
        )

    def _order(self, start: SeriesStart | None) -> Order:
        self._seen += 1
        return Order(str(self._seen))

    def _recognise(self, parts: Sequence[Buffer]) -> Decoder | None:
        codec = codec_of(parts)
        if codec is not None and CODECS[codec].by_choice:
            self._unknown = f"in a format that has to be asked for: {codec}"
        elif codec is not None:
            self.codec, self._decoder = codec, CODECS[codec].decoder()
            self._receiver.announced = CODECS[codec].announced
        return self._decoder

    def _note(self, actions: Sequence[Any]) -> None:
        for action in actions:
            match action:
                case Deliver(series=series, frames=frames):
                    # Nobody writes them: to have seen a frame is all that a watcher wants of it.
                    series.ledger.live_only += len(frames)
                case Finish(series=series):
                    outcome, reason = series.outcome()
                    self._series, self._ended = series, (str(outcome), reason)
