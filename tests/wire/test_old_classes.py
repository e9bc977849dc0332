"""Every class and pipeline of a facility's old configuration: served as it is, from the detector's stream to the file,
to the secondary port, and to who asks by the old REST paths."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import httpx
import msgspec
import numpy as np
import pytest
import yaml
import zmq
from numpy.typing import NDArray

from bluesky_streamdet.codecs import stins
from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.compat.detectors_yaml import CLASSES, PIPELINES
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.sim.settings import SimulatorSettings, simulator
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.transforms.pixels import decode
from tests.wire.repeating import free_ports
from tests.wire.service_parts import TIMEOUT

pytestmark = pytest.mark.wire

FRAMES = 5
SHAPE = (64, 48)
NAME = "old-detector"
DATASET = "/entry/instrument/old/data"
LEVELS = 40
"""Of the calibration of time over threshold."""
MASKED = [[3, 9], [5, 20]]
"""Rows and columns of a rectangle that nobody shall count."""

Pictures = NDArray[Any]


class Case(NamedTuple):
    """A detector of the old file. row: its simulator. seen: what the old program made of the pictures that it sent."""

    old: dict[str, Any]
    row: str
    seen: Callable[[Pictures], Pictures] = lambda sent: sent
    shape: tuple[int, int] = SHAPE


def calibration() -> NDArray[np.float32]:
    return np.random.default_rng(3).random((*SHAPE, LEVELS), np.float32)


def of_pilatus(sent: Pictures) -> Pictures:
    """Energies by the calibration of each pixel, turned clockwise, with a masked rectangle."""
    rows, columns = np.indices(SHAPE)
    made = []
    for image in sent:
        energy = calibration()[rows, columns, np.clip(image, 0, LEVELS - 1)]
        energy = np.where(image < 0, -1, np.where(image >= LEVELS, -2, energy)).astype("<f4")
        energy = np.rot90(energy, -1).copy()
        energy[MASKED[0][0] : MASKED[0][1], MASKED[1][0] : MASKED[1][1]] = -1
        made.append(energy)
    return np.stack(made)


def of_psi(sent: Pictures) -> Pictures:
    """Two halves, each upside down in its own way, with a cross between the chips."""
    upper, lower = sent[:, :256], sent[:, 256:]
    whole = np.zeros((len(sent), 514, 514), sent.dtype)
    for rows, half in ((slice(0, 256), upper[:, ::-1]), (slice(258, 514), lower)):
        whole[:, rows, :256], whole[:, rows, 258:] = half[:, :, :256], half[:, :, 256:]
    return whole[:, ::-1]


def of_modules(sent: Pictures) -> Pictures:
    return sent.reshape(len(sent), 4, SHAPE[0] // 4, SHAPE[1])


CASES = {
    "Detector": Case({"class": "Detector"}, "stins"),
    "Eiger": Case({"class": "Eiger"}, "eiger"),
    "Lambda": Case({"class": "Lambda"}, "lambda", of_modules),
    "DectrisStream2": Case({"class": "DectrisStream2"}, "eiger-stream2"),
    "Jungfrau": Case({"class": "Jungfrau"}, "jungfraujoch-preview"),
    "PsiEiger": Case({"class": "PsiEiger"}, "psi-eiger", of_psi, (512, 512)),
    "PilatusPipeline": Case(
        {"class": "Detector", "pipeline": "PilatusPipeline", "rotate": True, "compress": True, "mask": MASKED},
        "pilatus",
        of_pilatus,
    ),
    "OrcaPipeline": Case({"class": "Detector", "pipeline": "OrcaPipeline", "nworkers": 2}, "orca"),
}


def test_no_class_is_left_out() -> None:
    assert {one.old["class"] for one in CASES.values()} == set(CLASSES)
    assert {one.old.get("pipeline") for one in CASES.values()} - {None} == set(PIPELINES)


class Served(NamedTuple):
    """What `streamdet serve` says of itself. rest: address of the REST interface. old: of the old one."""

    rest: str
    old: str


@contextmanager
def served(file: Path, folder: Path) -> Iterator[Served]:
    """`streamdet serve detectors.yaml NAME`."""
    command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "serve", str(file), NAME]
    environ = os.environ | {
        "STREAMDET_FILES__DIRECTORY": str(folder / "data"),
        "XDG_RUNTIME_DIR": str(folder),
        "LOG_LEVEL": "warning",
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            seen = ""
            for line in process.stdout:
                seen += line
                if page := re.match(r"page +(\S+)/", line):
                    compat = re.search(r"^compat +http://0\.0\.0\.0:(\d+)", seen, re.MULTILINE)
                    assert compat is not None
                    yield Served(page[1], f"http://127.0.0.1:{compat[1]}")
                    return
            raise AssertionError(f"it did not start: {seen}")
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT)


def old_file(case: Case, addresses: str, data_port: int, folder: Path) -> Path:
    """A `detectors.yaml` with this detector and another, as facilities have them."""
    np.savez(folder / "calibration.npz", tot_to_energy_tensor=calibration())
    ports = [int(one.rpartition(":")[2]) for one in addresses.split(", ")]
    old = case.old | {
        "dcu_host_purple": "127.0.0.1" if len(ports) == 1 else ["127.0.0.1"] * len(ports),
        "dcu_port_purple": ports[0] if len(ports) == 1 else ports,
        "api_port": 0,
        "data_port": data_port,
        "dset_name": DATASET,
    }
    if case.row == "pilatus":
        old["tot"] = str(folder / "calibration.npz")
    file = folder / "detectors.yaml"
    file.write_text(yaml.safe_dump({NAME: old, "another": {"class": "Eiger", "dcu_host_purple": "172.18.1.1"}}))
    return file


@contextmanager
def consumer(port: int) -> Iterator[zmq.Socket[bytes]]:
    """Somebody at the secondary port."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    client = context.socket(zmq.PULL)
    client.linger = 0
    try:
        client.connect(f"tcp://127.0.0.1:{port}")
        yield client
    finally:
        client.close()
        context.term()


def images_at(client: zmq.Socket[bytes]) -> list[Frame]:
    """The frames of a series, as whoever reads the standard format gets them."""
    decoder, events = stins.Decoder(), []
    while True:
        assert client.poll(int(1000 * TIMEOUT)), f"only {len(events)} events came"
        message = client.recv_multipart()
        events += decoder.decode(message, time.time_ns())
        if msgspec.json.decode(message[0])["htype"] == "series_end":
            numbers = [one.position for one in events]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # msg_number, without gaps
            return [one for one in events if isinstance(one, Frame)]


@pytest.mark.parametrize("name", CASES)
def test_it_does_what_the_old_program_did(name: str, tmp_path: Path) -> None:
    case, (data_port,) = CASES[name], free_ports(1)
    settings = SimulatorSettings(case.row, "tcp://127.0.0.1:0", shape=case.shape, linger=0)
    with simulator(settings) as running, consumer(data_port) as client:
        file = old_file(case, running.address, data_port, tmp_path)
        with served(file, tmp_path) as service, httpx.Client(base_url=service.old) as old:
            with ServiceClient(service.rest) as watcher:
                watcher.wait(
                    lambda status: all(one.connected for one in status.sources) and status.outputs[0].clients == 1,
                    TIMEOUT,
                    "the connections",
                )
                assert old.get("/status").json() == {"state": "idle"}
                running.detector.arm(Arm(frames=FRAMES, exposure=0.0))
                running.detector.trigger()
                forwarded = images_at(client)
                ended = watcher.wait(lambda status: status.last_series is not None, TIMEOUT, "the end of the series")
            assert old.get("/received_frames").json() == {"value": FRAMES}
            assert old.get("/downsample").json() == {"value": 1}
            header, blob = msgspec.msgpack.decode(old.get("/last_frame").content)
            assert old.post("/downsample", params={"value": 2}).json() == {"value": 2}
        sent = np.stack([running.detector.pictures.frame(number) for number in range(FRAMES)])

    seen = case.seen(sent)
    assert ended.last_series is not None
    assert (ended.last_series.outcome, ended.last_series.ledger.written) == (Outcome.COMPLETE, FRAMES)
    (written,) = (tmp_path / "data").glob("*.h5")
    with h5py.File(written) as content:
        assert content[DATASET].dtype == seen.dtype
        np.testing.assert_array_equal(content[DATASET][()].reshape(seen.shape), seen)
        assert list(content["/entry/instrument/old/sequence_number"]) == list(range(FRAMES))
    if case.row == "pilatus":
        assert inspect(written).filters[0].startswith("32008")
    assert [frame.number for frame in forwarded] == list(range(FRAMES))
    for frame, picture in zip(forwarded, seen, strict=True):
        np.testing.assert_array_equal(decode(frame).reshape(picture.shape), picture)
    last = np.frombuffer(blob, header["type"]).reshape(header["shape"])
    np.testing.assert_array_equal(last.reshape(seen[-1].shape), seen[-1])
