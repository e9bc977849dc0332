"""The stream of a real EIGER 1M, sent through: its file equals what an independent decoding of the recording gives."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport
from tests.conftest import Recordings
from tests.wire.streams import Clock, Rig, balanced, frame_numbers

bitshuffle: Any = pytest.importorskip("bitshuffle")

SHAPE = (1065, 1030)
Parts = list[bytes]


@pytest.fixture(scope="module")
def recorded(test_data: Recordings) -> list[Parts]:
    """The messages of the recording: a header of nine parts, nine images, no end."""
    with zipfile.ZipFile(test_data / "eiger1/eiger1-1M-9frames.cbors.zip") as archive:
        content = io.BytesIO(archive.read(archive.namelist()[0]))
    messages: list[Parts] = []
    while content.tell() < len(content.getbuffer()):
        (_, streams) = cbor2.load(content).value
        ((_, parts),) = (one.value for one in streams.values())
        messages.append(list(parts))
    return messages


def pixels(parts: Parts) -> NDArray[np.uint32]:
    """An image decoded by nothing of ours."""
    blob = parts[2]
    nbytes, block = struct.unpack(">QI", blob[:12])
    assert nbytes == 4 * SHAPE[0] * SHAPE[1]
    return bitshuffle.decompress_lz4(np.frombuffer(blob, "u1")[12:], SHAPE, np.dtype("<u4"), block // 4)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rig(tmp_path: Path, clock: Clock) -> Iterator[Rig]:
    outputs = [{"address": "tcp://127.0.0.1:*"}]
    rig = Rig(tmp_path, codec="dectris_v1", clock=clock, wait={"quiet_seconds": 30}, outputs=outputs)
    yield rig
    rig.close()


def check_frames(report: SeriesReport, recorded: list[Parts]) -> None:
    with h5py.File(str(report.file)) as file:
        data = file["/entry/data/data"]
        assert data.shape == (9, *SHAPE)
        assert data.dtype == np.dtype("<u4")
        for row, parts in enumerate(recorded[1:]):
            assert np.array_equal(data[row], pixels(parts))
            assert data.id.read_direct_chunk((row, 0, 0))[1] == parts[2], "stored as it travelled"
        group = file["/entry/instrument/eiger"]
        assert group["sequence_number"][()].tolist() == list(range(9))
        times = [json.loads(parts[3]) for parts in recorded[1:]]
        assert group["real_time"][()].tolist() == [one["real_time"] for one in times]
        assert group["real_time"].attrs["units"] == "ns"
        for name in ("start_time", "stop_time"):
            assert group[name][()].tolist() == pytest.approx([one[name] / 1e9 for one in times], abs=1e-6)
            assert group[name].attrs["units"] == "s"


def check_settings(report: SeriesReport, header: Parts) -> None:
    settings = json.loads(header[1])
    with h5py.File(str(report.file)) as file:
        group = file["/entry/instrument/eiger"]
        expected = {
            "count_time": (settings["count_time"], "s"),
            "frame_time": (settings["frame_time"], "s"),
            "threshold_energy": (4000.0, "eV"),
            "sensor_thickness": (0.00045, "m"),
            "x_pixel_size": (0.000075, "m"),
            "y_pixel_size": (0.000075, "m"),
            "distance": (0.0, "m"),
            "saturation_value": (2943293, None),
            "bit_depth_image": (32, None),
            "sensor_material": (b"Si", None),
            "description": (b"Dectris EIGER1 Si 1M", None),
            "serial_number": (b"E-02-0153", None),
            "flatfield_applied": (True, None),
            "pixel_mask_applied": (True, None),
        }
        for name, (value, unit) in expected.items():
            assert group[name][()] == value, name
            assert group[name].attrs.get("units") == unit, name
        beam = file["/entry/instrument/beam"]
        assert (beam["incident_energy"][()], beam["incident_energy"].attrs["units"]) == (8000.0, "eV")
        assert beam["incident_wavelength"][()] == pytest.approx(1.5498, abs=1e-4)
        assert beam["incident_wavelength"].attrs["units"] == "angstrom"
        assert np.array_equal(group["flatfield"][()], np.frombuffer(header[3], "<f4").reshape(SHAPE))
        assert np.array_equal(group["pixel_mask"][()], np.frombuffer(header[5], "<u4").reshape(SHAPE))
        assert group["collection/nimages"][()] == 100000


@pytest.mark.parametrize("ending", ["silence", "stop"])
@pytest.mark.parametrize("armed", [True, False])
def test_the_recording_ends_without_an_end_message(
    rig: Rig, clock: Clock, recorded: list[Parts], ending: str, armed: bool
) -> None:
    if armed:
        rig.pipeline.arm(ArmRequest(quiet_seconds=30))
    rig.send(recorded)  # type: ignore[arg-type]
    rig.settle(9)
    if ending == "silence":
        clock.advance(31)
    else:
        rig.pipeline.stop()
        clock.advance(1)
    rig.until(lambda: rig.pipeline.last is not None)

    report = rig.last
    assert report.outcome is Outcome.INCOMPLETE
    assert balanced(report.ledger)
    assert (report.ledger.expected, report.ledger.written, report.ledger.missing) == (100000, 9, 99991)
    words = "no data for 30 s and no end message" if ending == "silence" else "stopped by request"
    assert words in report.reason
    assert "99991 of 100000 frames are missing" in report.reason
    check_frames(report, recorded)
    check_settings(report, recorded[0])
    said = inspect(Path(str(report.file)))
    assert said.ledger == report.ledger
    assert said.verdict.startswith(f"incomplete: {words}")


def test_a_stop_may_say_how_many_there_should_be(rig: Rig, recorded: list[Parts]) -> None:
    rig.pipeline.arm(ArmRequest(open_ended=True))
    rig.send(recorded)  # type: ignore[arg-type]
    rig.settle(9)
    rig.pipeline.stop(expected=9)
    rig.until(lambda: rig.pipeline.last is not None)

    assert rig.last.outcome is Outcome.COMPLETE
    check_frames(rig.last, recorded)


def test_the_recording_is_forwarded_as_it_came(rig: Rig, recorded: list[Parts]) -> None:
    client = rig.client()
    rig.pipeline.arm(ArmRequest(expected_frames=9))
    rig.send(recorded)  # type: ignore[arg-type]
    got = [client.next(rig.turn) for _ in range(11)]

    headers = [header for header, _ in got]
    assert [header["htype"] for header in headers] == ["header", *["image"] * 9, "series_end"]
    assert frame_numbers(headers) == list(range(9))
    for (header, parts), original in zip(got[1:-1], recorded[1:], strict=True):
        assert header["shape"] == list(SHAPE)
        assert (header["type"], header["compression"]) == ("uint32", "bslz4")
        assert parts == [original[2]]


def test_the_default_plot_is_the_detectors_picture(rig: Rig, recorded: list[Parts]) -> None:
    nexusformat = pytest.importorskip("nexusformat.nexus")
    rig.pipeline.arm(ArmRequest(expected_frames=9))
    report = rig.run(recorded)  # type: ignore[arg-type]

    plottable = nexusformat.nxload(str(report.file)).plottable_data
    assert plottable.nxsignal.shape == (9, *SHAPE)
