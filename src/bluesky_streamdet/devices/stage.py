"""Simulated stages that fly, and give a trigger at each point as real ones do: along the rows of a grid, or around."""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, cast

from ophyd import Component, Device, Kind, Signal
from ophyd.status import DeviceStatus

from bluesky_streamdet.core.errors import ConfigError, StreamdetError
from bluesky_streamdet.plans import GridRow

log = logging.getLogger(__name__)


SHOWN = 0.1
"""Seconds between two updates of a progress bar."""


class RowStatus(DeviceStatus):
    """Done at the end of a row. Progress bars see how many of its points have been passed. started: as `time.time`."""

    def __init__(self, device: Device, row: GridRow, started: float) -> None:
        self._row = row
        self._began = started
        super().__init__(device)

    def watch(self, func: Callable[..., None]) -> None:
        self._watchers.append(func)
        self.show()

    def show(self) -> None:
        """Tell the watchers where the row is."""
        elapsed, points = time.time() - self._began, len(self._row.x)
        passed = points if self.done or not self._row.period else min(points, int(elapsed / self._row.period))
        for watcher in self._watchers:
            watcher(
                name=f"{self.device.name}, row {self._row.number + 1}",
                current=passed,
                initial=0,
                target=points,
                unit="points",
                precision=0,
                fraction=1 - passed / points,
                time_elapsed=elapsed,
            )

    def _settled(self) -> None:
        self.show()


class _Flying(Device):
    """What flies along one axis, and is where it is told at once.

    give_triggers: called with how many triggers to give, and seconds from one to the next; it does not wait for them.
    stop_triggers: called when a row is ended before its time.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        give_triggers: Callable[[int, float], object],
        stop_triggers: Callable[[], object] = lambda: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._give_triggers = give_triggers
        self._stop_triggers = stop_triggers
        self._row: GridRow | None = None
        self._flown = -1
        self._started = 0.0
        self._ended = threading.Event()
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._passed: list[tuple[float, float, float]] = []

    def stage(self) -> list[object]:
        self._flown = -1
        self._passed = []
        self._halt.clear()
        return super().stage()

    def unstage(self) -> list[object]:
        self.stop()
        return super().unstage()

    def stop(self, *, success: bool = False) -> None:
        """End the row that is being flown."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        flying = not self._ended.is_set()
        self._halt.set()
        thread.join()
        if flying:
            try:
                self._stop_triggers()
            except StreamdetError as error:
                # What failed is why the row is ended, and is said already.
                log.warning("stage %s: its triggers could not be stopped: %s", self.name, error)

    # Preparable and Flyable

    def prepare(self, row: GridRow) -> DeviceStatus:
        """Go to the beginning of a row; not if it has begun already."""
        if row.number != self._flown:
            self._row = row
            self._axis.put(row.x[0])
        return _done(self)

    def kickoff(self) -> DeviceStatus:
        """Fly the row. A row that has begun is not begun anew: its triggers have been given."""
        row = self._row
        if row is None:
            raise ConfigError(f"{self.name} is not prepared.", "Prepare it for a row before the kickoff.")
        if row.number != self._flown:
            self._flown = row.number
            self._ended.clear()
            self._started = time.time()
            self._give_triggers(len(row.x), row.period)
            self._thread = threading.Thread(target=self._fly, args=(row,), name=f"{self.name} row", daemon=True)
            self._thread.start()
        return _done(self)

    def complete(self) -> RowStatus:
        """Wait for the end of the row. May be called again after an interruption."""
        row = self._row
        if row is None:
            raise ConfigError(f"{self.name} is not prepared.", "Prepare it for a row before the kickoff.")
        status = RowStatus(self, row, self._started)

        def wait() -> None:
            while not self._ended.wait(max(row.period, SHOWN)):
                status.show()
            status.set_finished()

        threading.Thread(target=wait, name=f"{self.name} complete", daemon=True).start()
        return status

    def _fly(self, row: GridRow) -> None:
        self._halt.wait(len(row.x) * row.period)
        self._axis.put(row.x[-1])
        times = [self._started + number * row.period for number in range(len(row.x))]
        self._passed += [(at, x, row.y) for at, x in zip(times, row.x, strict=True) if at <= time.time()]
        self._ended.set()

    # Collectable

    @property
    @abstractmethod
    def _axis(self) -> Signal:
        """Along which it flies."""

    def _where(self, x: list[float], y: list[float]) -> dict[str, list[float]]:
        """What is told of points, by data keys. x, y: as rows have them."""
        return {self._axis.name: x}

    def describe_collect(self) -> dict[str, Any]:
        key = {"source": "SIM:stage", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
        return {name: dict(key) for name in self._where([], [])}

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """Where the stage was at the triggers that were not collected yet."""
        passed, self._passed = self._passed, []
        if passed:
            times, x, y = (list(column) for column in zip(*passed, strict=True))
            data = self._where(x, y)
            yield {"time": times, "data": data, "timestamps": dict.fromkeys(data, times)}


class SimulatedStage(_Flying):
    """`x` is the fast axis and `y` the slow one; both are where they are told at once.

    Keywords: `give_triggers`, called with how many triggers to give, and seconds from one to the next; `stop_triggers`,
    called when a row is ended before its time.
    """

    x = Component(Signal, value=0.0)
    y = Component(Signal, value=0.0)

    @property
    def _axis(self) -> Signal:
        return self.x

    def _where(self, x: list[float], y: list[float]) -> dict[str, list[float]]:
        return {self.x.name: x, self.y.name: y}


class SimulatedRotation(_Flying):
    """Turns, and gives triggers, as a `SimulatedStage` does along a row. It can be set to an angle, too."""

    angle = Component(Signal, value=0.0, kind=Kind.hinted)

    @property
    def _axis(self) -> Signal:
        return self.angle

    def set(self, value: float) -> DeviceStatus:
        """Turn there, without triggers."""
        self.angle.put(value)
        return _done(self)

    @property
    def position(self) -> float:
        return cast("float", self.angle.get())


def _done(stage: Device) -> DeviceStatus:
    status = DeviceStatus(stage)
    status.set_finished()
    return status
