"""The detector as an ophyd-async device, for step scans and fly scans.

    from bluesky_streamdet.devices.asynchronous import StreamDetector
    with init_devices():
        eiger = StreamDetector(url="http://127.0.0.1:8010")
    RE(bluesky.plans.count([eiger], 5))

A trigger is done when the service has written its frames, not when the detector has taken them.

It is the only module that knows ophyd-async, which renames its classes now and then: written for 0.21.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from bluesky.protocols import Reading, StreamAsset
from event_model import DataKey
from ophyd_async.core import (
    AsyncStatus,
    DetectorAcquireLogic,
    DetectorDataLogic,
    DetectorTriggerLogic,
    SignalR,
    SignalRW,
    StandardDetector,
    StreamableDataProvider,
    TriggerInfo,
    WatchableAsyncStatus,
    WatcherUpdate,
    soft_signal_r_and_setter,
    soft_signal_rw,
)

from bluesky_streamdet.devices.acquisition import Acquisition
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
from bluesky_streamdet.documents import data_keys


class TellingStatus(AsyncStatus[Any]):
    """Says in its text why it failed, as that is all that a plan's failure and the run's stop document show of it."""

    def __repr__(self) -> str:
        return _failure(self) or super().__repr__()

    __str__ = __repr__


class TellingProgress(WatchableAsyncStatus[int]):
    """As `TellingStatus`, with progress."""

    def __repr__(self) -> str:
        return _failure(self) or super().__repr__()

    __str__ = __repr__


def _failure(status: AsyncStatus[Any] | WatchableAsyncStatus[int]) -> str:
    """Why it failed; empty when it has not."""
    error = status.exception() if status.done else None
    return "" if error is None else f"{type(error).__name__}: {error}"


class StreamTrigger(DetectorTriggerLogic):
    """Remembers how frames are to be taken; the detector hears of it when it is armed."""

    def __init__(self, exposure: SignalRW[float], deadtime: float) -> None:
        self.exposure = exposure
        self.external = False
        self._deadtime = deadtime

    def config_sigs(self) -> set[SignalR[Any]]:
        return {self.exposure}

    def get_deadtime(self, config_values: object) -> float:
        return self._deadtime

    async def prepare_internal(self, num: int, livetime: float, deadtime: float) -> None:
        await self._prepare(livetime, external=False)

    async def prepare_edge(self, num: int, livetime: float) -> None:
        await self._prepare(livetime, external=True)

    async def _prepare(self, livetime: float, *, external: bool) -> None:
        self.external = external
        if livetime:
            await self.exposure.set(livetime)


class StreamAcquire(DetectorAcquireLogic):
    """Starts frames. Ending them belongs to the file, which `StreamData` ends."""

    def __init__(self, detector: StreamDetector) -> None:
        self._detector = detector

    async def start_acquiring(self) -> None:
        await self._detector.start_frames()

    async def wait_for_idle(self) -> None:
        pass

    async def ensure_stopped(self) -> None:
        pass


class StreamData(DetectorDataLogic):
    """Arms and ends the service's series."""

    def __init__(self, detector: StreamDetector) -> None:
        self._detector = detector

    async def prepare_unbounded(self, datakey_name: str) -> StreamableDataProvider:
        return await self._detector.open_run(datakey_name)

    async def stop(self) -> None:
        await self._detector.close_run()

    def get_hinted_fields(self, datakey_name: str) -> Sequence[str]:
        return self._detector.hinted


class StreamProvider(StreamableDataProvider):
    """Documents of a run. Shapes are those of Tiled's live reading, not ophyd-async's own with a leading 1."""

    def __init__(self, acquisition: Acquisition, name: str, written: SignalR[int]) -> None:
        self.collections_written_signal = written
        self._acquisition = acquisition
        self._name = name

    async def make_datakeys(self, collections_per_event: int) -> dict[str, DataKey]:
        return data_keys(self._acquisition.layout(), self._name, self._acquisition.source, "-")  # type: ignore[return-value]

    async def make_stream_docs(
        self, collections_written: int, collections_per_event: int
    ) -> AsyncIterator[StreamAsset]:
        for document in self._acquisition.documents(collections_written // collections_per_event):
            yield document  # type: ignore[misc]


class StreamDetector(StandardDetector):
    """A detector whose frames the service at `url` writes.

    frames_per_event: how many frames make one event, where no `TriggerInfo` says it. exposure: in s, of each frame, to
    begin with. deadtime: s between exposures by external triggers. `devices.setup.Setup` explains the other keywords;
    `extras` are those of it that only kinds of detectors set. No connection is opened before the device is prepared or
    triggered.

    An event holds `frames_written` and, of its last frame, `total`; the frames are announced under the device's name.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        driver: DetectorDriver | str | None = None,
        path_provider: PathProvider | str | None = None,
        path_map: Mapping[str, str] | None = None,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        frames_per_event: int = 1,
        exposure: float = 0.1,
        deadtime: float = 0.0,
        shape: Sequence[int] | None = None,
        dtype: str | None = None,
        margin: float = DEFAULT_MARGIN,
        totals: bool = True,
        connect: Callable[[str], Client] = connect,
        extras: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> None:
        chosen = driver_of(driver), paths_of(path_provider), path_map or {}
        more = {"separator": "-", **(extras or {})}
        setup = Setup(url, *chosen, "stream", columns, shape, dtype, margin, totals, connect, **more)
        self._acquisition = Acquisition(setup)
        self._default = TriggerInfo(collections_per_event=frames_per_event)
        self._prepared = self._default
        self._started: PendingFrames | None = None
        self._flying = False
        self.exposure = soft_signal_rw(float, exposure, units="s", precision=4)
        self.service_url = soft_signal_rw(str, url)
        self.detector, self._set_detector = soft_signal_r_and_setter(str, "")
        self.frames_written, self._set_written = soft_signal_r_and_setter(int, 0)
        self.total, self._set_total = soft_signal_r_and_setter(float, float("nan"))
        self._trigger = self._make_trigger(deadtime)
        self.add_detector_logics(self._trigger, StreamAcquire(self), StreamData(self))
        self.add_config_signals(self.service_url, self.detector)
        super().__init__(name=name)

    def _make_trigger(self, deadtime: float) -> StreamTrigger:
        return StreamTrigger(self.exposure, deadtime)

    @property
    def frames_per_event(self) -> int:
        """Where no `TriggerInfo` says otherwise."""
        return self._default.collections_per_event

    # What the logics do.

    @property
    def hinted(self) -> list[str]:
        """Names of the values that tables and plots show."""
        return [self.frames_written.name, *([self.total.name] if self._acquisition.setup.totals else [])]

    async def open_run(self, name: str) -> StreamProvider:
        """Arm the service."""
        loop = asyncio.get_running_loop()

        def news() -> None:
            loop.call_soon_threadsafe(self._show_written)

        frames = self._prepared.collections_per_event
        await asyncio.to_thread(self._acquisition.open, name, frames, news)
        self._set_detector(self._acquisition.detector)
        self._show_written()
        return StreamProvider(self._acquisition, name, self.frames_written)

    async def start_frames(self) -> None:
        """Have the detector take the frames of the trigger or the flight."""
        events, exposure = await asyncio.gather(self.events_to_kickoff.get_value(), self.exposure.get_value())
        start = functools.partial(self._acquisition.start, external=self._trigger.external, step=not self._flying)
        self._started = await asyncio.to_thread(start, events, exposure, patience=self._patience)
        self._show_written()

    async def close_run(self) -> None:
        """Disarm, and end the series: complete if all its frames are there, otherwise at once. Raises `FramesLost`."""
        await asyncio.to_thread(self._acquisition.close)
        self._show_written()

    # What the base class does, in our words.

    stage = TellingStatus.wrap(inspect.unwrap(StandardDetector.stage))
    unstage = TellingStatus.wrap(inspect.unwrap(StandardDetector.unstage))
    trigger = TellingProgress.wrap(inspect.unwrap(StandardDetector.trigger))
    complete = TellingProgress.wrap(inspect.unwrap(StandardDetector.complete))

    # What the base class does, with a service in the background.

    @TellingStatus.wrap
    async def prepare(self, value: TriggerInfo) -> None:
        """Get ready for triggers or a flight.

        Frames of a flight that an interruption cut short are not mixed with new ones.
        """
        # A plain one is what a trigger without prepare makes.
        self._prepared = self._default if value == TriggerInfo() else value
        self._flying = False
        if self._acquisition.is_open:
            await asyncio.to_thread(self._acquisition.settle)
            self._show_written()
        await super().prepare(self._prepared)

    @TellingStatus.wrap
    async def kickoff(self) -> None:
        """Start the flight. A flight that an interruption cut short is taken anew, into another file."""
        if self._acquisition.cut_short:
            await self.prepare(self._prepared)
        self._flying = True
        await super().kickoff()

    async def _wait_for_index(
        self,
        data_providers: Sequence[StreamableDataProvider],
        trigger_info: TriggerInfo,
        initial_collections_written: int,
        collections_requested: int,
        wait_for_idle: bool,
        watcher_divisor: int = 1,
    ) -> AsyncIterator[WatcherUpdate[int]]:
        """Wait for frames as the base class does, but hear at once from the service of those that are lost."""
        pending, began = self._started, time.monotonic()
        if pending is None or self._trigger.external:
            exposure, target = await self.exposure.get_value(), initial_collections_written + collections_requested
            pending = await asyncio.to_thread(self._acquisition.until, target, exposure, patience=self._patience)
        async for written in _looks(pending):
            yield WatcherUpdate(
                current=written // watcher_divisor,
                initial=0,
                target=pending.total // watcher_divisor,
                name=self.name,
                unit="events" if watcher_divisor > 1 else "frames",
                precision=0,
                time_elapsed=time.monotonic() - began,
            )
        self._show_written()
        if self._acquisition.setup.totals and not self._flying and not pending.wait.short:
            await self._show_latest()

    async def describe(self) -> dict[str, DataKey]:
        described = await super().describe()
        for signal in self._values:
            described.update(await signal.describe())
        return described

    async def read(self) -> dict[str, Reading]:
        reading = await super().read()
        for signal in self._values:
            reading.update(await signal.read())
        return reading

    @property
    def _values(self) -> Sequence[SignalR[Any]]:
        """What an event holds besides what is announced."""
        return self.frames_written, self.total

    async def _show_latest(self) -> None:
        """Show what an event says of its last frame."""
        self._set_total(await asyncio.to_thread(self._acquisition.total))

    async def pause(self) -> None:
        await asyncio.to_thread(self._acquisition.pause)

    async def resume(self) -> None:
        await asyncio.to_thread(self._acquisition.resume)

    async def abort(self) -> None:
        """Abort whatever series the service has, whoever armed it, so that this device can be staged."""
        await asyncio.to_thread(self._acquisition.abort_any)

    @property
    def _patience(self) -> float | None:
        """Seconds that a frame may take, where the plan says it."""
        return self._prepared.exposure_timeout if "exposure_timeout" in self._prepared.model_fields_set else None

    def _show_written(self) -> None:
        self._set_written(self._acquisition.frames_written)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self._acquisition.setup.url}: {self._acquisition!r}>"


async def _looks(pending: PendingFrames) -> AsyncIterator[int]:
    """The number of frames that can be read, at each change, until all can. Raises as `PendingFrames.look`."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def news() -> None:
        loop.call_soon_threadsafe(changed.set)

    with pending.watch.listening(news):
        while not (await asyncio.to_thread(pending.look) if pending.asks else pending.look()):
            yield pending.written
            try:
                async with asyncio.timeout(pending.remaining):
                    await changed.wait()
            except TimeoutError:
                continue  # The next look asks the service, and says what is wrong.
            changed.clear()
    yield pending.written
