"""Live plots of real runs: the pictures of the documentation, and `streamdet plot` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky_tiled_plugins import TiledWriter
from ophyd.sim import SynAxis
from ophyd_async.core import init_devices

pytest.importorskip("matplotlib", reason="needs the extra 'plots'")

from bluesky_streamdet.callbacks.livemap import LiveMap
from bluesky_streamdet.callbacks.spectrum import LiveSpectrum
from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as Asynchronous
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector as Classic
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.plans import fly
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.documents import DocumentPublisher
from tests.unit.callbacks.shown import Kept
from tests.unit.devices.xspress3.scripted import ScriptedXspress3, detector

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG"
PATIENCE = 60.0


@pytest.mark.timeout(180)
def test_the_pictures_of_the_documentation(tmp_path: Path) -> None:
    script = ROOT / "docs" / "images" / "live_plots.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "3", "4"], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.glob("*.png") if path.read_bytes().startswith(PNG)}
    assert names == {"live-spectrum.png", "live-map.png", "live-waterfall.png", "live-image.png"}
    assert names <= {path.name for path in script.parent.glob("*.png")}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("face", ["classic", "async"])
def test_frames_straight_from_the_service(RE: RunEngine, tmp_path: Path, face: str) -> None:
    """By an output, and by REST: the same as from the file, in the same places."""
    simulated = {"channels": 2, "rate": 100_000, "sample": {"elements": {"Fe": 1.0}}}
    outputs = [{"name": "live", "kind": "pub", "address": "tcp://127.0.0.1:0"}]
    with LocalXspress3({"system": {"simulate": simulated}, "outputs": outputs}, tmp_path) as local:
        with ServiceClient(local.url) as client:
            address = client.status().outputs[0].address
        xspress3 = made(face, name="xspress3", regions={"Fe": "Fe Ka"}, **local.device)
        stored, sent = LiveMap("Fe", show=Kept()), LiveMap("Fe", show=Kept(), frames=address)
        asked = LiveSpectrum(show=(latest := Kept()), frames=local.url)
        # From here on the output is subscribed to.
        sent.follow()
        asked.follow()
        plan = bp.grid_scan([xspress3], SynAxis(name="y"), 0, 1, 2, SynAxis(name="x"), 0, 1, 3, snake_axes=True)
        RE(plan, [stored, sent, asked])
        for plot in (stored, sent, asked):
            plot.close()
    assert np.isfinite(stored.maps["Fe"]).all()
    came = np.isfinite(sent.maps["Fe"])
    assert came.sum() == 6 - sent.missed
    assert np.array_equal(sent.maps["Fe"][came], stored.maps["Fe"][came])
    assert list(latest.pictures[-1].regions) == ["Fe"]


@pytest.mark.timeout(120)
@pytest.mark.keeps_sockets("the client of the session's Tiled server")
@pytest.mark.parametrize("face", ["classic", "async"])
@pytest.mark.parametrize("kind", ["grid", "bursts", "fly"])
def test_frames_from_a_catalog(RE: RunEngine, frames_folder: Path, db: Any, face: str, kind: str) -> None:
    """Files that this machine can't reach: the Tiled server reads them."""
    service, frames = ScriptedXspress3(frames_folder / uuid4().hex), 2 if kind == "bursts" else 1
    xsp = detector(face, service, regions={"Fe": {"bins": (630, 650)}}, frames_per_event=frames)
    y, x = SynAxis(name="y"), SynAxis(name="x")
    plans = {
        "grid": lambda: bp.grid_scan([xsp], y, 0, 1, 2, x, 0, 1, 3),
        "bursts": lambda: bp.count([xsp], 2),
        "fly": lambda: fly([xsp], 5, flush_period=0.01),
    }
    away = {str(frames_folder): "/no/such/mount"}
    beside, apart = LiveMap("Fe", show=Kept()), LiveMap("Fe", show=Kept(), path_map=away, catalog=db)
    newest = LiveSpectrum(show=(shown := Kept()), path_map=away, catalog=db)
    RE.subscribe(TiledWriter(db, batch_size=1))
    RE(plans[kind](), [beside, apart, newest])
    for plot in (beside, apart, newest):
        plot.close()
    assert np.isfinite(beside.maps["Fe"]).all()
    assert np.array_equal(apart.maps["Fe"], beside.maps["Fe"])
    assert (apart.missed, newest.missed) == (0, 0)
    assert shown.pictures[-1].counts.sum() > 0


def made(face: str, **keywords: Any) -> Any:
    if face == "classic":
        return Classic(**keywords)
    with init_devices():
        xspress3 = Asynchronous(**keywords)
    return xspress3  # noqa: RET504, it is connected as a variable that was not there before


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["spectrum", "map", "waterfall", "image"])
def test_a_plot_in_another_process(RE: RunEngine, tmp_path: Path, what: str) -> None:
    """It comes late, in the middle of the run, and draws it all the same."""
    drawn_elsewhere(RE, tmp_path, [what] + (["--region", "Fe"] if what == "map" else []), tmp_path)


@pytest.mark.timeout(120)
@pytest.mark.keeps_sockets("the client of the session's Tiled server")
def test_a_plot_on_another_machine(
    RE: RunEngine, tmp_path: Path, frames_folder: Path, db: Any, tiled_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has the documents, a catalog, and no files."""
    monkeypatch.setenv("TILED_API_KEY", tiled_uri.partition("?api_key=")[2])
    RE.subscribe(TiledWriter(db, batch_size=1))
    away = ["--path-map", f"{frames_folder}=/no/such/mount", "--catalog", str(db.uri)]
    drawn_elsewhere(RE, tmp_path, ["map", "--region", "Fe", *away], frames_folder / uuid4().hex)


def drawn_elsewhere(RE: RunEngine, tmp_path: Path, words: list[str], frames: Path) -> None:
    """Have `streamdet plot` draw a run that has begun before it."""
    target, service = tmp_path / "plot.png", ScriptedXspress3(frames)
    words = [*words, "--save", str(target), "--runs", "1"]
    with DocumentPublisher("tcp://127.0.0.1:0") as publisher:
        command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "plot", *words, "--address", publisher.address]
        said: list[str] = []
        begun = threading.Event()
        plots: list[subprocess.Popen[str]] = []

        def listen(lines: Any) -> None:
            for line in lines:
                said.append(line)
                begun.set()

        def start(name: str, document: Any) -> None:
            if name == "event" and not plots:
                plots.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
                threads.append(threading.Thread(target=listen, args=(plots[0].stdout,)))
                threads[0].start()
                assert begun.wait(PATIENCE)

        threads: list[threading.Thread] = []
        xsp = detector("classic", service, regions={"Fe": {"bins": (630, 650)}})
        RE(bp.count([xsp], 3), [publisher, start])
        assert plots[0].wait(PATIENCE) == 0, said
        threads[0].join()
        assert plots[0].stdout is not None
        plots[0].stdout.close()
    assert target.read_bytes().startswith(PNG)
    assert said[0].startswith("run ")
    assert "began: count" in said[0]
    assert "ended, success" in said[1]
    assert "0 missed" in said[-1]
