"""What kind of Xspress3 is simulated, what it looks at, and what goes wrong with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bluesky_streamdet.streaming.endpoints import Section

EVENT_WIDTHS = {"X3": 6, "X3V7": 6, "Mini": 7, "X4": 6}
"""Clock cycles of an event, as real settings have them."""


class RasterConfig(Section):
    """The sample moves by itself: each frame is one point of a map, row by row.

    columns, rows: points of the map, which begins anew after its last one. snake: every other row runs backwards.
    """

    columns: int = Field(ge=1)
    rows: int = Field(ge=1)
    snake: bool = False


class SampleConfig(Section):
    """What the beam falls on.

    elements: share of the counts of each element's fluorescence, relative to `scatter` (elastic and Compton) and
    `background`. picture: "uniform" is the same everywhere; "shapes" gives each element a shape of its own in the unit
    square, so that maps show something. raster: how position follows the frame number; without it, the sample stays
    where it is until it is moved. excitation: energy of the beam in eV; lines whose edge lies above it don't appear.
    """

    elements: dict[str, Annotated[float, Field(ge=0)]] = {"Ca": 0.3, "Fe": 1.0, "Cu": 0.5, "Zn": 0.4}
    scatter: float = Field(default=0.2, ge=0)
    background: float = Field(default=0.05, gt=0)
    picture: Literal["uniform", "shapes"] = "uniform"
    raster: RasterConfig | None = None
    excitation: float = Field(default=15000.0, gt=500, lt=150000)


class ResponseConfig(Section):
    """What the sensor makes of a photon.

    ev_per_bin: eV of one of the 4096 raw bins. noise: electronic noise, eV (FWHM); with the Fano noise of silicon, 70
    eV make 136 eV at 5.9 keV. escape: whether silicon's escape peaks appear. pileup: clock cycles within which two
    photons are taken for one of their summed energy; 0 for never. Sums are counted as one event, which no dead-time
    correction mends. good: share of the events that are good; the others are too small for the histogram.
    """

    ev_per_bin: float = Field(default=10.0, gt=0)
    noise: float = Field(default=70.0, gt=0)
    escape: bool = True
    pileup: int = Field(default=0, ge=0)
    good: float = Field(default=0.992, gt=0, le=1)


class DeadTimeConfig(Section):
    """How counts are lost.

    model: "event_width" (each event blinds the channel for event_width + 1 clock cycles; non-paralysable) or
    "paralysable" (an event within `all_event` seconds after another is lost, and prolongs it). event_width: clock
    cycles; as real settings have it when None. all_event, in_window: seconds of the paralysable model for all events,
    and for the events that stay in the spectrum, of which exp(-2 rate in_window) do; (event_width + 1) cycles and half
    of that when None. reset_width: clock cycles of a reset of the preamplifier. reset_events: events after which one
    is due. reset_rate: resets per second without any event.
    """

    model: Literal["event_width", "paralysable"] = "event_width"
    event_width: int | None = Field(default=None, ge=2, le=127)
    all_event: float | None = Field(default=None, gt=0)
    in_window: float | None = Field(default=None, gt=0)
    reset_width: int = Field(default=45, ge=0)
    reset_events: float = Field(default=2000.0, gt=0)
    reset_rate: float = Field(default=5.0, ge=0)

    @model_validator(mode="after")
    def _good_are_events(self) -> DeadTimeConfig:
        if self.all_event is not None and self.in_window is not None and 2 * self.in_window < self.all_event:
            raise ValueError("in_window has to be at least half of all_event, or more events were good than there are")
        return self


class BehaviourConfig(Section):
    """What documents leave open, or what makes a difference for tests.

    strict_reads: frames that are not complete are refused; otherwise, they are read as far as they have come.
    partial: what becomes of a frame that `xsp3_histogram_stop` cuts short: "deliver" counts it as complete, with the
    clock cycles that it had, as hardware that flushes its buffers does. completes: when a gated or software-timed frame
    counts as complete: when the "next" one begins (or at the stop), or at its own "end".
    """

    strict_reads: bool = True
    partial: Literal["deliver", "drop"] = "deliver"
    completes: Literal["next", "end"] = "next"


class SimulationConfig(Section):
    """One simulated system.

    channels: of the whole system, spread evenly over the cards. clock_period: seconds of a clock cycle. capacity:
    frames of 4096 bins that fit into the memory; as `xsp3_config` is asked, or what a Mini has, when None. rate: true
    input counts per second of each channel, on a sample of the configured composition; one number for all, or one
    each. precomputed: that many different frames are made beforehand, as the first frame of a run is taken, and then
    repeated: a read only copies; for benchmarks, and for a raster of as many points. fail: the name of an SDK function,
    and how many calls of it succeed before one fails.
    """

    generation: Literal["X3", "X3V7", "Mini", "X4"] = "X3"
    cards: int = Field(default=1, ge=1, le=16)
    channels: int = Field(default=4, ge=1, le=256)
    clock_period: float = Field(default=12.5e-9, gt=0)
    capacity: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=1 << 64)
    rate: Annotated[float, Field(ge=0)] | list[Annotated[float, Field(ge=0)]] = 20000.0
    sample: SampleConfig = SampleConfig()
    response: ResponseConfig = ResponseConfig()
    dead_time: DeadTimeConfig = DeadTimeConfig()
    behaviour: BehaviourConfig = BehaviourConfig()
    good_threshold: int = Field(default=30, ge=0, le=4095)
    precomputed: int = Field(default=0, ge=0)
    fail: dict[str, Annotated[int, Field(ge=0)]] = {}

    @model_validator(mode="after")
    def _fits(self) -> SimulationConfig:
        if isinstance(self.rate, list) and len(self.rate) != self.channels:
            raise ValueError(f"rate has {len(self.rate)} numbers for {self.channels} channels")
        if self.channels % self.cards:
            raise ValueError(f"{self.channels} channels cannot be spread evenly over {self.cards} cards")
        return self

    @property
    def event_width(self) -> int:
        """Clock cycles."""
        return self.dead_time.event_width or EVENT_WIDTHS[self.generation]

    @property
    def rates(self) -> list[float]:
        """Counts per second of each channel."""
        return self.rate if isinstance(self.rate, list) else [self.rate] * self.channels
