"""The calls of contrast, the acquisition framework of the beamline that this device comes from, in their order.

It writes attributes, arms once for a scan of single frames and at each point otherwise, and asks again and again
whether the detector is busy: not when it is in STANDBY, nor when it runs and has acquired what the point expects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from tests.system.tango_server import TangoServer, refused, serving, tango, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.keeps_sockets("Tango's client keeps its connections for the life of the process"),
]


class Contrast:
    """burst: frames at each start. edges: hardware triggers at each point; 0 for software triggers."""

    def __init__(self, address: str, burst: int = 1, edges: int = 0) -> None:
        self.proxy = tango.DeviceProxy(address)
        self.burst = burst
        self.edges = edges
        self.expected = 0

    def prepare(self, exposure: float, file: str, starts: int) -> None:
        assert not self.busy()
        self.proxy.DestinationFileName = file
        self.proxy.ExposureTime = exposure
        self.proxy.nFramesPerTrigger = self.burst
        self.proxy.LatencyTime = 100e-9
        self.proxy.TriggerMode = "EXTERNAL_MULTI" if self.edges else "SOFTWARE"
        self.proxy.nTriggers = (starts if self.burst == 1 else 1) * (self.edges or 1)
        if self.burst == 1:
            self.proxy.Arm()
        self.expected = 0

    def arm(self) -> None:
        each = self.burst * (self.edges or 1)
        if self.burst > 1:
            self.proxy.Arm()
            self.expected = each
        else:
            self.expected += each

    def start(self) -> None:
        if self.edges:
            self.proxy.SimulatePulses([self.edges, 0.02])
        else:
            self.proxy.SoftwareTrigger()

    def busy(self) -> bool:
        state = self.proxy.State()
        if state == tango.DevState.STANDBY:
            return False
        return not (state == tango.DevState.RUNNING and self.proxy.nFramesAcquired == self.expected)

    def scan(self, file: str, points: int) -> None:
        self.prepare(0.01, file, points)
        for _ in range(points):
            self.arm()
            self.start()
            until(lambda: not self.busy(), "the end of a point")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[TangoServer]:
    with serving(folder, "--property=NumberTakenFiles=true") as server:
        yield server


def frames_in(path: Path) -> int:
    with h5py.File(path) as file:
        return len(file["/entry/instrument/xspress3/data"])


@pytest.mark.parametrize("edges", [0, 3])
def test_scans_follow_one_another_without_a_pause(server: TangoServer, folder: Path, edges: int) -> None:
    contrast = Contrast(server.address, edges=edges)
    paths = [folder / f"scan_{number:06d}_edges{edges}.hdf5" for number in range(3)]
    for path in paths:
        contrast.scan(str(path), points=4)
    until(lambda: contrast.proxy.State() == tango.DevState.STANDBY, "the last frame on disk")

    assert [frames_in(path) for path in paths] == 3 * [4 * (edges or 1)]


def test_bursts_arm_at_each_point(server: TangoServer, folder: Path) -> None:
    contrast = Contrast(server.address, burst=5)
    contrast.scan(str(folder / "bursts.hdf5"), points=3)
    until(lambda: contrast.proxy.State() == tango.DevState.STANDBY, "the last frame on disk")

    assert [frames_in(folder / f"bursts{number}.hdf5") for number in ("", "_1", "_2")] == [5, 5, 5]


def test_live_images_without_a_file(server: TangoServer) -> None:
    contrast = Contrast(server.address)
    for _ in range(5):
        contrast.scan("", points=1)
    contrast.proxy.Stop()

    assert contrast.proxy.State() == tango.DevState.STANDBY


def test_a_scan_that_is_interrupted(server: TangoServer, folder: Path) -> None:
    contrast = Contrast(server.address)
    contrast.prepare(0.01, str(folder / "interrupted.hdf5"), 10)
    contrast.arm()
    contrast.start()
    until(lambda: not contrast.busy(), "the end of a point")
    contrast.proxy.Stop()
    contrast.scan(str(folder / "next.hdf5"), points=1)

    assert frames_in(folder / "interrupted.hdf5") == 1


def test_several_edges_for_several_frames_are_refused_as_ever(server: TangoServer) -> None:
    contrast = Contrast(server.address, burst=3, edges=2)
    contrast.prepare(0.01, "", 1)
    with refused("bad_configuration", "either one frame, or all"):
        contrast.arm()
