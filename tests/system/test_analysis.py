"""Runs as xarray, from Tiled and from both databrokers: equal to what the files hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky_tiled_plugins import TiledWriter
from event_model import sanitize_doc
from ophyd.sim import SynAxis
from ophyd_async.core import init_devices

from bluesky_streamdet.analysis import arrivals, images, ledgers, maps, numbers, spectra
from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.devices.xspress3.asynchronous import Xspress3Detector as Asynchronous
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector as Classic
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.devices.xspress3.maps import region_map
from bluesky_streamdet.plans import energy_scan, fly, raster
from bluesky_streamdet.streaming.files.reader import read_frames
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.keeps_sockets("the client of the session's Tiled server"),
]
ROWS, COLUMNS, CHANNELS = 2, 3, 2
SYSTEM = {"simulate": {"channels": CHANNELS, "rate": 100_000}, "ev_per_bin": 8.0}
ANNOUNCED = ("dead_time_correction", "dead_time_correction_sdk", "all_good", "receive_time")
IRON = slice(780, 820)
GROUP = "/entry/instrument/xspress3"


@pytest.fixture(scope="module")
def local(frames_folder: Path) -> Iterator[LocalXspress3]:
    with LocalXspress3({"system": SYSTEM}, frames_folder / uuid4().hex[:8]) as running:
        assert running.url  # Started here, so that no test takes what it opens for its own.
        yield running


def made(face: str, local: LocalXspress3, **keywords: Any) -> Any:
    keywords = {"exposure": 0.002, "margin": 20.0, "regions": {"Fe": "Fe Ka"}} | local.device | keywords
    if face == "classic":
        return Classic(name="xspress3", **keywords)
    with init_devices():
        xspress3 = Asynchronous(name="xspress3", **keywords)
    return xspress3  # noqa: RET504, it is connected as a variable that was not there before


@pytest.mark.parametrize("face", ["classic", "async"])
def test_a_grid(RE: RunEngine, local: LocalXspress3, db: Any, face: str) -> None:
    RE.subscribe(TiledWriter(db))
    xspress3 = made(face, local, columns=ANNOUNCED)
    RE(bp.grid_scan([xspress3], SynAxis(name="b"), 0, 1, ROWS, SynAxis(name="a"), 0, 2, COLUMNS, snake_axes=True))
    (report,) = ledgers(db[-1])
    counts, factor = read_frames(report.path), read_frames(report.path, f"{GROUP}/dead_time_correction")
    found = spectra(db[-1])
    assert found.values == pytest.approx(counts * factor[..., np.newaxis])
    assert np.array_equal(spectra(db[-1], correction="none"), counts)
    sdk = read_frames(report.path, f"{GROUP}/dead_time_correction_sdk")
    assert spectra(db[-1], correction="sdk").values == pytest.approx(counts * sdk[..., np.newaxis])
    assert found.energy.values == pytest.approx(8.0 * np.arange(4096))
    assert (found.a.values.tolist(), found.b.values.tolist()) == ([0, 1, 2, 2, 1, 0], [0, 0, 0, 1, 1, 1])
    received = read_frames(report.path, f"{GROUP}/receive_time")
    assert np.array_equal(found.receive_time.values.astype(np.int64), received)
    assert (np.diff(found.time.values) > np.timedelta64(0)).all()
    assert maps(db[-1])["Fe"].values == pytest.approx(region_map(db[-1], "Fe"))
    assert maps(db[-1], ["Zn Ka"]).a.values.tolist() == [[0, 1, 2]] * 2
    separator = "_" if face == "classic" else "-"
    good = numbers(db[-1])[f"xspress3{separator}all_good"]
    assert np.array_equal(good, counts.sum(axis=2))
    assert arrivals(report).written.values.tolist() == [True] * ROWS * COLUMNS


def test_a_raster(RE: RunEngine, local: LocalXspress3, db: Any) -> None:
    RE.subscribe(TiledWriter(db))
    stage = SimulatedStage(name="stage", give_triggers=local.pulse, stop_triggers=local.stop_pulses)
    RE(raster([made("classic", local)], stage, ROWS, COLUMNS, 0.002, snake=True))
    found = maps(db[-1], ["Fe", "Cu Ka"])
    assert found["Cu Ka"].values == pytest.approx(region_map(db[-1], "Cu Ka"))
    assert found.stage_x.values == pytest.approx(np.array([[0, 0.5, 1]] * 2))
    assert found.stage_y.values == pytest.approx(np.array([[0, 0, 0], [1, 1, 1]]))


def test_bursts(RE: RunEngine, local: LocalXspress3, db: Any) -> None:
    RE.subscribe(TiledWriter(db))
    regions = {"Fe": {"bins": (IRON.start, IRON.stop - 1)}}
    RE(bp.count([made("classic", local, frames_per_event=4, columns=ANNOUNCED, regions=regions)], 2))
    (report,) = ledgers(db[-1])
    counts, factor = read_frames(report.path), read_frames(report.path, f"{GROUP}/dead_time_correction")
    found = spectra(db[-1])
    assert found.dims == ("event", "frame", "channel", "energy")
    assert found.values == pytest.approx(counts * factor[..., np.newaxis])
    assert np.array_equal(spectra(db[-1], correction="none"), counts)
    assert found.receive_time.dims == ("event", "frame")
    assert maps(db[-1], ["Fe"])["Fe"].values == pytest.approx(found[..., IRON].sum(["frame", "channel", "energy"]))
    assert numbers(db[-1])["xspress3_all_good"].dims == ("event", "frame", "channel")


def test_motors_that_are_called_as_axes_are(RE: RunEngine, local: LocalXspress3, frames_folder: Path, db: Any) -> None:
    """The energy of an energy scan is not that of a spectrum, and x of a stage not that of an image."""
    RE.subscribe(TiledWriter(db))
    det = detector("classic", ScriptedService(frames_folder / uuid4().hex[:8]))
    RE(energy_scan([made("classic", local), det], SynAxis(name="energy"), [[7100, 7110, 5]]))
    wanted = [7100, 7105, 7110]
    found = spectra(db[-1])
    assert found.energy_motor.values.tolist() == wanted
    assert found.sel(energy=6400).dims == ("event", "channel")
    assert [made.energy.values.tolist() for made in (maps(db[-1]), images(db[-1]))] == [wanted, wanted]
    RE(bp.scan([det], SynAxis(name="x"), 0, 2, 3))
    assert images(db[-1]).x_motor.values.tolist() == [0, 1, 2]


def test_images_of_two_detectors(RE: RunEngine, frames_folder: Path, db: Any) -> None:
    services = [ScriptedService(frames_folder / uuid4().hex[:8], detector=name) for name in ("one", "two")]
    services[1].numbers = 100
    detectors = [detector("classic", one, one.detector, shape=SHAPE, dtype=DTYPE) for one in services]
    RE.subscribe(TiledWriter(db))
    RE(fly(detectors, 3, flush_period=0.01))
    assert images(db[-1], "two")[:, 1, 2].values.tolist() == [100, 101, 102]
    assert numbers(db[-1])["one_sequence_number"].values.tolist() == [0, 1, 2]


def test_files_on_another_mount(RE: RunEngine, frames_folder: Path, db: Any) -> None:
    """The service knows them by one name, and the catalog's server, who reads them, by another."""
    here, there = frames_folder / uuid4().hex[:8], frames_folder / uuid4().hex[:8]
    service, documents = ScriptedService(here), Documents()
    RE.subscribe(TiledWriter(db))
    RE(bp.count([detector("classic", service, path_map={str(here): str(there)})], 2), documents)
    assert documents.of("stream_resource")[0]["uri"].startswith(f"file://localhost{there}/")
    # As if mounted there, and no longer where it was written.
    here.rename(there)
    assert images(db[-1])[:, 0, 0].values.tolist() == [0, 1]


# databroker changes what Tiled's client returns, for the whole process: it is used in processes of its own.
ANALYSE = """
import json, sys
import dask
from bluesky_streamdet.analysis import images, ledgers, maps, numbers, spectra

def analysed(run):
    found = spectra(run, "xspress3")
    grid = maps(run, detector="xspress3")
    return {
        "total": float(found.sum().compute()),
        "counted": float(spectra(run, "xspress3", correction="none").sum().compute()),
        "dims": list(found.dims), "shape": list(found.shape), "energy": float(found.energy[100]),
        "a": found.a.values.tolist(), "times": len(set(found.time.values.tolist())),
        "iron": grid["Fe"].values.tolist(), "grid": grid.a.values.tolist(),
        "images": images(run, "det")[:, 1, 2].values.tolist(),
        "setpoint": "a_setpoint" in numbers(run),
        "ledgers": [[one.detector, one.readable, one.complete] for one in ledgers(run, "xspress3")],
    }

with dask.config.set(scheduler="synchronous"):
    print(json.dumps([analysed(one) for one in runs()]))
"""
FROM_DOCUMENTS = """
def runs():
    from databroker.v1 import temp
    broker = temp()
    for line in sys.stdin:
        broker.insert(*json.loads(line))
    return broker[-1], broker.v2[-1]
"""
FROM_TILED = """
def runs():
    import databroker
    catalog = databroker.from_profile("beamline")[sys.argv[1]]
    broker = databroker.Broker(catalog)
    return catalog[-1], broker[-1], broker.v2[-1]
"""


def of_both(RE: RunEngine, local: LocalXspress3, folder: Path, asset_docs: str) -> list[tuple[str, Any]]:
    """Documents of a grid with an Xspress3, and a detector of images whose files readers see on another mount."""
    documents: list[tuple[str, Any]] = []
    columns = ANNOUNCED if asset_docs == "stream" else ()
    xspress3 = made("classic", local, asset_docs=asset_docs, columns=columns)
    here, there = folder / "here", folder / "there"
    det = detector("classic", ScriptedService(here), asset_docs=asset_docs, path_map={str(here): str(there)})
    plan = bp.grid_scan([xspress3, det], SynAxis(name="b"), 0, 1, 2, SynAxis(name="a"), 0, 2, 3, snake_axes=True)
    RE(plan, lambda name, document: documents.append((name, sanitize_doc(document))))
    here.rename(there)
    return documents


def check(answers: list[dict[str, Any]], folder: Path) -> None:
    """Compare what was read with the files themselves."""
    newest = max(folder.glob("xspress3_*.h5"), key=lambda path: path.stat().st_mtime_ns)
    counts, factor = read_frames(newest), read_frames(newest, f"{GROUP}/dead_time_correction")
    for one in answers:
        assert one["counted"] == counts.sum()
        assert one["total"] == pytest.approx((counts * factor[..., np.newaxis]).sum())
        assert (one["dims"], one["shape"]) == (["event", "channel", "energy"], list(counts.shape))
        assert one["energy"] == pytest.approx(800.0)
        assert (one["a"], one["grid"], one["times"]) == ([0, 1, 2, 2, 1, 0], [[0, 1, 2]] * 2, 6)
        assert (one["images"], one["setpoint"]) == ([0, 1, 2, 3, 4, 5], True)
        assert one["ledgers"] == [["xspress3", 6, True]]
        assert one["iron"] == answers[0]["iron"] and np.isfinite(one["iron"]).all()


def analysed(python: Path, runs: str, *arguments: str, given: str = "", **environment: str) -> list[dict[str, Any]]:
    code = ANALYSE.replace("with dask.config", f"{runs}\nwith dask.config")
    command = [str(python), "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=120, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("version", ["2", pytest.param("1.2.5", marks=pytest.mark.peers)])
def test_documents_in_databroker(
    RE: RunEngine, local: LocalXspress3, tmp_path: Path, version: str, request: pytest.FixtureRequest
) -> None:
    documents = of_both(RE, local, tmp_path, "resource")
    lines = "\n".join(json.dumps(one) for one in documents)
    python = Path(sys.executable) if version == "2" else request.getfixturevalue("databroker1_python")
    answers = analysed(python, FROM_DOCUMENTS, given=lines)
    assert len(answers) == 2
    check(answers, _folder(local))


def test_a_profile_in_databroker_2(
    RE: RunEngine, local: LocalXspress3, db: Any, tiled_uri: str, frames_folder: Path, tmp_path: Path
) -> None:
    writer = TiledWriter(db)
    for name, document in of_both(RE, local, frames_folder / uuid4().hex[:8], "stream"):
        writer(name, document)
    uri, _, key = tiled_uri.partition("?api_key=")
    (tmp_path / "profiles.yml").write_text(f"beamline:\n  uri: {uri}\n")
    answers = analysed(
        Path(sys.executable), FROM_TILED, db.path_parts[-1], TILED_PROFILES=str(tmp_path), TILED_API_KEY=key
    )
    assert len(answers) == 3
    check(answers, _folder(local))


def _folder(local: LocalXspress3) -> Path:
    assert local._folder is not None
    return local._folder
