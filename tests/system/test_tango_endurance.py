"""A hundred times everything, and nothing is left: no thread, no socket, no port, no process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.tango_server import Client, serving, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.keeps_sockets("Tango's client keeps its connections for the life of the process"),
]

TIMES = 100


def once(client: Client, number: int) -> None:
    """Configure, arm, trigger by software and by edges, read back, stop in the middle, fail, and begin anew."""
    device = client.proxy
    device.Window1_Ch0 = [100 + number, 2000 + number]
    client.arm(ExposureTime=1e-3, DestinationFileName=f"software_{number}.h5")
    device.SoftwareTrigger()
    client.until_state("STANDBY")
    counts = device.ReadRawCounts_Window1([0, 1, 1])
    assert counts[0] == device.Spectra[0, 100 + number : 2001 + number].sum()
    device.SpectrumRange = [number, 1000]
    client.arm(ExposureTime=1e-3, TriggerMode="EXTERNAL_MULTI", nTriggers=2)
    device.SimulatePulses([2, 5e-3])
    client.until_state("STANDBY")
    assert (device.nFramesAcquired, device.Spectra.shape) == (2, (2, 1000))
    client.arm(nTriggers=5, DestinationFileName=f"stopped_{number}.h5")
    device.Stop()
    client.until_state("STANDBY")
    client.arm(TriggerMode="INTERNAL", ExposureTime=1e-5, nFramesPerTrigger=2000)
    assert "ended incomplete" in client.until_state("FAULT")
    device.Init()
    client.until_state("STANDBY")
    assert device.nBins == 1000, "what clients set stays"
    device.SpectrumRange = [0, 4096]


def test_nothing_is_left_after_a_hundred_times(tmp_path: Path) -> None:
    with serving(tmp_path, capacity=8) as server:
        client = Client(server.address)
        for number in range(5):  # What is started once and stays: connections, threads that Tango keeps in store.
            once(client, number)
        services, before = server.services(), server.everything()
        for number in range(5, 5 + TIMES):
            once(client, number)
        client.close()

        assert server.services() == services
        until(lambda: grown(before, server.everything()) == {}, "all that was used is given back")
    assert len(list(tmp_path.glob("software_*.h5"))) == 5 + TIMES


def grown(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    """What there is more of than before, and by how much."""
    return {kind: count - before[kind] for kind, count in now.items() if count > before[kind]}
