"""What a run says of the beamline without being told: values that are read when it is opened."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg


class RecordedValues:
    """Has every run say in its start document where devices are, and so in the files of its detectors.

        RE.preprocessors.append(RecordedValues({"energy": energy, "temperature": cryostat}))

    What the plan, or RE(plan, key=...), says under a key goes before. devices: by key; each has one value, or one that
    is hinted. A value with units is {"value": ..., "units": ...}.
    """

    def __init__(self, devices: Mapping[str, Any]) -> None:
        self.devices = dict(devices)

    def __call__(self, plan: Any) -> Generator[Msg, Any, Any]:
        """The plan, with these values in its runs."""
        opening: list[Msg] = []

        def look(message: Msg) -> tuple[Any, None]:
            if message.command != "open_run" or any(message is one for one in opening):
                return None, None
            return self._open(message, opening), None

        return (yield from bpp.plan_mutator(plan, look))

    def _open(self, message: Msg, opening: list[Msg]) -> Generator[Msg, Any, Any]:
        values = {}
        for key, device in self.devices.items():
            if key not in message.kwargs:
                values[key] = yield from _quantity(device)
        # It is looked at once more, at once.
        opening[:] = [message._replace(kwargs={**values, **message.kwargs})]
        return (yield opening[0])

    def __repr__(self) -> str:
        return f"RecordedValues({', '.join(f'{key}: {device.name}' for key, device in self.devices.items())})"


def _quantity(device: Any) -> Generator[Msg, Any, Any]:
    """The value of a device, with its units where it has such."""
    value = yield from bps.rd(device)
    described = device.describe()
    if inspect.isawaitable(described):
        described.close()  # type: ignore[attr-defined]  # it is a coroutine; the RunEngine awaits one of its own
        tasks = yield from bps.wait_for([device.describe])
        described = tasks[0].result() if tasks else {}
    hinted = getattr(device, "hints", {}).get("fields", [])
    keys = [described[name] for name in hinted or described if name in described]
    units = keys[0].get("units") if len(keys) == 1 else None
    return {"value": value, "units": units} if units else value
