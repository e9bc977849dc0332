"""One simulated system from `xsp3_config` to `xsp3_close`: what it is, what it is told, and its run.

    configured ──format_run──► formatted ──arm──► paused ──continue──► running ──► finished ──┐
                                   ▲      ──start───────────────────►                         │
                                   └───────────────────────── stop ◄──────────────────────────┘

A run may be started once more when the first card has finished, without a stop in between. Progress, overruns and
frames of a run can be asked for until the next one begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bluesky_streamdet.xspress3.constants import (
    BINS_PER_MCA,
    TIME_A_DEBOUNCE_SHIFT,
    ErrorCode,
    Generation,
    RunFlags,
    TimeA,
    TimeSource,
)
from bluesky_streamdet.xspress3.simulation.channel import Channel, new_channel
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.detector import Detector, Exposure
from bluesky_streamdet.xspress3.simulation.format import Format
from bluesky_streamdet.xspress3.simulation.frames import Frames
from bluesky_streamdet.xspress3.simulation.inputs import Debounce, Inputs
from bluesky_streamdet.xspress3.simulation.memory import FrameMemory
from bluesky_streamdet.xspress3.simulation.refusal import Refusal, out_of_range
from bluesky_streamdet.xspress3.simulation.run import Run
from bluesky_streamdet.xspress3.simulation.sample import Sample
from bluesky_streamdet.xspress3.simulation.timeline import Ticker
from bluesky_streamdet.xspress3.simulation.timing import Follower, FrameSource, Gate, Generator, ItfgSetup

GENERATIONS = {"X3": Generation.X3, "X3V7": Generation.X3V7, "Mini": Generation.MINI, "X4": Generation.X4}

REVISIONS = {"X3": 7 << 12 | 3, "X3V7": 18 << 12 | 4, "Mini": 34 << 12 | 9, "X4": 50 << 12 | 2}
"""Bits 23..12: major, by which the SDK tells the generations apart; 11..0: minor."""

MINI_FRAMES = 24432
"""Frames of 4096 bins that the memory of a Mini holds, for all of its channels together."""

MOST_FRAMES = 1 << 20
"""That the SDK can handle."""

NOT_GATED = {TimeSource.SOFTWARE, TimeSource.SWENB_HWMARKER}
"""Sources whose frames last as long as counting is enabled."""


class Surroundings(NamedTuple):
    """What is there before and after the system is configured."""

    config: SimulationConfig
    ticker: Ticker
    inputs: Inputs
    sample: Sample
    detector: Detector


class System:
    """Cards 0 to `cards` - 1 with `channels_used` channels in all. num_tf: frames that the host has memory for."""

    def __init__(self, surroundings: Surroundings, cards: int, num_tf: int, channels_used: int) -> None:
        self.config = config = surroundings.config
        self.surroundings = surroundings
        self.generation = GENERATIONS[config.generation]
        self.num_tf = num_tf
        each = config.channels // config.cards
        self.channels_per_card = each
        used = range(channels_used)
        self.cards = [used[card * each : (card + 1) * each] for card in range(cards)]
        times = surroundings.detector.dead_time
        self.channels = [
            new_channel(config.good_threshold, config.event_width, times.all_event, times.in_window) for _ in used
        ]
        self.formats: list[Format | None] = [None] * channels_used
        self.run_flags = RunFlags.SCALERS | RunFlags.HIST
        self.energy: float | None = None
        """keV, of dead-time corrections."""
        self.time_a = [0] * cards
        self.time_fixed = [0] * cards
        self.itfg = [ItfgSetup() for _ in range(cards)]
        self.run: Run | None = None
        self.frames: Frames | None = None
        self._runs = 0
        self._cleared = False

    # What it is

    @property
    def is_mini(self) -> bool:
        return self.generation is Generation.MINI

    @property
    def now(self) -> int:
        return self.surroundings.ticker.now()

    def card(self, card: int) -> int:
        """The card, if there is one. Raises `Refusal`."""
        if not 0 <= card < len(self.cards):
            raise Refusal(ErrorCode.ILLEGAL_CARD, f"there is no card {card}: cards are 0 to {len(self.cards) - 1}")
        return card

    def chosen_cards(self, card: int) -> Sequence[int]:
        """One card, or all of them when it is negative."""
        return range(len(self.cards)) if card < 0 else [self.card(card)]

    def channel(self, channel: int) -> int:
        """The channel, if there is one. Raises `Refusal`."""
        if not 0 <= channel < len(self.channels):
            raise out_of_range("channel", channel, f"0 to {len(self.channels) - 1}")
        return channel

    def chosen_channels(self, channel: int) -> Sequence[int]:
        return range(len(self.channels)) if channel < 0 else [self.channel(channel)]

    # The format

    @property
    def capacity(self) -> int:
        """Frames that fit into memory, in the format of the channel that needs most. Raises `Refusal` without any."""
        size = max(form.bins * form.aux for form in self.formatted)
        room = MINI_FRAMES // self.channels_per_card if self.is_mini else self.num_tf
        return min((self.config.capacity or room) * BINS_PER_MCA // size, MOST_FRAMES)

    @property
    def formatted(self) -> list[Format]:
        """The format of each channel. Raises `Refusal` when one has none."""
        formats = [form for form in self.formats if form is not None]
        if len(formats) < len(self.formats):
            raise Refusal(ErrorCode.ERROR, "no histogram format: call xsp3_format_run first")
        return formats

    def set_format(self, channels: Sequence[int], form: Format) -> None:
        self.refuse_while_running("format_run")
        for channel in channels:
            self.formats[channel] = form
        self.change()

    def change(self) -> None:
        """What was made of frames is no longer right, as windows, thresholds or formats have changed."""
        if self.run is not None and self.frames is not None and None not in self.formats:
            self.frames = self._new_frames(self.run.number)

    # A run

    def advance(self) -> int:
        """Catch up with the clock, and return it; first in each call that depends on time."""
        now = self.now
        if self.run is not None:
            self.run.advance(now, self.surroundings.inputs)
        return now

    def refuse_while_running(self, what: str) -> None:
        now = self.advance()
        if self.run is not None and any(self.run.is_running(card, now) for card in range(len(self.cards))):
            raise Refusal(ErrorCode.ERROR, f"{what} while the system is running: stop it first")

    def clear(self) -> None:
        self.refuse_while_running("histogram_clear")
        self._cleared = True

    def start(self, card: int, enable: bool) -> None:
        """Arm one card or all, and enable counting. Raises `Refusal` when one is running, or not prepared."""
        cards = self.chosen_cards(card)
        now = self.advance()
        run = self.run
        if run is not None:
            for one in cards:
                if run.is_running(one, now):
                    raise Refusal(ErrorCode.ERROR, f"card {one} is already running: stop it first")
        if run is None or any(run.was_started(one) for one in cards) or not self._is_gathering(run, now):
            run = self._new_run(now)
        # The first card comes last, as it makes the frames that the others follow.
        for one in reversed(cards):
            run.start(one, self._source(one, run.debounce.high, now), now, enable)
        self.advance()

    def stop(self, card: int) -> None:
        now = self.advance()
        if self.run is not None:
            self.run.stop(self.chosen_cards(card), now)
            self.advance()

    def running_run(self) -> Run:
        """The latest run. Raises `Refusal` before the first."""
        if self.run is None:
            raise Refusal(ErrorCode.ERROR, "the system has not been started: call xsp3_histogram_arm or _start first")
        return self.run

    def exposure(self, frame: int) -> Exposure:
        """How a frame of the latest run was taken."""
        run, now = self.running_run(), self.now
        ticks = np.zeros(len(self.channels), np.int64)
        for card, channels in enumerate(self.cards):
            if len(channels) and run.begun(card, now) > frame:
                ticks[channels.start : channels.stop] = run.lengths(card, frame, 1, now)
        widths = np.array([channel.event_width for channel in self.channels])
        return Exposure(ticks, widths, self.surroundings.sample.seen(frame, run.began(frame)))

    def restore(self, channels: list[Channel], run_flags: int, energy: float | None) -> None:
        self.channels = channels
        self.run_flags = RunFlags(run_flags)
        self.energy = energy
        self.change()

    def _is_gathering(self, run: Run, now: int) -> bool:
        """Whether other cards of this run wait for one that has not been started yet."""
        return any(run.was_started(card) and run.is_running(card, now) for card in range(len(self.cards)))

    def _new_run(self, now: int) -> Run:
        formats = self.formatted
        if len({form.shape for form in formats}) > 1:
            raise Refusal(ErrorCode.ERROR, "the channels have different formats, which cannot be read together")
        circular = RunFlags.CIRCULAR_BUFFER in self.run_flags
        if not (circular or self._cleared or self.is_mini):
            raise Refusal(ErrorCode.ERROR, "the memory holds an earlier run: call xsp3_histogram_clear first")
        self._cleared = False
        self._runs += 1
        inputs = self.surroundings.inputs
        register = self.time_a[0]
        debounce = Debounce(register >> TIME_A_DEBOUNCE_SHIFT & 0xFF, bool(register & TimeA.VETO_INV))
        debounce.settle(inputs.settled(now))
        memory = FrameMemory(len(self.channels), self.capacity, circular, self.is_mini)
        self.run = Run(self._runs, self.cards, memory, debounce)
        self.frames = self._new_frames(self._runs)
        self.surroundings.sample.forget()
        return self.run

    def _new_frames(self, run: int) -> Frames:
        detector, sample = self.surroundings.detector, self.surroundings.sample
        return Frames(
            detector,
            run,
            self.channels,
            self.formatted,
            self.config.precomputed,
            lambda frame: sample.seen(frame, self.now),
        )

    def _source(self, card: int, high: bool, now: int) -> FrameSource:
        source = TimeSource(self.time_a[card] & 7)
        behaviour = self.config.behaviour
        if source is TimeSource.INTERNAL:
            return Generator(self.itfg[card], behaviour, now)
        if source in NOT_GATED:
            return Gate(follows_input=False, high=False, behaviour=behaviour)
        if card > 0:
            return Follower(card, self.time_a[card] >> TIME_A_DEBOUNCE_SHIFT & 0xFF, now)
        return Gate(follows_input=True, high=high, behaviour=behaviour)
