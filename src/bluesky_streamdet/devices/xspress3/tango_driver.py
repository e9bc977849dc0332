"""Steers the hardware through the Tango device in front of its service, for beamlines whose control is Tango.

What Tango is for goes through Tango: timing, arming, triggers and the stop; frames, settings and numbers come from the
service, whose address the device tells. Needs the extra `tango`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bluesky_streamdet.core.errors import DeadlineExceeded, HardwareFailed, MissingLibrary, RequestRefused
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.devices.xspress3.driver import TimingOptions

TIMEOUT = 10_000
"""Milliseconds that a command of the device may take."""
MODES = {"software": "SOFTWARE", "hardware": "EXTERNAL_MULTI", "gate": "EXTERNAL_MULTI_GATE"}


class TangoDriver:
    """address: "tango://…" of the device. proxy: makes its client, from the address; connected while armed only."""

    arms = True
    counts = True

    def __init__(self, address: str, proxy: Callable[[str], Any] | None = None) -> None:
        self.address = address
        self.timing = TimingOptions()
        self._make_proxy = proxy or device_proxy
        self._proxy: Any = None

    @property
    def options(self) -> object:
        return self.timing

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        self.disarm()
        self._proxy = self._make_proxy(self.address)
        for name, value in self._attributes(frames, triggers, exposure, external).items():
            self._tell("write_attribute", name, value)
        self._tell("command_inout", "Arm")

    def trigger(self) -> None:
        if self._proxy is None:
            raise RequestRefused("The detector is not armed.", "Arm it before it is triggered.")
        self._tell("command_inout", "SoftwareTrigger")

    def disarm(self) -> None:
        if self._proxy is not None:
            self._tell("command_inout", "Stop")
            self._proxy = None

    def _attributes(self, frames: int, triggers: int, exposure: float, external: bool) -> dict[str, Any]:
        timing = self.timing.timing(frames, triggers, exposure, external)
        gate = timing["mode"] == "gate"
        return {
            "TriggerMode": MODES[timing["mode"]],
            # What the device calls exposure is that of a frame with its latency.
            "ExposureTime": exposure if gate else exposure + timing["gap"],
            "LatencyTime": timing["gap"],
            "nFramesPerTrigger": frames,
            "nTriggers": triggers,
            "InvertTrigger": timing["invert"],
            "Debounce": timing["debounce"],
            "TriggersPerFrame": timing["triggers_per_frame"],
            "GateInput": timing["gate_input"],
            # The file is that of the series which was armed in the service.
            "DestinationFileName": "",
        }

    def _tell(self, method: str, *arguments: Any) -> Any:
        return told(self.address, lambda: getattr(self._proxy, method)(*arguments), " ".join(map(str, arguments)))

    def __repr__(self) -> str:
        return f"TangoDriver({self.address!r})"


def service_of(address: str) -> Client:
    """The client of the service that a Tango device stands in front of. Raises as `told` does."""
    from bluesky_streamdet.service.client import ServiceClient

    proxy = device_proxy(address)
    return ServiceClient(told(address, lambda: proxy.read_attribute("ServiceAddress").value, "ServiceAddress"))


def device_proxy(address: str) -> Any:
    """Tango's client of a device. Raises `MissingLibrary`, and as `told` does."""
    try:
        import tango
    except ImportError as error:
        raise MissingLibrary(
            "pytango is not installed.", "Install it: pip install 'bluesky-streamdet[tango]'."
        ) from error

    def make() -> Any:
        proxy = tango.DeviceProxy(address)
        proxy.set_timeout_millis(TIMEOUT)
        return proxy

    return told(address, make, "its connection")


def told(address: str, call: Callable[[], Any], what: str) -> Any:
    """What a call of Tango returns. Raises `HardwareFailed` with the device's own words, or `DeadlineExceeded`."""
    import tango

    try:
        return call()
    except tango.DevFailed as error:
        first = error.args[0]
        message = f"{address}: {what}: {first.desc.strip()}"
        if first.reason == "API_DeviceTimedOut":
            raise DeadlineExceeded(message, "Look at the device's state.") from error
        raise HardwareFailed(message) from error
