"""A cable for tickit's simulated detectors, for its own interpreter: it gives as many pulses as it is asked for."""

from __future__ import annotations

import pydantic.v1.dataclasses
from aiohttp import web
from tickit.adapters.http import HttpAdapter
from tickit.adapters.io import HttpIo
from tickit.adapters.specifications import HttpEndpoint
from tickit.core.adapter import AdapterContainer
from tickit.core.components.component import Component, ComponentConfig
from tickit.core.components.device_component import DeviceComponent
from tickit.core.device import Device, DeviceUpdate
from tickit.core.typedefs import SimTime

WIDTH = 1_000_000
"""ns of a pulse."""


class CableDevice(Device):
    """left: pulses to come. period: in ns. The Eiger begins anew at whatever happens to it while `trigger` is high."""

    def __init__(self) -> None:
        self.left = 0
        self.period = 0
        self._high = False

    def update(self, time: SimTime, inputs: object) -> DeviceUpdate:
        if not self._high and not self.left:
            return DeviceUpdate({"trigger": False}, None)
        self._high = not self._high
        self.left -= self._high
        return DeviceUpdate({"trigger": self._high}, SimTime(time + (WIDTH if self._high else self.period)))


class CableAdapter(HttpAdapter):
    def __init__(self, device: CableDevice) -> None:
        self.device = device

    @HttpEndpoint.put("/pulses", interrupt=True)
    async def pulses(self, request: web.Request) -> web.Response:
        """A number of them, and s between two."""
        asked = await request.json()
        self.device.left, self.device.period = asked["number"], int(asked["period"] * 1e9)
        return web.json_response({})


@pydantic.v1.dataclasses.dataclass
class Cable(ComponentConfig):
    port: int = 0

    def __call__(self) -> Component:
        device = CableDevice()
        adapter = AdapterContainer(CableAdapter(device), HttpIo("127.0.0.1", self.port))
        return DeviceComponent(name=self.name, device=device, adapters=[adapter])
