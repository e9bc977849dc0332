"""How the hardware is steered: through the service that owns its library, or through a Tango device in front of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

from bluesky_streamdet.core.errors import DeadlineExceeded, RequestRefused
from bluesky_streamdet.devices.drivers import DetectorDriver
from bluesky_streamdet.devices.watch import Client

BUSY = ("armed", "running", "finishing")
"""States of the hardware in which it can't be armed."""
SETTLING = 10.0
"""Seconds that it may take to end."""
LOOK = 0.005
"""Seconds between two looks whether it has."""


class HardwareClient(Client, Protocol):
    """What devices ask of a service that owns hardware."""

    def detector(self) -> dict[str, Any]: ...
    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class TimingOptions:
    """What a plan does not say of timing.

    gap: seconds between frames. invert: an edge, or a gate, is one downwards. debounce: in clock cycles, 0 to 255.
    triggers_per_frame: edges that end a frame, in place of a time. gate: external triggers are levels, and a frame
    lasts as long as one. gate_input: which input that is.
    """

    gap: float = 25e-9
    invert: bool = False
    debounce: int = 80
    triggers_per_frame: int = 1
    gate: bool = False
    gate_input: str = "ttl_veto"

    def timing(self, frames: int, triggers: int, exposure: float, external: bool) -> dict[str, Any]:
        """The arguments of the instruction `arm`."""
        options = asdict(self)
        gate = options.pop("gate")
        mode = ("gate" if gate else "hardware") if external else "software"
        return {**options, "mode": mode, "exposure": exposure, "frames": frames, "triggers": triggers}


class HardwareDriver(DetectorDriver, Protocol):
    """A driver that can be told of timing what a plan does not say; it is armed anew when that changes."""

    timing: TimingOptions

    @property
    def options(self) -> object: ...


class ServiceDriver:
    """Steers the hardware by the service's instructions; connected while armed only.

    It counts triggers by cable, as the last gate's frame is complete only when the hardware knows that it is the last.
    """

    arms = True
    counts = True

    def __init__(self, connect: Callable[[], HardwareClient], timing: TimingOptions | None = None) -> None:
        self.timing = timing or TimingOptions()
        self._connect = connect
        self._client: HardwareClient | None = None

    @property
    def options(self) -> object:
        return self.timing

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        timing = self.timing.timing(frames, triggers, exposure, external)
        self.disarm()
        self._client = self._connect()
        self._client.instruct("arm", **timing)

    def trigger(self) -> None:
        if self._client is None:
            raise RequestRefused("The detector is not armed.", "Arm it before it is triggered.")
        self._client.instruct("trigger")

    def disarm(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                stop(client)
            finally:
                client.close()

    def __repr__(self) -> str:
        return f"ServiceDriver({self.timing})"


def stop(client: HardwareClient) -> None:
    """Stop the hardware, and wait until all that it had has been read; only then it can be armed again.

    Raises `DeadlineExceeded`.
    """
    deadline = time.monotonic() + SETTLING
    state = client.instruct("stop")["state"]
    while state in BUSY:
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"The Xspress3 was stopped {SETTLING:g} s ago, and is still {state}.",
                "Look at the status of its service: it says what it waits for, such as a slow disk.",
            )
        time.sleep(LOOK)
        state = client.detector()["state"]


def of_hardware(client: Client) -> HardwareClient:
    """The client, as one of a service that owns hardware."""
    return cast("HardwareClient", client)
