"""What can go wrong on the way from a detector to its receiver, on purpose, and counted.

For those who qualify a network or a receiver: frames are dropped, doubled, put out of order or delayed, headers and
ends are lost. The same seed gives the same faults. It owns no socket and no clock: messages go in, messages come out.
"""

from __future__ import annotations

import heapq
import random
from typing import NamedTuple

import msgspec

from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.errors import ConfigError

MOST_LISTED = 10_000
"""Frames that a tally lists by number, of each fault."""
LARGEST_CHOICE = 1_000_000
"""Frames that can be chosen by number."""


class Chosen(msgspec.Struct, frozen=True):
    """Which frames meet a fault: a fraction of all, drawn at random, or some by their number."""

    fraction: float = 0.0
    numbers: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Chosen:
        """Read "0.01" or "1%" as a fraction, "3,7,40-44" as frame numbers. Raises `ConfigError`."""
        text = text.strip()
        try:
            if text.endswith("%") or "." in text:
                fraction = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
                if 0.0 <= fraction <= 1.0:
                    return cls(fraction=fraction)
            else:
                return cls(numbers=frozenset(_numbers(text)))
        except ValueError:
            pass
        raise ConfigError(
            f"{text!r} is no choice of frames.", 'Write a fraction as "0.01" or "1%", frame numbers as "3,7,40-44".'
        )

    def meets(self, number: int, dice: random.Random) -> bool:
        # Drawn whether it is needed or not, so that one fault's choice does not depend on another's.
        return dice.random() < self.fraction or number in self.numbers


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        one = range(int(first), int(last or first) + 1)
        if not one or one[0] < 0 or len(found) + len(one) > LARGEST_CHOICE:
            raise ValueError(piece)
        found += one
    return found


class Faults(msgspec.Struct, frozen=True):
    """What goes wrong. A frame meets one fault at most, the first in the order of this list.

    drop: frames that never come. duplicate: that come twice. reorder: that come after their successor. delay: that
    come `delay_seconds` later, while the stream goes on. lose_header, lose_end: of each series. early_end: the end
    message overtakes the last frame, and what is delayed. restart_at: before this frame the sender counts its
    messages anew, as after a restart.
    """

    drop: Chosen = Chosen()
    duplicate: Chosen = Chosen()
    reorder: Chosen = Chosen()
    delay: Chosen = Chosen()
    delay_seconds: float = 0.5
    lose_header: bool = False
    lose_end: bool = False
    early_end: bool = False
    restart_at: int | None = None
    seed: int = 0


class Tally(msgspec.Struct):
    """What a receiver has to find in a series: how many frames were taken, and which met what.

    Lists of frame numbers end at `MOST_LISTED`; `counts` has the whole numbers by the same names.
    """

    series: str = ""
    frames: int = 0
    """Frames that the detector read out, dropped ones too."""
    counts: dict[str, int] = {}
    dropped: list[int] = []
    duplicated: list[int] = []
    reordered: list[int] = []
    delayed: list[int] = []
    unsent: list[int] = []
    """Found no room before the series was disarmed."""
    header_lost: bool = False
    end_lost: bool = False
    restarted: bool = False

    def note(self, fate: str, number: int) -> None:
        self.counts[fate] = self.counts.get(fate, 0) + 1
        listed: list[int] = getattr(self, fate)
        if len(listed) < MOST_LISTED:
            listed.append(number)

    def in_words(self) -> list[str]:
        """Each fault in words; empty for a series that met none."""
        words = [f"{count} {fate} ({ranges_of(getattr(self, fate))})" for fate, count in self.counts.items()]
        for happened, what in (
            (self.header_lost, "header lost"),
            (self.end_lost, "end lost"),
            (self.restarted, "sender counted anew"),
        ):
            words += [what] if happened else []
        return words


def ranges_of(numbers: list[int], most: int = 12) -> str:
    """Numbers as people write them: "3, 7, 40-44", with "…" after `most` ranges."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    text = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges[:most])
    return text if len(ranges) <= most else f"{text}, …"


COPIES: dict[str | None, int] = {"dropped": 0, "duplicated": 2}
"""How often a frame is sent that met this fault; other frames once."""


class _Held(NamedTuple):
    due: float
    order: int
    message: Message


class Network:
    """The way of one series' messages, from the encoder to the sender; the series has `frames` frames.

    `header`, `frame`, `due` and `end` return the messages to send now, in order. `tally` says what has happened.
    """

    def __init__(self, faults: Faults, series: str, frames: int) -> None:
        self.tally = Tally(series)
        self._final = frames - 1
        self._faults = faults
        self._dice = random.Random(f"{faults.seed}/{series}")  # noqa: S311, no secret is made of it
        self._swapped: Message | None = None
        self._last: list[Message] = []
        self._delayed: list[_Held] = []

    def header(self, message: Message) -> list[Message]:
        self.tally.header_lost = self._faults.lose_header
        return [] if self._faults.lose_header else [message]

    def frame(self, number: int, message: Message, now: float, *, followed: bool = True) -> list[Message]:
        """Frame `number`, read out at `now` (s); `followed` by another that needs no trigger."""
        self.tally.frames += 1
        fate = self._fate(number, followed)
        if fate is not None:
            self.tally.note(fate, number)
        copies = [message] * COPIES.get(fate, 1)
        messages = self.due(now)
        if fate == "reordered":
            self._swapped = message
            return messages
        if fate == "delayed":
            heapq.heappush(self._delayed, _Held(now + self._faults.delay_seconds, number, message))
        elif self._faults.early_end and number == self._final:
            self._last = copies
        else:
            messages += copies
        if self._swapped is not None and (messages or not followed):
            messages.append(self._swapped)
            self._swapped = None
        return messages

    def due(self, now: float) -> list[Message]:
        """Delayed messages whose time has come."""
        messages = []
        while self._delayed and self._delayed[0].due <= now:
            messages.append(heapq.heappop(self._delayed).message)
        return messages

    @property
    def next_due(self) -> float | None:
        """When the next delayed message has to leave (s); None when none is held."""
        return self._delayed[0].due if self._delayed else None

    def end(self, message: Message) -> list[Message]:
        """The end of the series, and whatever is still held."""
        held = self._last if self._swapped is None else [self._swapped, *self._last]
        held += [one.message for one in sorted(self._delayed)]
        self._swapped, self._last = None, []
        self._delayed.clear()
        self.tally.end_lost = self._faults.lose_end
        end = [] if self._faults.lose_end else [message]
        return [*end, *held] if self._faults.early_end else [*held, *end]

    def _fate(self, number: int, followed: bool) -> str | None:
        faults = self._faults
        fates = {
            "dropped": faults.drop,
            "duplicated": faults.duplicate,
            "reordered": faults.reorder,
            "delayed": faults.delay,
        }
        met = [fate for fate, chosen in fates.items() if chosen.meets(number, self._dice)]
        # A frame that itself overtakes another, or that nothing can overtake, is not put out of order.
        if "reordered" in met and (self._swapped is not None or not followed):
            met.remove("reordered")
        return met[0] if met else None
