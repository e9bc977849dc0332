"""Cameras at PSI: a real recording, simulated rows of the catalog, through the service, into the file and out again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import DatasetTaken, FileTaken, RequestRefused
from bluesky_streamdet.core.events import RAW
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.sim.settings import SimulatorSettings, simulator
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import SeriesReport
from tests.conftest import Recordings
from tests.wire.service_parts import TIMEOUT
from tests.wire.streams import Client, Clock, Rig, balanced, numbers_of, rows_of
from tests.wire.test_service_serve import environ, idle, line_with, serving  # noqa: F401, `environ` is a fixture

pytestmark = pytest.mark.wire

Parts = list[bytes]
NUMBERS = list(range(375, 425))


@pytest.fixture(scope="module")
def recorded(test_data: Recordings) -> list[Parts]:
    """The messages of the recording: 50 frames of a PCO camera."""
    folder = test_data / "pco/pco-50frames"
    return [[(folder / f"{index:06}_00{part}.raw").read_bytes() for part in (0, 1)] for index in range(50)]


def pictures(recorded: Sequence[Parts]) -> NDArray[np.uint16]:
    """Decoded by nothing of ours."""
    return np.stack([np.frombuffer(payload, "<u2").reshape(64, 250) for _, payload in recorded])


def message(number: int, image: NDArray[Any], **said: Any) -> Parts:
    header = {"htype": "array-1.0", "frame": number, "shape": image.shape, "type": image.dtype.name, **said}
    return [json.dumps(header).encode(), image.tobytes()]


def received(rig: Rig) -> int:
    """Of the series that runs, also while its first frames are held back."""
    series = rig.pipeline.receiver.series
    return 0 if series is None else series.ledger.received


@pytest.fixture
def rig(rigs: Callable[..., Rig]) -> Rig:
    return rigs(codec="array-1.0")


# The real recording.


def test_the_recording_is_written_as_it_travelled(rig: Rig, recorded: list[Parts]) -> None:
    rig.pipeline.arm(ArmRequest(expected_frames=50))
    report = rig.run(recorded)
    assert (report.outcome, report.reason) == (Outcome.COMPLETE, "")
    assert balanced(report.ledger)
    assert (numbers_of(report), rows_of(report).dtype) == (NUMBERS, np.dtype("<u2"))
    assert np.array_equal(rows_of(report), pictures(recorded))


def test_three_series_are_three_datasets_of_one_file(rigs: Callable[..., Rig], recorded: list[Parts]) -> None:
    """As the tomography scripts take projections, flats and darks."""
    rig = rigs(codec="array-1.0")
    reports = []
    for dataset in ("data", "data_white", "data_black"):
        rig.pipeline.arm(ArmRequest(name="scan", add=True, dataset=dataset, layout="exchange", expected_frames=50))
        reports.append(rig.run(recorded))
    for report, dataset in zip(reports, ("data", "data_white", "data_black"), strict=True):
        assert (report.outcome, report.reason, report.layout) == (Outcome.COMPLETE, "", "exchange")
        assert report.file == reports[0].file and report.data is not None
        assert report.data.dataset == f"/exchange/{dataset}"
        assert np.array_equal(read_frames(str(report.file), dataset), pictures(recorded))
        said = inspect(Path(str(report.file)), dataset)
        assert (said.first_number, said.last_number, said.readable) == (375, 424, 50)
    again = ArmRequest(name="scan", add=True, dataset="data_white")
    with pytest.raises(DatasetTaken, match=r"The dataset 'data_white' of the file .*scan\.h5 is taken"):
        rig.pipeline.arm(again)
    with pytest.raises(FileTaken, match="it has the layout exchange, and not nexus"):
        rig.pipeline.arm(again.model_copy(update={"dataset": "other", "layout": "nexus"}))
    with pytest.raises(RequestRefused, match=r"no layout 'scicat'\. There are: areadetector, exchange, maxiv, nexus"):
        rig.pipeline.arm(ArmRequest(layout="scicat"))


def test_a_message_of_one_part_shifts_nothing(rig: Rig, recorded: list[Parts]) -> None:
    rig.pipeline.arm(ArmRequest(expected_frames=50))
    report = rig.run([*recorded[:10], recorded[10][:1], recorded[10][1:], *recorded[11:], recorded[10]])
    assert report.ledger.malformed == {"frame without data": 1, "header is no JSON": 1}
    assert report.ledger.late + report.ledger.missing == 0
    assert numbers_of(report) == NUMBERS
    assert np.array_equal(rows_of(report), pictures(recorded))


def test_a_camera_that_nobody_armed(rigs: Callable[..., Rig], recorded: list[Parts]) -> None:
    """It begins a series with its first frame, another when it counts anew, and both end without a word of it."""
    clock = Clock()
    rig = rigs(codec="array-1.0", clock=clock, wait={"quiet_seconds": 30})
    rig.send(recorded[:20])
    rig.until(lambda: received(rig) == 20, "20 frames")
    clock.advance(1)
    rig.send([[header, payload[::-1]] for header, payload in recorded])
    rig.until(lambda: rig.pipeline.last is not None, "the end of the first series")
    first = rig.last
    rig.until(lambda: received(rig) == 50, "50 frames")
    clock.advance(31)
    rig.until(lambda: rig.pipeline.last is not first, "the end of the second")
    assert [first.reason, rig.last.reason] == ["the next series began before the end of this one", "no data for 30 s"]
    for report, sent in ((first, recorded[:20]), (rig.last, recorded)):
        assert report.outcome is Outcome.COMPLETE
        assert numbers_of(report) == NUMBERS[: len(sent)]
    assert np.array_equal(rows_of(first), pictures(recorded[:20]))


@pytest.mark.usefixtures("environ")
def test_three_datasets_by_the_service_over_four_sockets(recorded: list[Parts], tmp_path: Path) -> None:
    """As a tomography takes them: the same camera, armed three times, its frames dealt out to four sockets."""
    with Sender("tcp://127.0.0.1:0", high_water_mark=1000, linger=0) as sender:
        file = tmp_path / "pco.yaml"
        endpoints = ", ".join([sender.address] * 4)
        source, files = f"{{endpoints: [{endpoints}]}}", f"{{directory: {tmp_path}/d}}"
        file.write_text(f"detectors:\n  pco1: {{type: pco, source: {source}, files: {files}}}\n")
        with serving(str(file), "--port", "0") as process:
            url, _ = line_with(process, r"page +(\S+)/#key=(\S+)").groups()
            with ServiceClient(url) as client:
                client.wait(lambda status: all(one.connected for one in status.sources), TIMEOUT, "four connections")
                for name in ("data", "data_white", "data_black"):
                    series = client.arm(ArmRequest(name=name, expected_frames=50))
                    for parts in recorded:
                        sender.send(parts, TIMEOUT)
                    client.wait(idle, TIMEOUT, f"the end of {name}")
                    report = client.series(series.id)
                    assert (report.outcome, report.ledger.late) == (Outcome.COMPLETE, 0), report.reason
                    assert numbers_of(report) == NUMBERS
                    assert np.array_equal(rows_of(report), pictures(recorded))
            process.terminate()
            assert process.wait(TIMEOUT) == 0


# What the file says.


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f2", "<f2", ">f8", "|u1"])
def test_values_are_right_whatever_their_byte_order(rig: Rig, dtype: str) -> None:
    kind = np.dtype(dtype)
    images = np.random.default_rng(1).integers(0, 200, (3, 4, 6)).astype(kind)
    order = "big" if kind.str[0] == ">" else "little"
    rig.pipeline.arm(ArmRequest(expected_frames=3))
    report = rig.run([message(number, image, endianess=order) for number, image in enumerate(images)])
    assert rows_of(report).dtype == kind.newbyteorder("<")
    assert np.array_equal(rows_of(report), images)


def test_what_a_gigafrost_says_of_each_image(rig: Rig) -> None:
    image = np.arange(12, dtype="<u2").reshape(3, 4)
    attributes = {
        "scan_index": 2, "scan_datetime": 1631087755, "image_number": 0, "image_exposure_time": 10000,
        "image_sync_time": 1450157077, "time_stamp": 155337324560, "image_is_complete": True,
    }  # fmt: skip
    own = [attributes | {"image_number": n, "time_stamp": 20000 * n, "image_is_complete": n != 1} for n in range(3)]
    # Names that are taken in the file, and values of other types than the first.
    noise = [{"data": 1, "sequence_number": 5, "gain": 2}, {"data": "x", "gain": "x"}, {"gain": 1 << 80}]
    rig.pipeline.arm(ArmRequest(expected_frames=3))
    sent = zip(own, noise, strict=True)
    report = rig.run([message(7 + n, image, image_attributes=one, **more) for n, (one, more) in enumerate(sent)])
    assert report.outcome is Outcome.COMPLETE
    with h5py.File(str(report.file)) as file:
        group = file["/entry/instrument/eiger"]
        assert group["sequence_number"][()].tolist() == [7, 8, 9]
        for name in attributes:
            assert group[name][()].tolist() == [one[name] for one in own]
            assert "units" not in group[name].attrs
        assert group["image_is_complete"][()].tolist() == [1, 0, 1]
        assert [json.loads(one) for one in group["gain"].asstr()[()]] == [2, "x", str(1 << 80)]
        assert group["gain"].attrs["content"] == "json"
        assert group["data"].shape == (3, 3, 4)


def test_scans_of_a_gigafrost_are_series(rig: Rig) -> None:
    image = np.zeros((3, 4), "<u2")
    scans = [{"image_attributes": {"scan_index": scan, "scan_datetime": 1631087755}} for scan in (0, 1)]
    rig.send([message(number, image, **scan) for scan in scans for number in range(4)])
    rig.until(lambda: rig.pipeline.last is not None, "the end of the first scan")
    first = rig.last
    rig.until(lambda: rig.series is not None and rig.ledger.written == 4, "the second scan")
    assert (first.outcome, numbers_of(first)) == (Outcome.COMPLETE, [0, 1, 2, 3])


# The rows of the catalog.


class Readers:
    """Clients of two outputs of a service."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.clients = [Client(self.context, address) for address in addresses]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.context.term()


@pytest.fixture
def readers() -> Iterator[Callable[[Sequence[str]], Readers]]:
    made: list[Readers] = []

    def make(addresses: Sequence[str]) -> Readers:
        made.append(Readers(addresses))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("name", ["pco", "gigafrost"])
def test_a_simulated_camera_through_the_service(
    name: str, tmp_path: Path, readers: Callable[[Sequence[str]], Readers]
) -> None:
    settings = SimulatorSettings(name, "tcp://127.0.0.1:0", shape=(24, 32), dtype="uint16", encoding=RAW)
    with simulator(settings) as simulated:
        config = {
            "type": name,
            "source": {"endpoints": [simulated.address]},
            "files": {"directory": str(tmp_path / "d")},
            "outputs": [
                {"name": "usual", "address": "tcp://127.0.0.1:*"},
                {"name": "psi", "address": "tcp://127.0.0.1:*", "encoder": "array-1.0"},
            ],
        }
        file = tmp_path / "camera.yaml"
        file.write_bytes(msgspec.yaml.encode({"detectors": {name: config}}))
        with serving(str(file), "--port", "0") as process:
            url, _ = line_with(process, r"page +(\S+)/#key=(\S+)").groups()
            with ServiceClient(url) as client:
                usual, psi = readers([one.address for one in client.status().outputs]).clients
                client.wait(lambda status: all(one.clients for one in status.outputs), TIMEOUT, "the readers")
                series = client.arm(ArmRequest(name=name, expected_frames=20))
                simulated.detector.arm(Arm(frames=20, exposure=0.0))
                simulated.detector.trigger()
                client.wait(idle, TIMEOUT, "the end of the series")
                report = client.series(series.id)
            sent = np.stack([simulated.detector.pictures.frame(number) for number in range(20)])
            check(report, sent)
            assert usual.next()[0]["htype"] == "header"
            for one, htype in ((usual, "image"), (psi, "array-1.0")):
                for number in range(20):
                    header, (payload,) = one.next()
                    assert (header["htype"], header["frame"], header["shape"]) == (htype, number, [24, 32])
                    assert np.array_equal(np.frombuffer(payload, header["type"]).reshape(24, 32), sent[number])
            assert usual.next()[0]["htype"] == "series_end"
            assert psi.take() is None
            process.terminate()
            assert process.wait(TIMEOUT) == 0


def check(report: SeriesReport, sent: NDArray[Any]) -> None:
    assert report.outcome is Outcome.COMPLETE, report.reason
    assert balanced(report.ledger)
    assert np.array_equal(rows_of(report), sent)
    if report.detector == "gigafrost":
        numbers = read_frames(str(report.file), "/entry/instrument/gigafrost/image_number")
        assert numbers.tolist() == list(range(20))
