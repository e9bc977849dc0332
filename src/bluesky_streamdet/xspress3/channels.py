"""What each channel counts as what: windows, threshold of good events, width of an event, dead time."""

from __future__ import annotations

import ctypes
import math
from ctypes import c_double, c_int, c_uint32
from typing import Any

from pydantic import Field, ValidationError

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.streaming.endpoints import Section
from bluesky_streamdet.streaming.wording import in_words
from bluesky_streamdet.xspress3.abi import TRIGGER_B_FIELDS, TriggerB
from bluesky_streamdet.xspress3.calls import Calls
from bluesky_streamdet.xspress3.checks import whole
from bluesky_streamdet.xspress3.constants import BINS_PER_MCA, NUM_WINDOWS, DeadTimeFlags

VARIABLE_WIDTH = 3
"""Clock cycles by which the event time is longer than the width of an event, where widths vary."""
HIGHEST_ENERGY = 1000.0
"""keV; who gives more, gave eV."""

Time = Field(default=0.0, allow_inf_nan=False)


class DeadTime(Section):
    """Parameters of the SDK's dead-time correction for one channel.

    An event blinds the channel for offset + gradient * energy, in s and s/keV, to which the rate terms add in s/Hz and
    s/Hz/keV; another set of four is for events in the spectrum. use_good: the rate is taken from good events, not from
    all. omit: the channel is not corrected.
    """

    all_event_offset: float = Time
    all_event_gradient: float = Time
    all_event_rate_offset: float = Time
    all_event_rate_gradient: float = Time
    in_window_offset: float = Time
    in_window_gradient: float = Time
    in_window_rate_offset: float = Time
    in_window_rate_gradient: float = Time
    use_good: bool = False
    omit: bool = False


DEAD_TIMES = tuple(name for name in DeadTime.model_fields if name not in {"use_good", "omit"})
"""In the order in which the SDK's second form of the functions takes them."""


class Channels:
    """The settings of the channels of one system; channel -1 is all of them.

    What was read is kept until it is changed: the state of a system that takes frames is asked for often, and its
    registers may be behind a network.
    """

    def __init__(self, calls: Calls, number: int) -> None:
        self._calls = calls
        self.number = number
        self._energy: float | None = None
        self._known: dict[tuple[Any, ...], Any] = {}

    def forget(self) -> None:
        """The settings have changed: ask the SDK anew."""
        self._known.clear()

    def check(self, channel: int, *, or_all: bool = False) -> int:
        """The channel. Raises `ConfigError` for one that does not exist."""
        channel = whole("channel", channel)
        if not (-1 if or_all else 0) <= channel < self.number:
            every = ", or -1 for all" if or_all else ""
            raise ConfigError(f"There is no channel {channel}: they are 0 to {self.number - 1}{every}.")
        return channel

    def window(self, window: int, channel: int) -> tuple[int, int]:
        """The first and the last bin that `window`, 0 or 1, counts."""
        channel, window = self.check(channel), _checked_window(window)
        if (known := self._known.get(("window", window, channel))) is not None:
            return known
        low, high = c_uint32(), c_uint32()
        self._calls("xsp3_get_window", channel, window, ctypes.byref(low), ctypes.byref(high))
        self._known["window", window, channel] = low.value, high.value
        return low.value, high.value

    def set_window(self, window: int, low: int, high: int, channel: int = -1) -> None:
        """Let `window` count events of raw bins `low` to `high`, both included."""
        channel, window = self.check(channel, or_all=True), _checked_window(window)
        low, high = whole("low", low), whole("high", high)
        if not 0 <= low <= high < BINS_PER_MCA:
            raise ConfigError(
                f"Window {window} of {low} to {high}: low may not be above high, and bins are 0 to {BINS_PER_MCA - 1}."
            )
        self.forget()
        self._calls("xsp3_set_window", channel, window, low, high)

    def threshold(self, channel: int) -> int:
        """The raw bin from which on an event is good."""
        channel = self.check(channel)
        if (known := self._known.get(("threshold", channel))) is not None:
            return known
        value = c_uint32()
        self._calls("xsp3_get_good_thres", channel, ctypes.byref(value))
        self._known["threshold", channel] = value.value
        return value.value

    def set_threshold(self, value: int, channel: int = -1) -> None:
        channel, value = self.check(channel, or_all=True), whole("threshold", value)
        if not 0 <= value < BINS_PER_MCA:
            raise ConfigError(f"The threshold {value} is not a bin: 0 to {BINS_PER_MCA - 1}.")
        self.forget()
        self._calls("xsp3_set_good_thres", channel, value)

    def trigger_b(self, channel: int) -> dict[str, int]:
        """How the channel finds events, by the names of the SDK's structure."""
        channel = self.check(channel)
        settings = TriggerB()
        self._calls("xsp3_get_trigger_b", channel, ctypes.byref(settings))
        return {name: getattr(settings, name) for name in TRIGGER_B_FIELDS}

    def event_width(self, channel: int) -> int:
        """Clock cycles of an event, as the event-width model of the dead time takes them."""
        settings = self.trigger_b(channel)
        return settings["event_time"] - (VARIABLE_WIDTH if settings["enb_variable_width"] else 0)

    def dead_time(self, channel: int) -> DeadTime:
        channel = self.check(channel)
        if (known := self._known.get(("dead time", channel))) is not None:
            return known
        flags, times = c_int(), [c_double() for _ in DEAD_TIMES]
        self._calls("xsp3_getDeadtimeCorrectionParameters2", channel, ctypes.byref(flags), *map(ctypes.byref, times))
        found = self._known["dead time", channel] = DeadTime(
            **{name: one.value for name, one in zip(DEAD_TIMES, times, strict=True)},
            use_good=bool(flags.value & DeadTimeFlags.USE_GOOD_EVENT),
            omit=bool(flags.value & DeadTimeFlags.OMIT_CHANNEL),
        )
        return found

    def set_dead_time(self, channel: int, **changes: Any) -> None:
        """Change what is named, by the names of `DeadTime`; the rest stays. Raises `ConfigError`."""
        channel = self.check(channel, or_all=True)
        try:
            wanted = DeadTime.model_validate(changes).model_dump(include=set(changes))
        except ValidationError as error:
            raise ConfigError(in_words(error.errors(include_url=False), DeadTime)) from error
        for one in range(self.number) if channel < 0 else [channel]:
            changed = self.dead_time(one).model_copy(update=wanted)
            flags = DeadTimeFlags.USE_GOOD_EVENT if changed.use_good else DeadTimeFlags(0)
            flags |= DeadTimeFlags.OMIT_CHANNEL if changed.omit else DeadTimeFlags(0)
            times = [getattr(changed, name) for name in DEAD_TIMES]
            self.forget()
            self._calls("xsp3_setDeadtimeCorrectionParameters2", one, int(flags), *times)

    @property
    def dead_time_energy(self) -> float | None:
        """keV, None before it was set; what the SDK takes then is not defined."""
        return self._energy

    def set_dead_time_energy(self, kev: float) -> None:
        kev = float(kev)
        if not (math.isfinite(kev) and 0 < kev <= HIGHEST_ENERGY):
            raise ConfigError(f"An energy of {kev:g} keV is not within 0 to {HIGHEST_ENERGY:g} keV.", "It is in keV.")
        self._calls("xsp3_setDeadtimeCalculationEnergy", kev)
        self._energy = kev


def _checked_window(window: int) -> int:
    window = whole("window", window)
    if not 0 <= window < NUM_WINDOWS:
        raise ConfigError(f"There is no window {window}: they are 0 to {NUM_WINDOWS - 1}.")
    return window
