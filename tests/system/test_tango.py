"""A Tango client does everything with the device, in front of the real service with a simulated detector."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.system.tango_server import Client, TangoServer, refused, serving

pytestmark = [
    pytest.mark.system,
    pytest.mark.keeps_sockets("Tango's client keeps its connections for the life of the process"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[TangoServer]:
    with serving(folder) as server:
        yield server


@pytest.fixture
def client(server: TangoServer) -> Iterator[Client]:
    """Of a device that has just been initialised, with whole spectra."""
    client = Client(server.address)
    client.proxy.Init()
    client.until_state("STANDBY")
    yield client
    client.proxy.Abort()
    client.close()


def in_file(path: str, name: str) -> np.ndarray[Any, Any]:
    with h5py.File(path) as file:
        return file[f"/entry/instrument/xspress3/{name}"][...]


def test_software_triggers_and_readback(client: Client, folder: Path) -> None:
    device = client.proxy
    client.arm(DestinationFileName="step/one.h5", nTriggers=3)
    assert "waits for the first trigger" in device.Status()
    for number in range(3):
        client.until(ReadyForSwTrigger=True)
        device.SoftwareTrigger()
        client.until(nFramesAcquired=number + 1)
    assert "3 of 3 frames are in" in client.until_state("STANDBY")

    path = str(folder / "step" / "one.h5")
    assert device.FileName == path
    assert (device.nFramesWritten, device.LastFrame) == (3, 2)
    data = in_file(path, "data")
    assert data.shape == (3, 2, 4096)
    np.testing.assert_array_equal(device.Spectra, data[2])
    np.testing.assert_array_equal(device.SumSpectrum, data[2].sum(axis=0))
    np.testing.assert_array_equal(device.TotalSpectra, data.sum(axis=0))
    for attribute, dataset in (("AllGood", "all_good"), ("AllEvents", "all_events"), ("TotalTicks", "total_ticks")):
        np.testing.assert_array_equal(device.read_attribute(attribute).value, in_file(path, dataset)[2])
    np.testing.assert_array_equal(device.AllGood, data[2].sum(axis=1))
    correction = in_file(path, "dead_time_correction")
    np.testing.assert_allclose(device.DeadTimeCorrection, correction[2])
    np.testing.assert_allclose(device.CorrectedSpectra, data[2] * correction[2][:, np.newaxis])
    for frame in range(3):
        np.testing.assert_array_equal(device.ReadSpectrum([frame, 1]), data[frame, 1])
        np.testing.assert_allclose(device.ReadCorrectedSpectrum([frame, 1]), data[frame, 1] * correction[frame, 1])
        scalars = json.loads(device.ReadScalars(frame))
        assert scalars["all_events"] == in_file(path, "all_events")[frame].tolist()


def test_many_frames_after_one_trigger_have_the_period_of_the_exposure(client: Client) -> None:
    client.arm(DestinationFileName="burst.h5", nFramesPerTrigger=50, ExposureTime=2e-3, LatencyTime=100e-9)
    assert client.proxy.ReadoutTime == pytest.approx(200e-9)
    assert client.proxy.LiveTime == pytest.approx(2e-3 - 200e-9)
    client.proxy.SoftwareTrigger()
    client.until_state("STANDBY")

    ticks = in_file(client.proxy.FileName, "total_ticks")
    assert ticks.shape == (50, 2)
    np.testing.assert_array_equal(ticks, 160_000 - 16)


def test_hardware_triggers(client: Client) -> None:
    client.arm(TriggerMode="EXTERNAL_MULTI", nTriggers=4, DestinationFileName="edges.h5")
    with refused("refused"):
        client.proxy.SoftwareTrigger()
    assert client.proxy.ReadyForSwTrigger is False
    client.proxy.SimulatePulses([4, 0.05])
    assert "4 of 4 frames are in" in client.until_state("STANDBY")


def test_gates_are_as_long_as_they_are(client: Client) -> None:
    client.arm(TriggerMode="EXTERNAL_MULTI_GATE", nTriggers=1, DestinationFileName="gate.h5")
    client.proxy.SimulateGate(0.03)
    client.until_state("STANDBY")

    ticks = in_file(client.proxy.FileName, "total_ticks")
    np.testing.assert_allclose(ticks, 0.03 * 80e6, atol=100)


def test_frames_that_software_begins_and_ends(client: Client) -> None:
    client.arm(TriggerMode="SOFTWARE_TIMED", nTriggers=1)
    client.proxy.SoftwareTrigger()
    client.proxy.SoftwareRelease()

    assert "1 of 1 frames were sent" in client.until_state("STANDBY")


def test_nothing_is_written_without_a_name_or_when_others_write(client: Client, folder: Path) -> None:
    before = set(folder.rglob("*.h5"))
    for attributes in ({"DestinationFileName": ""}, {"DestinationFileName": "other.h5", "WriteHdf5": False}):
        client.arm(TriggerMode="INTERNAL", **attributes)
        assert "1 of 1 frames were sent" in client.until_state("STANDBY")
        assert client.proxy.FileName == ""

    assert set(folder.rglob("*.h5")) == before


def test_files_that_exist_and_files_elsewhere_are_refused(client: Client, folder: Path) -> None:
    for _ in range(2):
        client.arm(TriggerMode="INTERNAL", DestinationFileName="same.h5", DestinationFileOverwritable=True)
        client.until_state("STANDBY")
    with refused("file_exists", "set DestinationFileOverwritable"):
        client.arm(TriggerMode="INTERNAL", DestinationFileName=str(folder / "same.h5"))
    with refused("path_refused", "outside of the data directory"):
        client.arm(DestinationFileName="/tmp/elsewhere.h5")

    assert client.proxy.State().name == "STANDBY"
    client.arm(TriggerMode="INTERNAL", DestinationFileName=str(folder / "a b" / "absolute.h5"))
    client.until_state("STANDBY")
    assert (folder / "a b" / "absolute.h5").is_file()


def test_windows(client: Client) -> None:
    device = client.proxy
    device.Window1_Ch0, device.Window2_Ch0 = [600, 700], [0, 4095]
    device.Window1_Ch1, device.Window2_Ch1 = [100, 100], [50, 60]
    assert device.Window1_Ch0.tolist() == [600, 700]
    client.arm(TriggerMode="INTERNAL", nFramesPerTrigger=3)
    client.until_state("STANDBY")

    spectra = [np.array([device.ReadSpectrum([frame, channel]) for frame in range(3)]) for channel in range(2)]
    expected = spectra[0][:, 600:701].sum(axis=1)
    assert expected.all()
    assert device.ReadRawCounts_Window1([0, 1, 3]).tolist() == expected.tolist()
    assert device.ReadRawCounts_Window2([0, 1, 3]).tolist() == spectra[0].sum(axis=1).tolist()
    assert device.ReadRawCounts_Window2([1, 2, 4]).tolist() == [*spectra[1][1:, 50:61].sum(axis=1), -1]
    assert device.Window1Counts.tolist() == [expected[2], spectra[1][2, 100]]
    corrected = device.ReadDtcCounts_Window1([0, 3, 4])
    assert corrected.tolist() == pytest.approx([expected[2] * device.DeadTimeCorrection[0], -1])
    np.testing.assert_allclose(device.Window1CorrectedCounts, device.Window1Counts * device.DeadTimeCorrection)


def test_windows_that_make_no_sense(client: Client) -> None:
    device = client.proxy
    before = device.Window1_Ch1.tolist()
    with refused("refused", "from 700 to 600 is empty"):
        device.Window1_Ch1 = [700, 600]
    for wrong in ([0, 4096], [-1, 5]):
        with refused("API_WAttrOutsideLimit"):
            device.Window1_Ch1 = wrong
    with refused("refused", "no channel 2"):
        device.ReadRawCounts_Window1([2, 1, 1])
    with refused("refused", "no frames from 3 to 2"):
        device.ReadRawCounts_Window1([0, 3, 2])

    assert device.Window1_Ch1.tolist() == before


def test_part_of_the_spectrum_by_the_detectors_regions(client: Client) -> None:
    device = client.proxy
    device.SetRegions([600, 699, 100, 1000, 1099, 50])
    try:
        assert device.Regions.tolist() == [[600, 699, 100], [1000, 1099, 50]]
        client.arm(TriggerMode="INTERNAL", DestinationFileName="regions.h5")
        client.until_state("STANDBY")
        assert device.Spectra.shape == (2, device.nBins)
        assert device.nBins < 4096
        np.testing.assert_array_equal(device.Spectra, in_file(device.FileName, "data")[0])
    finally:
        device.ClearRegions()
    assert device.nBins == 4096
    assert device.Regions.size == 0
    with refused("refused", "2 numbers are no regions"):
        device.SetRegions([1, 2])


def test_part_of_the_spectrum_by_a_range(client: Client) -> None:
    device = client.proxy
    device.SpectrumRange = [500, 300]
    assert device.SpectrumRange.tolist() == [500, 300]
    client.arm(TriggerMode="INTERNAL", DestinationFileName="range.h5")
    client.until_state("STANDBY")
    assert in_file(device.FileName, "data").shape == (1, 2, 300)
    assert device.Spectra.shape == (2, 300)
    device.SpectrumRange = [0, 0]

    assert device.SpectrumRange.tolist() == [0, 4096]


def test_settings_of_the_detector(client: Client, tmp_path: Path) -> None:
    device = client.proxy
    device.Threshold_Ch1 = 77
    device.DeadTimeEnergy = 6.4
    device.SetDeadTime('{"channel": 0, "use_good": true}')
    device.SaveSettings(str(tmp_path))
    device.Threshold_Ch1 = 10
    device.RestoreSettings(str(tmp_path))

    assert device.Threshold_Ch1 == 77
    assert device.DeadTimeEnergy == pytest.approx(6.4)
    assert device.EventWidth_Ch0 == 6
    with refused("bad_configuration", "does not exist"):
        device.RestoreSettings(str(tmp_path / "nowhere"))


def test_stop_in_the_middle(client: Client) -> None:
    client.arm(DestinationFileName="stopped.h5", nTriggers=10)
    client.proxy.SoftwareTrigger()
    client.until(nFramesAcquired=1)
    client.proxy.Stop()
    assert "was stopped: 1 of 10 frames are in" in client.until_state("STANDBY")
    client.proxy.Stop()

    assert len(in_file(client.proxy.FileName, "data")) == 1
    with refused("refused", "not armed"):
        client.proxy.SoftwareTrigger()


def test_abort_in_the_middle(client: Client) -> None:
    client.arm(DestinationFileName="aborted.h5", nTriggers=10)
    client.proxy.Abort()

    assert client.proxy.State().name == "STANDBY"
    client.arm(TriggerMode="INTERNAL")
    client.until_state("STANDBY")


def test_arm_while_it_runs_and_what_does_not_fit_together(client: Client) -> None:
    client.arm(nTriggers=2)
    with refused("busy", "0 of 2 frames"):
        client.proxy.Arm()
    assert client.proxy.State().name == "RUNNING"
    client.proxy.Stop()
    with refused("bad_configuration", "either one frame, or all"):
        client.arm(TriggerMode="EXTERNAL_MULTI", nTriggers=2, nFramesPerTrigger=3)
    with refused("bad_configuration", "the longest is 53.687 s"):
        client.arm(ExposureTime=60.0)
    with refused("bad_configuration", "There is no TriggerMode 'FAST'"):
        client.proxy.TriggerMode = "FAST"

    assert client.proxy.State().name == "STANDBY"


def test_clients_need_not_poll(client: Client) -> None:
    client.seen.clear()
    client.arm(nTriggers=2, DestinationFileName="events.h5")
    for number in range(2):
        client.until(ReadyForSwTrigger=True)
        client.proxy.SoftwareTrigger()
        client.until(nFramesAcquired=number + 1)
    client.until(nFramesWritten=2)
    client.until_state("STANDBY")

    names = [str(value) for name, value in client.seen if name == "state"]
    assert names == ["RUNNING", "STANDBY"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_in_order(tmp_path: Path, number: int) -> None:
    with serving(tmp_path) as server:
        client = Client(server.address)
        client.arm(DestinationFileName="last.h5", nTriggers=5)
        client.proxy.SoftwareTrigger()
        client.until(nFramesWritten=1)
        client.close()
        code = server.end(number)

    assert code == 0
    assert len(in_file(str(tmp_path / "last.h5"), "data")) == 1
