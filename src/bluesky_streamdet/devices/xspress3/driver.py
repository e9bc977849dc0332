"""How the hardware is steered: through the service that owns its library, or through a Tango device in front of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, cast

from bluesky_streamdet.core.errors import ConfigError, RequestRefused
from bluesky_streamdet.devices.watch import Client

GateInput = Literal["ttl_veto", "ttl_both", "lvds_veto", "lvds_both", "idc"]


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
        """The arguments of `arm`. The hardware takes many frames of one trigger, or one of each of many."""
        options = asdict(self)
        gate = options.pop("gate")
        if not external:
            if self.triggers_per_frame > 1:
                raise ConfigError(
                    f"{self.triggers_per_frame} triggers a frame need triggers from outside.",
                    "Set triggers_per_frame to 1, or prepare the detector for external triggers.",
                )
            burst = frames > 1
            return {**options, "mode": "software", "exposure": exposure, **_counts(frames, 1 if burst else triggers)}
        mode = "gate" if gate else "hardware"
        return {**options, "mode": mode, "exposure": exposure, **_counts(frames, triggers)}


def _counts(frames: int, triggers: int) -> dict[str, int]:
    return {"frames": frames, "triggers": triggers}


class ServiceDriver:
    """Steers the hardware by the service's instructions; connected while armed only.

    A burst, of several frames a trigger, can be triggered once: `options` change with it, so that the next is armed
    anew, as a series of its own.
    """

    arms = True

    def __init__(self, connect: Callable[[], HardwareClient], timing: TimingOptions | None = None) -> None:
        self.timing = timing or TimingOptions()
        self._connect = connect
        self._client: HardwareClient | None = None
        self._frames = 1
        self._bursts = 0

    @property
    def options(self) -> object:
        return self.timing, self._bursts

    def set_gate(self, gate: bool) -> None:
        """Whether external triggers are levels."""
        self.timing = replace(self.timing, gate=gate)

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        timing = self.timing.timing(frames, triggers, exposure, external)
        if self._client is None:
            self._client = self._connect()
        self._arm(self._client, timing)
        self._frames = frames

    def trigger(self) -> None:
        if self._client is None:
            raise RequestRefused("The detector is not armed.", "Arm it before it is triggered.")
        self._trigger(self._client)
        self._bursts += self._frames > 1

    def disarm(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                self._stop(client)
            finally:
                client.close()

    # What goes another way with Tango.

    def _arm(self, client: HardwareClient, timing: dict[str, Any]) -> None:
        client.instruct("arm", **timing)

    def _trigger(self, client: HardwareClient) -> None:
        client.instruct("trigger")

    def _stop(self, client: HardwareClient) -> None:
        client.instruct("stop")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.timing})"


def of_hardware(client: Client) -> HardwareClient:
    """The client, as one of a service that owns hardware."""
    return cast("HardwareClient", client)
