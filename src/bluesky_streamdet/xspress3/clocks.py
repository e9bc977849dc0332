"""Which clock each card of a system gets."""

from __future__ import annotations

from typing import Literal, NamedTuple

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed
from bluesky_streamdet.xspress3.calls import Calls
from bluesky_streamdet.xspress3.constants import ClockFlags, ClockSource, Generation

Choice = Literal["auto", "internal", "xtal", "external"]

_SLOWEST, _FASTEST = 1e-6, 1e-9
"""Seconds of a clock cycle; outside of them, something else was measured."""


class Clock(NamedTuple):
    source: ClockSource
    flags: ClockFlags


def clocks_for(generations: list[Generation], choice: Choice) -> list[Clock]:
    """The clock of each card.

    "auto": the crystal on the ADC board of an X3 or X3V7, the oscillator of a Mini or of a single X4, and that of the
    midplane where several X4 are in one crate. "internal": the FPGA's own, which shows no real data. "xtal": the
    crystal. "external": the connector; of several cards the first has the crystal, and gives it to the others.

    Raises `ConfigError` for a choice that a card does not have.
    """
    lone = len(generations) == 1
    return [_clock(card, generation, choice, lone=lone) for card, generation in enumerate(generations)]


def _clock(card: int, generation: Generation, choice: Choice, *, lone: bool) -> Clock:
    master = ClockFlags.MASTER | ClockFlags.NO_DITHER
    if choice == "internal":
        return Clock(ClockSource.INT, ClockFlags.NO_DITHER)
    if generation in {Generation.MINI, Generation.X4}:
        if choice != "auto":
            raise ConfigError(
                f"clock is {choice}, which card {card}, of generation {generation.label}, does not have.",
                "Leave it to auto.",
            )
        if generation is Generation.MINI:
            return Clock(ClockSource.MINI_CDCM61004, master)
        return Clock(ClockSource.MINI_LMK61E2 if lone else ClockSource.X4_MIDPLN_LMK61E2, master)
    if choice == "external" and (lone or card > 0):
        return Clock(ClockSource.EXT, ClockFlags.NO_DITHER)
    return Clock(ClockSource.XTAL, master)


def set_clocks(calls: Calls, clocks: list[Clock]) -> None:
    for card, clock in enumerate(clocks):
        calls("xsp3_clocks_setup", card, int(clock.source), int(clock.flags), 0)


def clock_period(calls: Calls) -> float:
    """Seconds of a clock cycle, as the first card measures it. Raises `HardwareFailed` when it cannot."""
    period = calls.raw("xsp3_get_clock_period", 0)
    if not _FASTEST <= period <= _SLOWEST:
        raise HardwareFailed(f"xsp3_get_clock_period says {period!r} s, which is no clock.", "Are the clocks set up?")
    return period
