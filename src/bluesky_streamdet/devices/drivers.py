"""How a detector itself is made to take frames; the service only receives them.

Write one for your detector: three methods, blocking, that raise what its control library raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bluesky_streamdet.core.errors import DeadlineExceeded, RequestRefused, ServiceUnreachable

if TYPE_CHECKING:
    from bluesky_streamdet.devices.watch import SeriesWatch
    from bluesky_streamdet.sim.client import SimulatedDetectorClient

UNLIMITED = 1_000_000
"""Triggers to arm for, as nobody knows how many a run will have: more than any."""


@runtime_checkable
class DetectorDriver(Protocol):
    """Arms, triggers and disarms one detector.

    Each `arm` is a series of the detector's own: a header in its stream, frames, and an end once it is disarmed. `arms`
    is False for a driver that does not do that, because somebody else does.
    """

    arms: bool

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        """Get ready for `triggers` triggers of `frames` frames of `exposure` seconds, by software or by cable."""
        ...

    def trigger(self) -> None:
        """Start the frames of one trigger; do not wait for them."""
        ...

    def disarm(self) -> None:
        """Stop, in whatever state the detector is. Calling it twice is no error."""
        ...


def options_of(driver: DetectorDriver) -> object:
    """With what a driver arms besides, its `options`, if it has such: when they change, it has to be armed anew."""
    return getattr(driver, "options", None)


def follow(driver: DetectorDriver, watch: SeriesWatch) -> None:
    """Have a driver that has a `follow` take part in a series of the service, before it is armed for it.

    It may wait in `arm` for the header of its own series, and `watch.fail` tells who waits for frames what went wrong.
    """
    getattr(driver, "follow", lambda _watch: None)(watch)


def counts_triggers(driver: DetectorDriver) -> bool:
    """Whether a driver has to be told how many triggers will come by cable, and is then armed for these only.

    Its `counts` says so; others are armed for more than will ever come.
    """
    return getattr(driver, "counts", False)


class ExternalDriver:
    """Of a detector that somebody else arms and triggers: another device in the plan, or the vendor's program."""

    arms = False

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        pass

    def trigger(self) -> None:
        pass

    def disarm(self) -> None:
        pass

    def __repr__(self) -> str:
        return "ExternalDriver()"


class SimulatedDriver:
    """Of `streamdet simulate`, by its control port, such as "tcp://127.0.0.1:5555". Connected while armed only.

    timeout: seconds that it may take to answer. One that has not is not asked again before it is armed the next time.
    """

    arms = True

    def __init__(self, endpoint: str, timeout: float = 5.0) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._client: SimulatedDetectorClient | None = None

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        from bluesky_streamdet.sim.client import SimulatedDetectorClient

        if self._client is None:
            self._client = SimulatedDetectorClient(self.endpoint, self.timeout)
        with self._asking() as client:
            # It may be armed still, by somebody who died, or who could not reach it.
            client.disarm()
            client.arm(frames=frames, triggers=triggers, exposure=exposure, external=external)

    def trigger(self) -> None:
        with self._asking() as client:
            client.trigger()

    def disarm(self) -> None:
        if self._client is not None:
            with self._asking() as client:
                client.disarm()
            self._drop()

    @contextmanager
    def _asking(self) -> Iterator[SimulatedDetectorClient]:
        if self._client is None:
            raise RequestRefused("The simulated detector is not armed.", "Arm it before it is triggered.")
        try:
            yield self._client
        except (DeadlineExceeded, ServiceUnreachable):
            self._drop()
            raise

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def __repr__(self) -> str:
        return f"SimulatedDriver({self.endpoint!r})"
