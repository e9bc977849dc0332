"""The detector as a classic ophyd device, for step scans and fly scans.

    from bluesky_streamdet.devices.classic import StreamDetector
    eiger = StreamDetector(name="eiger", url="http://127.0.0.1:8010")
    RE(bluesky.plans.count([eiger], 5))

A trigger is done when the service has written its frames, not when the detector has taken them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from ophyd import Component, Device, Kind, Signal
from ophyd.status import DeviceStatus

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.acquisition import Acquisition, RunClosed
from bluesky_streamdet.devices.drivers import DetectorDriver
from bluesky_streamdet.devices.paths import PathProvider
from bluesky_streamdet.devices.setup import (
    DEFAULT_COLUMNS,
    DEFAULT_MARGIN,
    DEFAULT_URL,
    Setup,
    connect,
    driver_of,
    paths_of,
)
from bluesky_streamdet.devices.watch import Client, PendingFrames
from bluesky_streamdet.documents import AssetDocs, Document, Named, data_keys, image_key


class Planned(NamedTuple):
    """What `prepare` asked for. livetime: exposure in s, 0 for what is set. patience: seconds that a frame may take.

    level: external triggers are levels, and not edges.
    """

    events: int
    external: bool = False
    livetime: float = 0.0
    patience: float | None = None
    level: bool = False

    @classmethod
    def of(cls, value: Any) -> Planned:
        """From a number of events, or anything with the attributes of ophyd-async's `TriggerInfo`.

        Raises `ConfigError`.
        """
        if isinstance(value, int):
            planned = cls(value)
        else:
            trigger = getattr(value.trigger, "name", "INTERNAL")
            patience = value.exposure_timeout if "exposure_timeout" in value.model_fields_set else None
            level = trigger == "EXTERNAL_LEVEL"
            planned = cls(value.number_of_events, trigger != "INTERNAL", value.livetime, patience, level)
        if planned.events < 1:
            raise ConfigError(f"A flight of {planned.events} events is none.", "Prepare at least one.")
        return planned


class TellingStatus(DeviceStatus):
    """Says in its text why it failed, as that is all that a plan's failure and the run's stop document show of it."""

    def __init__(self, device: Device) -> None:
        super().__init__(device, call_stop_on_failure=False)

    def __str__(self) -> str:
        error = self.exception(timeout=0) if self.done else None
        return super().__str__() if error is None else f"{type(error).__name__}: {error}"

    __repr__ = __str__


class FramesStatus(TellingStatus):
    """Done when frames are written. Progress bars see how many are."""

    def __init__(self, device: Device, total: int) -> None:
        self._started = time.monotonic()
        self._total = total
        self._current = 0
        super().__init__(device)

    def watch(self, func: Callable[..., None]) -> None:
        self._watchers.append(func)
        self._tell(func)

    def progress(self, written: int) -> None:
        """Tell the watchers that so many frames are written."""
        self._current = written
        for watcher in self._watchers:
            self._tell(watcher)

    def _settled(self) -> None:
        self.progress(self._total if self._exception is None else self._current)

    def _tell(self, watcher: Callable[..., None]) -> None:
        watcher(
            name=self.device.name,
            current=self._current,
            initial=0,
            target=self._total,
            unit="frames",
            precision=0,
            fraction=1 - self._current / self._total if self._total else 0.0,
            time_elapsed=time.monotonic() - self._started,
        )


class StreamDetector(Device):
    """A detector whose frames the service at `url` writes.

    frames_per_event: how many frames make one event; each trigger takes so many. exposure: in s, of each frame, to
    begin with. `devices.setup.Setup` explains the other keywords; `extras` are those of it that only kinds of detectors
    set. No connection is opened before the device is staged.

    An event holds `frames_written`, `frames_missing` and, of its last frame, `total`; the frames themselves are
    announced under the device's name, as `asset_docs` says.
    """

    exposure = Component(Signal, value=0.1, kind=Kind.config)
    frames_per_event = Component(Signal, value=1, kind=Kind.config)
    service_url = Component(Signal, value="", kind=Kind.config)
    detector = Component(Signal, value="", kind=Kind.config)
    frames_written = Component(Signal, value=0, kind=Kind.hinted)
    frames_missing = Component(Signal, value=0, kind=Kind.normal)
    total = Component(Signal, value=float("nan"), kind=Kind.hinted)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        url: str = DEFAULT_URL,
        driver: DetectorDriver | str | None = None,
        path_provider: PathProvider | str | None = None,
        path_map: Mapping[str, str] | None = None,
        asset_docs: AssetDocs = "stream",
        columns: Sequence[str] = DEFAULT_COLUMNS,
        frames_per_event: int = 1,
        exposure: float = 0.1,
        shape: Sequence[int] | None = None,
        dtype: str | None = None,
        margin: float = DEFAULT_MARGIN,
        totals: bool = True,
        connect: Callable[[str], Client] = connect,
        extras: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        chosen = driver_of(driver), paths_of(path_provider), path_map or {}
        setup = Setup(url, *chosen, asset_docs, columns, shape, dtype, margin, totals, connect, **(extras or {}))
        self._acquisition = Acquisition(setup)
        self._planned: Planned | None = None
        self._flight: PendingFrames | None = None
        self._queue: deque[Named] = deque()
        super().__init__(prefix, name=name, **kwargs)
        self.exposure.put(exposure)
        self.frames_per_event.put(frames_per_event)
        self.service_url.put(url)
        if not totals:
            self.total.kind = Kind.omitted

    # Stageable

    def stage(self) -> list[object]:
        """Arm the service. Raises `ServiceUnreachable`, `Busy`, `PathRefused` or `FileTaken`."""
        staged = super().stage()
        try:
            self._acquisition.open(self.name, self._frames)
        except BaseException:
            super().unstage()
            raise
        self._planned = self._flight = None
        self._queue.clear()
        self.detector.put(self._acquisition.detector)
        self._show_counts()
        return staged

    def unstage(self) -> list[object]:
        """Disarm, and end the series: complete if all its frames are there, otherwise at once. Raises `FramesLost`."""
        try:
            self._acquisition.close()
        finally:
            unstaged = super().unstage()
        return unstaged

    def stop(self, *, success: bool = False) -> None:
        """End the series now. What is written stays; the next run works."""
        self._acquisition.close()
        super().stop(success=success)

    def abort(self) -> None:
        """Abort whatever series the service has, whoever armed it, so that this device can be staged."""
        self._acquisition.abort_any()

    # Triggerable, and what RunEngine does around an interruption

    def trigger(self) -> FramesStatus:
        """Take the frames of one event. Done when they are written.

        Fails with `FramesLost`, `DeadlineExceeded` or `ServiceUnreachable`.
        """
        self._acquisition.check_open()
        status = FramesStatus(self, self._frames)

        def take() -> None:
            self._set_driver(Planned(1))
            pending = self._acquisition.start(1, self._exposure, step=True)
            pending.until_done(status.progress)
            self._show_counts()
            if self._acquisition.setup.totals and not pending.wait.short:
                self._show_latest()

        _in_thread(take, status, f"{self.name} trigger")
        return status

    def pause(self) -> None:
        self._acquisition.pause()

    def resume(self) -> None:
        self._acquisition.resume()

    # Preparable and Flyable

    def prepare(self, value: int | Any) -> TellingStatus:
        """Get ready for a flight of `value` events, or of what an ophyd-async `TriggerInfo` says.

        Raises `ConfigError`, also for documents of the kind "resource", which can't tell of flights.
        """
        if self._acquisition.setup.asset_docs == "resource":
            raise ConfigError(
                f"{self.name} can't fly: documents of the kind 'resource' tell of step scans only.",
                "Make it with asset_docs='stream', and keep the run in Tiled.",
            )
        status = TellingStatus(self)
        self._planned = planned = Planned.of(value)

        def ready() -> None:
            if planned.livetime:
                self.exposure.put(planned.livetime)
            self._acquisition.settle()
            if planned.external:
                self._fly(planned)

        _in_thread(ready, status, f"{self.name} prepare")
        return status

    def kickoff(self) -> TellingStatus:
        """Start the flight. A flight that an interruption cut short is taken anew, into another file."""
        status = TellingStatus(self)
        planned = self._planned
        if planned is None:
            raise ConfigError(f"{self.name} is not prepared.", "Prepare it for a number of events before the kickoff.")

        def start() -> None:
            if not planned.external:
                self._fly(planned)

        _in_thread(start, status, f"{self.name} kickoff")
        return status

    def _fly(self, planned: Planned) -> None:
        self._set_driver(planned)
        self._flight = self._acquisition.start(
            planned.events, self._exposure, external=planned.external, patience=planned.patience
        )

    def complete(self) -> FramesStatus:
        """Wait for all frames of the flight. May be called again after an interruption. Fails as `trigger` does."""
        flight = self._flight
        if flight is None:
            raise ConfigError(f"{self.name} does not fly.", "Kick it off before it can complete.")
        status = FramesStatus(self, flight.total)

        flight.restart()

        def wait() -> None:
            flight.until_done(status.progress)
            self._show_counts()

        _in_thread(wait, status, f"{self.name} complete")
        return status

    # Readable and Collectable

    def describe(self) -> dict[str, Any]:  # type: ignore[override]  # ophyd's type has no parameters
        """Data keys of an event. Raises `ConfigError` when nobody knows yet what frames are like."""
        described = cast("dict[str, Any]", super().describe())
        if self._acquisition.setup.asset_docs == "resource":
            described[self.name] = image_key(self._acquisition.layout(), self._acquisition.source, "resource")
        else:
            described.update(self.describe_collect())
        return described

    def read(self) -> dict[str, Any]:  # type: ignore[override]
        reading = cast("dict[str, Any]", super().read())
        if self._acquisition.setup.asset_docs == "resource":
            self._queue.extend(self._acquisition.documents())
            reading[self.name] = {"value": self._acquisition.last_datum, "timestamp": time.time()}
        return reading

    def describe_collect(self) -> dict[str, Document]:
        """Data keys of what is announced: the frames, and the columns beside them. Raises `ConfigError`."""
        return data_keys(self._acquisition.layout(), self.name, self._acquisition.source)

    def get_index(self) -> int:
        """Whole events that can be read."""
        return self._acquisition.events

    def collect_asset_docs(self, index: int | None = None) -> Iterator[Named]:
        """Documents of the events before `index` that were not handed out yet; of all that can be read without it."""
        while self._queue:
            yield self._queue.popleft()
        yield from self._acquisition.documents(index)

    @property
    def _exposure(self) -> float:
        return cast("float", self.exposure.get())

    @property
    def _frames(self) -> int:
        return cast("int", self.frames_per_event.get())

    def _set_driver(self, planned: Planned) -> None:
        """Tell the driver what it has to know besides, for a kind of detector where there is such."""

    def _show_latest(self) -> None:
        """Show what an event says of its last frame."""
        self.total.put(self._acquisition.total())

    def _show_counts(self) -> None:
        self.frames_written.put(self._acquisition.frames_written)
        self.frames_missing.put(self._acquisition.frames_missing)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self._acquisition.setup.url}: {self._acquisition!r}>"


def _in_thread(work: Callable[[], None], status: TellingStatus, name: str) -> None:
    """Do `work` beside the RunEngine; its end, or its error, is that of `status`."""

    def run() -> None:
        try:
            work()
        except RunClosed:
            status.set_finished()  # The plan was ended before the frames were asked for; nobody waits for them.
        except Exception as error:  # noqa: BLE001  whatever it is, the plan has to hear of it
            status.set_exception(error)
        else:
            status.set_finished()

    threading.Thread(target=run, name=name, daemon=True).start()
