"""The Xspress3 as where a pipeline's frames come from: it owns the SDK, and lives in the data plane's one loop.

Whatever goes wrong, a series that has begun ends with an end: an error of the SDK, or an overrun, is said in it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from bluesky_streamdet.core.errors import Busy, ConfigError, HardwareFailed, RequestRefused
from bluesky_streamdet.core.events import Event, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.intake import Taken
from bluesky_streamdet.streaming.status import SourceReport
from bluesky_streamdet.xspress3 import instructions
from bluesky_streamdet.xspress3.config import Xspress3Plane
from bluesky_streamdet.xspress3.recent import Recent
from bluesky_streamdet.xspress3.records import DeadTime, RecordMaker
from bluesky_streamdet.xspress3.sdk import Xspress3
from bluesky_streamdet.xspress3.series import HardwareSeries, Overrun
from bluesky_streamdet.xspress3.simulation.library import SimulatedLibrary
from bluesky_streamdet.xspress3.timing import Timing

log = logging.getLogger(__name__)

LOOK = 0.001
"""Seconds between two looks whether a frame is complete; no socket tells."""


class Streamer:
    """An `Intake`. Opens the system; raises `HardwareFailed` or `ConfigError`.

    sdk: None while the system can't be opened. simulated: its library, if it is no real one. fault: what is wrong until
    `reset` mends it; error: what was wrong with the last series. clock: seconds, monotonic, of the simulation.
    """

    lanes = 1
    sockets: Sequence[Any] = ()
    busy = False

    def __init__(self, config: Xspress3Plane, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.sdk: Xspress3 | None = None
        simulate = config.system.simulate
        self.simulated = SimulatedLibrary(simulate, clock) if simulate is not None else None
        self.fault: str | None = None
        self.error: str | None = None
        self.series: HardwareSeries | None = None
        self.recent = Recent(config.recent_frames)
        self.overruns = self._frames = 0
        # Names that go on rising when the process is started anew, so that receivers know old series from new ones.
        self._series = count(time.time_ns() // 1_000_000)
        self._position = count()
        self._waiting: list[Event] = []
        self._settings: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
        self._open()
        if config.start is not None:
            instructions.carry_out(self, "arm", config.start)

    # What a pipeline asks.

    @property
    def patience(self) -> float:
        return math.inf if self.series is None and not self._waiting else LOOK

    @property
    def trouble(self) -> str | None:
        return self.fault

    def take(self, lane: int) -> Iterator[Taken]:
        """What has come since; nothing at all when nothing has."""
        events, self._waiting = self._waiting, []
        series = self.series
        if series is not None:
            try:
                self._read(series, events)
            except HardwareFailed as error:
                events.append(self._failed(series, error))
        if events:
            yield Taken(events)

    def take_no_frames(self) -> Iterator[Taken]:
        """The end of a series that nobody takes frames of, once the hardware has overwritten some, or has failed."""
        series = self.series
        if series is not None:
            try:
                series.look()
            except HardwareFailed as error:
                self._waiting.append(self._failed(series, error))
                events, self._waiting = self._waiting, []
                yield Taken(events)

    def end(self) -> None:
        """Nobody wants more of this series: begin nothing more; what there is, is still read."""
        if self.series is not None:
            self.stop()

    def pause(self, paused: bool) -> None:
        if paused:
            raise RequestRefused("An Xspress3 does not wait.", "Stop its series instead.")

    def move(self, config: SourceConfig) -> None:
        raise RequestRefused("This service owns its detector; its frames come from nowhere else.")

    def keep_messages(self, keep: bool) -> None:
        """There are none."""

    def report(self) -> list[SourceReport]:
        name = "Xspress3" if self.simulated is None else "simulated Xspress3"
        opened = self.sdk is not None and self.fault is None
        return [SourceReport(endpoint=name, connected=int(opened), messages=self._frames)]

    def work(self) -> None:
        """Spectra are not changed on the way."""

    def obey(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Carry out an instruction. Raises `StreamdetError`."""
        return instructions.carry_out(self, command, arguments)

    def close(self) -> None:
        """End what runs, and close the system."""
        sdk, self.sdk, self.series = self.sdk, None, None
        if sdk is not None:
            try:
                sdk.close()
            except HardwareFailed as error:
                log.warning("the Xspress3 was not closed well: %s", error)

    # What instructions ask.

    @property
    def system(self) -> Xspress3:
        """The opened system. Raises `HardwareFailed` while there is none, or it has failed."""
        if self.sdk is None or self.fault is not None:
            raise HardwareFailed(self.fault or "The Xspress3 is not open.", "Reset it, when what was wrong is mended.")
        return self.sdk

    def idle_system(self) -> Xspress3:
        """The opened system, to be changed. Raises `Busy` while a series runs."""
        if self.series is not None:
            raise Busy(f"Series {self.series.id} of the Xspress3 runs.", "Stop it, or wait for its end.")
        return self.system

    def arm(self, timing: Timing, bursts: int, filename: str, save: bool) -> None:
        """Start a series. Raises `Busy`, `ConfigError` or `HardwareFailed`; then nothing has begun."""
        sdk = self.idle_system()
        maker = self._record_maker(sdk)
        series = HardwareSeries(sdk, str(next(self._series)), timing, bursts, maker)
        self.series, self.error = series, None
        self.recent = Recent(self.config.recent_frames)
        metadata = instructions.metadata(self, series)
        start = SeriesStart(series.id, next(self._position), filename or None, series.expected, metadata, save)
        self._waiting.append(start)

    def stop(self) -> None:
        """End the series that runs, if one does."""
        series = self.series
        if series is not None:
            try:
                series.stop()
            except HardwareFailed as error:
                self._waiting.append(self._failed(series, error))

    def remember(self, name: str, arguments: dict[str, Any]) -> None:
        """A setting was changed by this instruction; a later one like it takes its place."""
        of = (arguments.get("window"), arguments.get("channel", -1))
        key = (name, *of, *sorted(arguments))
        self._settings.pop(key, None)
        self._settings[key] = name, arguments

    def reset(self) -> None:
        """Close the system and open it anew, whatever state it is in; a series that runs ends. Settings stay."""
        if self.series is not None:
            self._waiting.append(self._ended(self.series, "the Xspress3 was reset"))
        self.close()
        self.fault = self.error = None
        try:
            self._open()
            self._set_again()
        except (HardwareFailed, ConfigError) as error:
            self.fault = str(error)
            raise

    def _set_again(self) -> None:
        """Change what had been changed before, in that order."""
        for name, arguments in list(self._settings.values()):
            try:
                instructions.carry_out(self, name, arguments)
            except (ConfigError, RequestRefused) as error:
                log.warning("the Xspress3 was opened anew, without a setting that it had: %s", error)

    # Frames.

    def _read(self, series: HardwareSeries, events: list[Event]) -> None:
        batch = series.read()
        if batch is not None:
            self.recent.add(batch)
            frames = series.frames(batch)
            for frame in frames:
                frame.position = next(self._position)
            self._frames += len(frames)
            events += frames
        if series.finished:
            series.stop()
            self.error = series.losses or None
            events.append(self._ended(series, series.losses))

    def _ended(self, series: HardwareSeries, error: str = "") -> SeriesEnd:
        self.series = None
        return SeriesEnd(series.id, next(self._position), error)

    def _failed(self, series: HardwareSeries, error: HardwareFailed) -> SeriesEnd:
        """The series ends with this error; unless it is an overrun, the system has to be reset."""
        log.warning("series %s of the Xspress3: %s", series.id, error)
        self.error = str(error)
        if isinstance(error, Overrun):
            self.overruns += 1
            try:
                series.stop()
            except HardwareFailed as another:
                self.fault = str(another)
        else:
            self.fault = str(error)
        return self._ended(series, str(error))

    # The system.

    def _open(self) -> None:
        self.sdk = Xspress3(self.config.system, self.simulated)

    def _record_maker(self, sdk: Xspress3) -> RecordMaker:
        dead_time = DeadTime.of(sdk.event_widths, sdk.dead_time, sdk.dead_time_energy)
        return RecordMaker(sdk.channels, sdk.clock_period, dead_time)
