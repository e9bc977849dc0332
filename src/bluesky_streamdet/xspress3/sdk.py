"""An Xspress3 system in Python: one object for all of its cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed
from bluesky_streamdet.xspress3 import settings
from bluesky_streamdet.xspress3.acquisition import Acquisition, Activity, Overrun, Progress
from bluesky_streamdet.xspress3.calls import Calls
from bluesky_streamdet.xspress3.channels import Channels, DeadTime
from bluesky_streamdet.xspress3.clocks import clock_period, clocks_for, set_clocks
from bluesky_streamdet.xspress3.config import SystemConfig
from bluesky_streamdet.xspress3.constants import NUM_WINDOWS, Generation, RunFlags
from bluesky_streamdet.xspress3.histograms import AuxiliaryAxes, Counts, Floats, Histograms, Region
from bluesky_streamdet.xspress3.library import Library, open_library
from bluesky_streamdet.xspress3.timing import Timing, setup_of

RUN_FLAGS = RunFlags.HIST | RunFlags.SCALERS | RunFlags.CIRCULAR_BUFFER


class Xspress3:
    """An Xspress3 system, opened when it is made; a context manager that closes it.

    config: which. library: the SDK, in place of what `config` says. Methods may be called from any thread, and one that
    makes several calls of the SDK is not interrupted by another.

    Raises `MissingLibrary` or `ConfigError` for the library, `HardwareFailed` with the SDK's words for all that it
    refuses, `ConfigError` for values out of range, which it is not asked about, and `RequestRefused` or `Busy` for what
    is not possible now.
    """

    def __init__(self, config: SystemConfig | None = None, library: Library | None = None) -> None:
        self.config = config if config is not None else SystemConfig()
        self._calls = Calls(library if library is not None else _library_of(self.config))
        self._calls.open(*_arguments(self.config))
        try:
            self._set_up()
        except BaseException:
            self._calls.close()
            raise

    def _set_up(self) -> None:
        """Clocks before anything else; settings before what they would undo."""
        self.cards = self._calls("xsp3_get_num_cards")
        self.channels = self._calls("xsp3_get_num_chan")
        self.generations = [_generation(self._calls("xsp3_get_generation", card)) for card in range(self.cards)]
        revision = self._calls.raw("xsp3_get_revision")
        self.revision = f"{revision >> 12 & 0xFFF}.{revision & 0xFFF}"
        self._channels = Channels(self._calls, self.channels)
        self._histograms = Histograms(self._calls, self.channels)
        self._acquisition = Acquisition(self._calls, self.cards, self.channels)
        self._calls("xsp3_set_run_flags", int(RUN_FLAGS))
        set_clocks(self._calls, clocks_for(self.generations, self.config.clock))
        self.clock_period = clock_period(self._calls)
        if self.config.settings is not None:
            settings.restore(self._calls, self.config.settings)
        self._learn()

    def _learn(self) -> None:
        """What the settings say, or have undone."""
        self._histograms.apply()
        widths = self.config.event_widths
        if widths and len(widths) != self.channels:
            raise ConfigError(
                f"event_widths has {len(widths)} numbers for {self.channels} channels.",
                "Give one for each, or none to take those of the settings.",
            )
        self.event_widths = list(widths) or [self._channels.event_width(one) for one in range(self.channels)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs, and give the hardware up. May be called again."""
        with self._calls.lock:
            if not self._calls.opened:
                return
            try:
                self._acquisition.stop()
            finally:
                self._calls.close()

    @contextmanager
    def _settled(self, wish: str) -> Iterator[None]:
        """Nothing runs, and nothing is started inside."""
        with self._calls.lock:
            self._acquisition.refuse_while_running(wish)
            yield

    # What it is

    @property
    def generation(self) -> Generation:
        """Of the first card."""
        return self.generations[0]

    @property
    def run_flags(self) -> RunFlags:
        return RunFlags(self._calls("xsp3_get_run_flags"))

    @property
    def capacity(self) -> int:
        """Frames that the memory holds at once."""
        return self._histograms.capacity

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(channels, bins), or (channels, aux, bins) where there is an auxiliary axis."""
        return self._histograms.frame_shape

    @property
    def bins(self) -> int:
        """Bins of each spectrum that are read."""
        return self._histograms.bins

    @property
    def first_bin(self) -> int:
        """Where in the hardware's spectrum `bins` begin."""
        return self._histograms.first_bin

    @property
    def aux(self) -> int:
        """Places of the auxiliary axes together; 1 without any."""
        return self._histograms.aux

    @property
    def readout_time(self) -> float:
        """Seconds between two frames, of the timing that was armed last."""
        run = self._acquisition.run
        return (setup_of(Timing(), self.clock_period) if run is None else run.setup).gap

    # Settings

    @property
    def windows(self) -> list[list[tuple[int, int]]]:
        """First and last bin, for each window and channel."""
        with self._calls.lock:
            return [[self._channels.window(one, channel) for channel in self._each] for one in range(NUM_WINDOWS)]

    def set_window(self, window: int, low: int, high: int, channel: int = -1) -> None:
        """Let `window`, 0 or 1, count raw bins `low` to `high`, both included, in one channel or in all.

        Also while frames are taken: then it holds from about now on.
        """
        with self._calls.lock:
            self._channels.set_window(window, low, high, channel)

    @property
    def thresholds(self) -> list[int]:
        """For each channel, the raw bin from which on an event is good."""
        with self._calls.lock:
            return [self._channels.threshold(channel) for channel in self._each]

    def set_threshold(self, value: int, channel: int = -1) -> None:
        with self._settled("set_threshold"):
            self._channels.set_threshold(value, channel)

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the hardware keeps of the spectrum, besides its last bin for the rest; empty for everything."""
        return self._histograms.regions

    def set_regions(self, regions: Sequence[Region]) -> None:
        """Let the hardware keep these regions only, or everything again when there are none."""
        with self._settled("set_regions"):
            self._histograms.set_regions(regions)

    def set_range(self, first: int, bins: int) -> None:
        """Read only `bins` bins of each spectrum, from `first` on; 0 bins are all."""
        with self._settled("set_range"):
            self._histograms.set_range(first, bins)

    @property
    def axes(self) -> AuxiliaryAxes:
        return self._histograms.axes

    def set_axes(self, axes: AuxiliaryAxes) -> None:
        """Tell apart more than the energy."""
        with self._settled("set_axes"):
            self._histograms.set_axes(axes)

    def trigger_b(self, channel: int) -> dict[str, int]:
        """How a channel finds events, by the SDK's names."""
        return self._channels.trigger_b(channel)

    @property
    def dead_time(self) -> list[DeadTime]:
        """The parameters of the SDK's correction, for each channel."""
        with self._calls.lock:
            return [self._channels.dead_time(channel) for channel in self._each]

    def set_dead_time(self, channel: int = -1, **changes: Any) -> None:
        """Change parameters of `DeadTime` by name, of one channel or of all."""
        with self._settled("set_dead_time"):
            self._channels.set_dead_time(channel, **changes)

    @property
    def dead_time_energy(self) -> float | None:
        """KeV for which the SDK corrects; None before it was set."""
        return self._channels.dead_time_energy

    def set_dead_time_energy(self, kev: float) -> None:
        with self._settled("set_dead_time_energy"):
            self._channels.set_dead_time_energy(kev)

    def save_settings(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write all settings into a directory that exists, and is empty unless `overwrite`."""
        with self._settled("save_settings"):
            settings.save(self._calls, directory, overwrite=overwrite)

    def restore_settings(self, directory: Path | str, *, force: bool = False) -> None:
        """Load settings. force: also those of another major revision of the firmware."""
        with self._settled("restore_settings"):
            self._channels.forget()
            settings.restore(self._calls, directory, force=force)
            self._learn()

    # A run

    @property
    def timing(self) -> Timing | None:
        """What was armed last; None before."""
        return None if self._acquisition.run is None else self._acquisition.run.timing

    @property
    def exposure(self) -> float | None:
        """Seconds of a frame as rounded to clock cycles; None when nothing was armed, or frames measure it."""
        return None if self._acquisition.run is None else self._acquisition.run.setup.exposure

    @property
    def running(self) -> bool:
        """Whether frames are still to come."""
        with self._calls.lock:
            return self._acquisition.running

    @property
    def ready_for_trigger(self) -> bool:
        """Whether `trigger` would be heard now."""
        with self._calls.lock:
            return self._acquisition.ready_for_trigger

    @property
    def triggers(self) -> int:
        """Software triggers sent in this run."""
        return 0 if self._acquisition.run is None else self._acquisition.run.triggers

    def arm(self, timing: Timing) -> None:
        """Make ready for frames of `timing`; those of mode internal begin at once.

        Raises `Busy` while frames of an earlier run are to come.
        """
        with self._settled("arm"):
            setup = setup_of(timing, self.clock_period)
            self._acquisition.stop()  # a run whose frames are complete is still started
            self._histograms.apply()
            self._acquisition.arm(timing, setup, self.capacity)

    def trigger(self) -> None:
        """Send a software trigger: of mode software, or to begin a frame of software_timed.

        Raises `RequestRefused` when none is awaited, `Busy` when the frame before is not over.
        """
        with self._calls.lock:
            self._acquisition.trigger()

    def release(self) -> None:
        """End a frame of mode software_timed."""
        with self._calls.lock:
            self._acquisition.release()

    @property
    def last_frame_is_over(self) -> bool:
        """Whether only `stop` is missing, where frames last as long as a gate or from trigger to release."""
        with self._calls.lock:
            return self._acquisition.last_frame_is_over

    def stop(self) -> None:
        """End the run; what is complete can still be read. Harmless when nothing runs."""
        with self._calls.lock:
            self._acquisition.stop()

    def is_busy(self) -> bool:
        """Whether events are still on their way after `stop`; ask until it is False twice. Says nothing on a Mini."""
        return self._acquisition.is_busy()

    def progress(self) -> Progress:
        """How many frames of this run can be read, and what went wrong."""
        with self._calls.lock:
            return self._acquisition.progress()

    def activity(self) -> Activity:
        """What the first card is doing now: counting, paused until a trigger, finished; and its frame."""
        with self._calls.lock:
            return self._acquisition.activity()

    def overrun(self) -> Overrun:
        """Frames of this run that were overwritten before they were acknowledged."""
        with self._calls.lock:
            return self._acquisition.overrun()

    def read_spectra(self, first: int, frames: int, out: Counts | None = None) -> Counts:
        """Spectra of `frames` frames from `first` on: uint32 of shape (frames, *frame_shape), into `out` if given."""
        with self._calls.lock:
            return self._histograms.read_spectra(first, frames, out)

    def read_scalers(self, first: int, frames: int, out: Counts | None = None) -> Counts:
        """Scalers of the frames: uint32 of shape (frames, channels, 9), by `Scaler`; into `out` if given."""
        with self._calls.lock:
            return self._histograms.read_scalers(first, frames, out)

    def acknowledge(self, first: int, frames: int) -> None:
        """Let the memory of these frames be used again; once for each."""
        with self._calls.lock:
            self._histograms.acknowledge(first, frames)

    def dead_time_factors(self, scalers: Counts) -> tuple[Floats, Floats]:
        """The SDK's own correction factors and input counts for what `read_scalers` gave: (frames, channels) each."""
        with self._calls.lock:
            return self._histograms.dead_time_factors(scalers)

    @property
    def _each(self) -> range:
        return range(self.channels)


def _library_of(config: SystemConfig) -> Library:
    if config.simulate is None:
        return open_library(config.library)
    from bluesky_streamdet.xspress3.simulation.library import SimulatedLibrary  # not needed with hardware

    return SimulatedLibrary(config.simulate)


def _arguments(config: SystemConfig) -> tuple[Any, ...]:
    """Those of `xsp3_config`; -1 and None are the SDK's own choice."""
    address, mac, name = (text and text.encode() for text in (config.address, config.mac, config.name))
    system = (config.cards, config.max_frames, address, config.port, mac, config.channels)
    return (*system, -1, name, config.debug, -1)


def _generation(number: int) -> Generation:
    try:
        return Generation(number)
    except ValueError:
        raise HardwareFailed(
            f"xsp3_get_generation says {number}, a generation that is not known here.",
            f"Known are {', '.join(f'{one.value} ({one.label})' for one in Generation)}.",
        ) from None
