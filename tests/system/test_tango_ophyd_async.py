"""ophyd-async's Tango device finds all attributes and commands, and none that it keeps for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.system.tango_server import TIMEOUT, TangoServer, serving

pytest.importorskip("ophyd_async.tango.core", reason="needs the extras 'bluesky' and 'tango'")

from ophyd_async.core import observe_value
from ophyd_async.core._device import DEVICE_RESERVED_ATTRS
from ophyd_async.tango.core import TangoDevice
from tango.asyncio_executor import AsyncioExecutor, set_global_executor

pytestmark = [
    pytest.mark.system,
    pytest.mark.keeps_sockets("Tango's client keeps its connections for the life of the process"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TangoServer]:
    with serving(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(autouse=True)
async def tangos_threads() -> AsyncIterator[None]:
    """Threads for Tango's client, which otherwise keeps those of the first event loop for ever."""
    with ThreadPoolExecutor(8) as threads:
        set_global_executor(AsyncioExecutor(asyncio.get_running_loop(), threads))
        yield
        set_global_executor(None)


async def connected(server: TangoServer) -> Any:
    device = TangoDevice(server.address, support_events=True, name="xspress3")
    await device.connect(timeout=TIMEOUT)
    return device


async def test_it_connects_and_every_signal_can_be_read(server: TangoServer) -> None:
    device = await connected(server)
    children = dict(device.children())
    assert {"ExposureTime", "Arm", "SoftwareTrigger", "Stop", "Spectra", "Window1_Ch0", "State"} <= set(children)
    assert not set(children) & DEVICE_RESERVED_ATTRS

    for name, child in children.items():
        if hasattr(child, "get_value"):
            assert await child.get_value() is not None, name
    assert await device.Window1_Ch0.get_value() == pytest.approx([0, 4095])


async def test_a_series_without_polling(server: TangoServer) -> None:
    device = await connected(server)
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


async def test_commands_with_arguments(server: TangoServer) -> None:
    device = await connected(server)
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
