"""A simulated Xspress3 behind its Tango device, in plans: armed and triggered by Tango, read and written as ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus
from ophyd_async.core import init_devices

from bluesky_streamdet.core.errors import HardwareFailed
from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as Asynchronous
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector as Classic
from bluesky_streamdet.plans import fly, raster
from bluesky_streamdet.streaming.files.reader import read_frames
from tests.scripted import Documents
from tests.system.tango_server import TangoServer, serving

tango = pytest.importorskip("tango", reason="needs the extra 'tango'")

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    pytest.mark.keeps_sockets("Tango's client keeps its connections for the life of the process"),
]
FACES = pytest.mark.parametrize("face", ["classic", "async"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TangoServer]:
    with serving(tmp_path_factory.mktemp("data")) as running:
        yield running


def made(face: str, server: TangoServer, **keywords: Any) -> Any:
    keywords = {"url": server.address, "channels": 2, "exposure": 0.005, "margin": 20.0} | keywords
    if face == "classic":
        return Classic(name="xspress3", **keywords)
    with init_devices():
        xspress3 = Asynchronous(name="xspress3", **keywords)
    return xspress3  # noqa: RET504, it is connected as a variable that was not there before


def column(documents: Documents, name: str) -> Any:
    resource = next(one for one in documents.of("stream_resource") if one["data_key"] == "xspress3")
    path = resource["uri"].removeprefix("file://localhost")
    return read_frames(path, f"/entry/instrument/xspress3/{name}")


@FACES
def test_count(RE: RunEngine, server: TangoServer, face: str) -> None:
    """The live time of a frame is what the plan asked for, whatever Tango's exposure has in it besides."""
    xspress3, documents = made(face, server, regions={"low": {"bins": [0, 100]}}), Documents()
    RE(bps.mv(xspress3.gap, 200e-9))
    RE(bp.count([xspress3], 3), documents)
    assert column(documents, "clock_ticks").tolist() == [[400_000] * 2] * 3
    assert documents.stop["num_events"] == {"primary": 3}
    name = "xspress3_total" if face == "classic" else "xspress3-total"
    assert all(one["data"][name] > 0 for one in documents.of("event"))


@FACES
def test_bursts_and_a_flight(RE: RunEngine, server: TangoServer, face: str) -> None:
    bursts, flight = Documents(), Documents()
    RE(bp.count([made(face, server, frames_per_event=4)], 2), bursts)
    assert column(bursts, "sequence_number").reshape(-1).tolist() == list(range(8))
    RE(fly([made(face, server)], 20, exposure=0.002), flight)
    assert column(flight, "sequence_number").tolist() == list(range(20))


@FACES
def test_a_raster(RE: RunEngine, server: TangoServer, face: str) -> None:
    xspress3, documents = made(face, server), Documents()
    proxy = tango.DeviceProxy(server.address)
    stage = SimulatedStage(name="stage", give_triggers=lambda count, period: proxy.SimulatePulses([count, period]))
    RE(raster([xspress3], stage, 3, 5, 0.01), documents)
    assert column(documents, "sequence_number").tolist() == list(range(15))
    assert proxy.state() == tango.DevState.STANDBY


@pytest.mark.allow_error_log
@FACES
def test_what_the_device_refuses(RE: RunEngine, server: TangoServer, face: str) -> None:
    """It is told in the device's words, and leaves everything ready."""
    xspress3 = made(face, server)
    RE(bps.mv(xspress3.debounce, 3000))
    with pytest.raises(FailedStatus) as caught:
        RE(bp.count([xspress3], 1))
    assert isinstance(caught.value.__cause__, HardwareFailed)
    assert "Debounce" in str(caught.value.__cause__)
    RE(bps.mv(xspress3.debounce, 80))
    documents = Documents()
    RE(bp.count([xspress3], 1), documents)
    assert documents.stop["exit_status"] == "success"
