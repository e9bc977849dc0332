"""What an ophyd-async client of the Tango device does; a program of its own, as Tango's client stays in a process.

Its event threads may lock up when Python's garbage collector takes a proxy away behind their backs, so that is off.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from typing import Any

import numpy as np
from ophyd_async.core import observe_value
from ophyd_async.core._device import DEVICE_RESERVED_ATTRS
from ophyd_async.tango.core import TangoDevice

TIMEOUT = 20.0


async def connected(address: str) -> Any:
    device = TangoDevice(address, support_events=True, name="xspress3")
    await device.connect(timeout=TIMEOUT)
    return device


async def connect_and_read_every_signal(address: str) -> None:
    device = await connected(address)
    children = dict(device.children())
    assert {"ExposureTime", "Arm", "SoftwareTrigger", "Stop", "Spectra", "Window1_Ch0", "State"} <= set(children)
    assert not set(children) & DEVICE_RESERVED_ATTRS

    for name, child in children.items():
        if hasattr(child, "get_value"):
            assert await child.get_value() is not None, name
    assert list(await device.Window1_Ch0.get_value()) == [0, 4095]


async def series_without_polling(address: str) -> None:
    device = await connected(address)
    await device.ExposureTime.set(0.02)
    await device.nTriggers.set(3)
    await device.TriggerMode.set("SOFTWARE")
    await device.Window1_Ch1.set(np.array([10, 2000], np.int32))
    await device.DestinationFileName.set("async.h5")
    await device.Arm.trigger()

    async def run() -> list[int]:
        seen: list[int] = []
        async for acquired in observe_value(device.nFramesAcquired, timeout=TIMEOUT):
            if not seen or acquired > seen[-1]:
                seen.append(int(acquired))
                if acquired == 3:
                    break
                await device.SoftwareTrigger.trigger()
        async for state in observe_value(device.State, timeout=TIMEOUT):
            if state == "STANDBY":
                return seen
        return []

    assert await asyncio.wait_for(run(), TIMEOUT) == [0, 1, 2, 3]
    assert await device.nFramesWritten.get_value() == 3
    spectra = await device.Spectra.get_value()
    assert spectra.shape == (2, 4096)
    counts = await device.Window1Counts.get_value()
    assert counts[1] == spectra[1, 10:2001].sum()


async def commands_with_arguments(address: str) -> None:
    device = await connected(address)
    await device.nTriggers.set(1)
    await device.TriggerMode.set("INTERNAL")
    await device.DestinationFileName.set("")
    await device.Arm.trigger()
    async for state in observe_value(device.State, timeout=TIMEOUT):
        if state == "STANDBY":
            break
    counts = await device.ReadRawCounts_Window2.execute(np.array([0, 1, 2], np.int64))

    assert counts[0] == (await device.Spectra.get_value())[0].sum()
    assert counts[1] == -1


ALL = (connect_and_read_every_signal, series_without_polling, commands_with_arguments)
STORIES = {one.__name__: one for one in ALL}


def main() -> None:
    gc.disable()
    address, story = sys.argv[1:]
    asyncio.run(STORIES[story](address))
    print("done", flush=True)
    os._exit(0)  # Tango's threads have nothing to say any more.


if __name__ == "__main__":
    main()
