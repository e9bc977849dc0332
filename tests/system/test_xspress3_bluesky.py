"""A simulated Xspress3 in plans: RunEngine, both faces, the real service with the simulated SDK, and a real Tiled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.callbacks import LiveTable
from bluesky.utils import FailedStatus, RunEngineInterrupted
from bluesky_tiled_plugins import TiledWriter
from numpy.typing import NDArray
from ophyd_async.core import DetectorTrigger, TriggerInfo, init_devices

from bluesky_streamdet.core.errors import ConfigError, FramesLost, HardwareFailed
from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as Asynchronous
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector as Classic
from bluesky_streamdet.devices.xspress3.driver import ServiceDriver
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.devices.xspress3.maps import region_map
from bluesky_streamdet.plans import fly, raster
from bluesky_streamdet.streaming.files.reader import read_frames
from tests.scripted import Documents

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
]
FACES = pytest.mark.parametrize("face", ["classic", "async"])
ROWS, COLUMNS, CHANNELS = 6, 8, 4
SAMPLE = {"picture": "shapes", "raster": {"columns": COLUMNS, "rows": ROWS, "snake": True}}
SYSTEM = {"simulate": {"channels": CHANNELS, "rate": 100_000, "sample": SAMPLE}}
REGIONS = {"Fe": "Fe Ka", "Zn": "Zn Ka"}


@pytest.fixture(scope="module")
def local(frames_folder: Path) -> Iterator[LocalXspress3]:
    with LocalXspress3({"system": SYSTEM}, frames_folder / uuid4().hex[:8]) as running:
        assert running.url  # Started here, so that no test takes what it opens for its own.
        yield running


@pytest.fixture
def writer(db: Any) -> Callable[[str, dict[str, Any]], None]:
    return TiledWriter(db)


def made(face: str, local: LocalXspress3, **keywords: Any) -> Any:
    keywords = {"exposure": 0.005, "margin": 20.0, "regions": REGIONS} | local.device | keywords
    if face == "classic":
        return Classic(name="xspress3", **keywords)
    with init_devices():
        xspress3 = Asynchronous(name="xspress3", **keywords)
    return xspress3  # noqa: RET504, it is connected as a variable that was not there before


def key(face: str, name: str) -> str:
    separator = "_" if face == "classic" else "-"
    return f"xspress3{separator}{'regions-' if face == 'async' and name in REGIONS else ''}{name}"


def files(documents: Documents) -> list[str]:
    resources = [one for one in documents.of("stream_resource") if one["data_key"] == "xspress3"]
    return [one["uri"].removeprefix("file://localhost") for one in resources]


def column(path: str, name: str) -> NDArray[Any]:
    return read_frames(path, f"/entry/instrument/xspress3/{name}")


@FACES
def test_count(
    RE: RunEngine, local: LocalXspress3, db: Any, writer: Any, face: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of an event are those of its frame in the file; db[-1] has spectra and dead time beside them."""
    xspress3, documents = made(face, local), Documents()
    table: Any = LiveTable([key(face, "total"), key(face, "Fe")])
    RE(bp.count([xspress3], 3), [documents, writer, table])
    spectra = read_frames(files(documents)[0])
    factor = column(files(documents)[0], "dead_time_correction")
    assert spectra.shape == (3, CHANNELS, 4096)
    assert np.array_equal(spectra.sum(axis=2), column(files(documents)[0], "all_good"))
    first, last = _bins(documents, face, "Fe")
    run = db[-1]["primary"]
    assert np.array_equal(run["xspress3"].read(), spectra)
    assert np.array_equal(run[key(face, "dead_time_correction")].read(), factor)
    assert run[key(face, "window_counts")].shape == (3, 2, CHANNELS)
    values = run.read()
    assert values["xspress3"].dims == ("time", "channel", "bin")
    assert values[key(face, "total")].values == pytest.approx((spectra.sum(axis=2) * factor).sum(axis=1))
    iron = (spectra[:, :, first : last + 1].sum(axis=2) * factor).sum(axis=1)
    assert values[key(face, "Fe")].values == pytest.approx(iron)
    assert region_map(db[-1], "Fe") == pytest.approx(iron), "of a run that is no raster, it is a row"
    assert f"{iron[2]:.3f}" in capsys.readouterr().out


@FACES
def test_bursts(RE: RunEngine, local: LocalXspress3, db: Any, writer: Any, face: str) -> None:
    """Several frames at each trigger, one right behind the other, all in one file."""
    xspress3, documents = made(face, local, frames_per_event=20, exposure=0.001), Documents()
    RE(bp.count([xspress3], 3), [documents, writer])
    (path,) = files(documents)
    assert documents.ranges("xspress3") == [(0, 1), (1, 2), (2, 3)]
    assert db[-1]["primary"]["xspress3"].shape == (3, 20, CHANNELS, 4096)
    assert column(path, "clock_ticks").reshape(-1, CHANNELS).tolist() == [[80_000] * CHANNELS] * 60
    assert column(path, "sequence_number").reshape(-1).tolist() == list(range(60))
    assert db[-1]["primary"][key(face, "clock_ticks")].shape == (3, 20, CHANNELS)


@FACES
def test_a_flight_by_software(RE: RunEngine, local: LocalXspress3, face: str) -> None:
    xspress3, documents = made(face, local), Documents()
    RE(fly([xspress3], 100, exposure=0.002), documents)
    assert column(files(documents)[0], "sequence_number").tolist() == list(range(100))
    assert len(documents.ranges("xspress3")) > 1, "announced while it flew"
    assert documents.stop["num_events"] == {"primary": 100}


def test_a_service_of_ours_that_died_starts_again(RE: RunEngine, tmp_path: Path) -> None:
    with LocalXspress3({"system": SYSTEM}, tmp_path) as own:
        xspress3, documents, first = made("classic", own), Documents(), own.url
        service = own._service
        assert service is not None and service._process is not None and service.pid is not None
        os.kill(service.pid, signal.SIGKILL)
        service._process.wait(10)
        RE(bp.count([xspress3], 2), documents)
        assert documents.stop["num_events"] == {"primary": 2}
        assert own.url != first


@FACES
def test_a_raster_makes_a_map(RE: RunEngine, local: LocalXspress3, db: Any, writer: Any, face: str) -> None:
    xspress3, documents = made(face, local), Documents()
    RE(raster([xspress3], _stage(local), ROWS, COLUMNS, 0.01, snake=True), [documents, writer])
    run = db[-1]
    assert documents.stop["num_events"] == {"primary": ROWS * COLUMNS, "positions": ROWS * COLUMNS}
    assert run["primary"]["xspress3"].shape == (ROWS * COLUMNS, CHANNELS, 4096)
    for name in REGIONS:
        picture = region_map(run, name)
        spectra, factor = read_frames(files(documents)[0]), column(files(documents)[0], "dead_time_correction")
        first, last = _bins(documents, face, name)
        points = (spectra[:, :, first : last + 1].sum(axis=2) * factor).sum(axis=1).reshape(ROWS, COLUMNS)
        points[1::2] = points[1::2, ::-1]
        assert picture == pytest.approx(points)
        assert picture.max() > 10 * np.median(picture) or picture.max() > 10 * picture.min(), "it shows something"
    positions = run["positions"].read()
    there = region_map(run, "Fe") > 1000
    assert 0 < there.sum() < ROWS * COLUMNS / 2, "iron is in some places only"
    assert positions["stage_x"].values[:COLUMNS] == pytest.approx(np.linspace(0, 1, COLUMNS))
    assert positions["stage_y"].values == pytest.approx(np.repeat(np.linspace(0, 1, ROWS), COLUMNS))


@FACES
def test_a_pause_in_a_raster(RE: RunEngine, local: LocalXspress3, face: str) -> None:
    """Nothing is lost, and nothing is there twice: iron is where it is without the pause."""
    xspress3, pause = made(face, local), _Pause(RE, after=1)
    paused, whole = Documents(), Documents()
    plan = raster([xspress3], _stage(local), ROWS, COLUMNS, 0.01, snake=True, flush_period=0.02)
    with pytest.raises(RunEngineInterrupted):
        RE(plan, [paused, pause])
    pause.thread.join()
    RE.resume()
    assert paused.stop["num_events"] == {"primary": ROWS * COLUMNS, "positions": ROWS * COLUMNS}
    RE(raster([xspress3], _stage(local), ROWS, COLUMNS, 0.01, snake=True), whole)
    for documents in (paused, whole):
        (path,) = files(documents)
        assert column(path, "sequence_number").tolist() == list(range(ROWS * COLUMNS))
    first, last = _bins(paused, face, "Fe")
    maps = [read_frames(files(one)[0])[:, :, first : last + 1].sum(axis=(1, 2)) > 500 for one in (paused, whole)]
    assert maps[0].tolist() == maps[1].tolist()
    assert 0 < maps[0].sum() < ROWS * COLUMNS / 2


@FACES
def test_a_pause_in_a_step_scan(RE: RunEngine, local: LocalXspress3, face: str) -> None:
    """The point is taken anew, into another file, and the frame of the interrupted one is cut off."""
    documents = Documents()
    driver = _PausingDriver(local, RE, nth=3)
    xspress3 = made(face, local, driver=driver, exposure=0.2)
    with pytest.raises(RunEngineInterrupted):
        RE(bp.count([xspress3], 4), documents)
    driver.thread.join()
    RE.resume()
    first, second = files(documents)
    assert [len(read_frames(first)), len(read_frames(second))] == [2, 2]
    assert documents.stop["num_events"] == {"primary": 4}


@pytest.mark.allow_error_log
@FACES
def test_an_abort_leaves_all_ready(RE: RunEngine, local: LocalXspress3, face: str) -> None:
    xspress3, documents, pause = made(face, local), Documents(), _Pause(RE, after=1)
    with pytest.raises(RunEngineInterrupted):
        RE(raster([xspress3], _stage(local), 50, 50, 0.01), pause)
    pause.thread.join()
    RE.abort()
    client = local.connect()
    status, state = client.status(), client.detector()
    client.close()
    assert status.series is None
    assert (status.last_series.outcome, state["state"]) == ("aborted", "idle")
    RE(bp.count([xspress3], 2), documents)
    assert len(read_frames(files(documents)[0])) == 2


@FACES
def test_gates(RE: RunEngine, local: LocalXspress3, face: str) -> None:
    """A frame lasts as long as its gate, and the last one needs no further gate to end."""
    xspress3, documents = made(face, local), Documents()

    @bpp.stage_decorator([xspress3])
    @bpp.run_decorator()
    def plan() -> Any:
        info = TriggerInfo(number_of_events=4, trigger=DetectorTrigger.EXTERNAL_LEVEL)
        yield from bps.prepare(xspress3, info, wait=True)
        yield from bps.declare_stream(xspress3, name="primary", collect=True)
        yield from bps.kickoff(xspress3, wait=True)
        local.instruct("gate", seconds=0.003, count=4, period=0.01)
        yield from bps.complete(xspress3, wait=True)
        yield from bps.collect(xspress3, name="primary")

    RE(plan(), documents)
    ticks = column(files(documents)[0], "clock_ticks")
    assert len(ticks) == 4
    assert np.abs(ticks.astype(int) - 240_000).max() <= 200


@pytest.mark.allow_error_log
@FACES
def test_part_of_the_spectrum(RE: RunEngine, local: LocalXspress3, face: str) -> None:
    """What is recorded changes what is announced; a region outside of it is refused before anything is armed."""
    xspress3, documents = made(face, local), Documents()
    local.instruct("set_range", first=600, bins=300)
    try:
        RE(bp.count([xspress3], 1), documents)
        assert documents.of("descriptor")[0]["data_keys"]["xspress3"]["shape"] == [CHANNELS, 300]
        with pytest.raises((ConfigError, FailedStatus)) as caught:
            RE(bp.count([made(face, local, regions={"Ca": "Ca Ka"})], 1))
        assert "is not in the part of the spectrum that is recorded" in str(_root(caught.value))
    finally:
        local.instruct("set_range", first=0, bins=0)


@pytest.mark.allow_error_log
@FACES
def test_a_fault_of_the_hardware(RE: RunEngine, tmp_path: Path, face: str) -> None:
    """The plan ends at once and says why; so does the next, until the hardware is reset."""
    failing = {"system": {"simulate": {"channels": 2, "fail": {"xsp3_scaler_read": 5}}}}
    with LocalXspress3(failing, tmp_path) as local:
        xspress3 = made(face, local)
        with pytest.raises(FailedStatus) as caught:
            RE(bp.count([xspress3], 10))
        assert isinstance(_root(caught.value), FramesLost)
        assert "xsp3_scaler_read" in str(_root(caught.value))
        with pytest.raises((HardwareFailed, FailedStatus)) as caught_again:
            RE(bp.count([xspress3], 1))
        assert "xsp3_scaler_read" in str(_root(caught_again.value))
        local.instruct("reset")
        documents = Documents()
        RE(bp.count([xspress3], 1), documents)
        assert documents.stop["exit_status"] == "success"


@FACES
def test_windows_and_settings(RE: RunEngine, local: LocalXspress3, tmp_path: Path, face: str) -> None:
    xspress3, documents = made(face, local), Documents()
    RE(bps.mv(xspress3.window1, [600, 700]))
    RE(bp.count([xspress3], 2), documents)
    (path,) = files(documents)
    assert np.array_equal(column(path, "window_counts")[:, 1], read_frames(path)[:, :, 600:701].sum(axis=2))

    def do(called: Any) -> Any:
        return called if face == "classic" else asyncio.run_coroutine_threadsafe(called, RE.loop).result()

    do(xspress3.save_settings(str(tmp_path)))
    do(xspress3.set_window(1, 0, 10))
    do(xspress3.restore_settings(str(tmp_path)))
    assert do(xspress3.state())["windows"][1] == [[600, 700]] * CHANNELS
    do(xspress3.set_window(1, 0, 4095))


READ_WITH_DATABROKER = """
import json, sys
import numpy as np
from databroker.v1 import temp
broker = temp()
for line in sys.stdin:
    broker.insert(*json.loads(line))
channels = [[one.tolist() for one in broker[-1].data(f"xspress3_channel{channel}_spectrum")] for channel in range(4)]
print(json.dumps(np.swapaxes(channels, 0, 1).tolist()))
"""


def test_spectra_by_databroker(RE: RunEngine, local: LocalXspress3) -> None:
    """Its handler of Xspress3 files opens them. In a process of its own, as databroker changes Tiled's client."""
    xspress3, documents = made("classic", local, asset_docs="resource"), Documents()
    RE(bp.count([xspress3], 2), documents)
    (resource,) = documents.of("resource")
    spectra = read_frames(Path(resource["root"]) / resource["resource_path"])
    lines = "\n".join(json.dumps(one, default=np.ndarray.tolist) for one in documents.all)
    command = [sys.executable, "-W", "ignore", "-c", READ_WITH_DATABROKER]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == spectra.tolist()


def _stage(local: LocalXspress3) -> SimulatedStage:
    return SimulatedStage(name="stage", give_triggers=local.pulse, stop_triggers=local.stop_pulses)


def _bins(documents: Documents, face: str, name: str) -> tuple[int, int]:
    prefix = "xspress3_" if face == "classic" else "xspress3-hardware-"
    values = documents.of("descriptor")[0]["configuration"]["xspress3"]["data"]
    index = list(values[f"{prefix}region_names"]).index(name)
    return int(values[f"{prefix}region_first_bin"][index]), int(values[f"{prefix}region_last_bin"][index])


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class _Pause:
    """Pauses the RunEngine in the middle of what follows the `after`th announcement."""

    def __init__(self, RE: RunEngine, after: int) -> None:
        self.thread = threading.Thread(target=RE.request_pause)
        self._left = after

    def __call__(self, name: str, document: Any) -> None:
        self._left -= name == "stream_datum"
        if self._left == 0 and self.thread.ident is None:
            self.thread.start()


class _PausingDriver(ServiceDriver):
    """Pauses the RunEngine once the detector has been triggered for the `nth` time, while it exposes."""

    def __init__(self, local: LocalXspress3, RE: RunEngine, nth: int) -> None:
        super().__init__(local.connect)
        self.thread = threading.Thread(target=RE.request_pause)
        self._left = nth

    def trigger(self) -> None:
        super().trigger()
        self._left -= 1
        if not self._left:
            self.thread.start()
