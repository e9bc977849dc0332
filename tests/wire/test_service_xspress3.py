"""`streamdet serve xspress3-legacy` writes what real Xspress3 streams recorded, number by number."""

from __future__ import annotations

import pickle
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_streamdet.codecs.xspress3_pickled import TAGS
from bluesky_streamdet.streaming.recordfile import read_recording
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.transforms.deadtime import event_width_correction
from tests.conftest import Recordings
from tests.wire.service_parts import TIMEOUT
from tests.wire.test_service_serve import environ, line_with, serving  # noqa: F401, pytest finds fixtures by their names

pytestmark = pytest.mark.wire


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize(
    ("name", "frames", "seconds"), [("xspress3-dump", 20, 0.099999875), ("xspress3-multipart", 5, 0.049999875)]
)
def test_a_recording_is_written_and_read_back(
    test_data: Recordings, tmp_path: Path, name: str, frames: int, seconds: float
) -> None:
    recorded = [one.parts for one in read_recording(test_data / f"xspress3/{name}.cbors")]
    with (
        Sender("tcp://127.0.0.1:0", "pub") as sender,
        serving("xspress3-legacy", "--from", sender.address, "--directory", str(tmp_path), "--port", "0") as process,
    ):
        line_with(process, "page")
        sender.wait_for_peer(TIMEOUT)
        for parts in recorded:
            sender.send(parts, TIMEOUT)
        line_with(process, f"ended complete, {frames} frames")
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
    (path,) = tmp_path.glob("*.h5")
    # What the recording holds, by nothing of ours; it is known to be harmless.
    flat = [part for parts in recorded for part in parts]
    spectra = np.array([np.frombuffer(part, "<u4").reshape(4, 4096) for part in flat if len(part) == 65536])
    extras = [pickle.loads(part) for part in flat if part[:1] == b"\x80"]
    with h5py.File(path, "r") as file:
        group = file["/entry/instrument/xspress3"]
        values = {tag: group[tag][()] for tag in TAGS[: len(extras[0])]}
        np.testing.assert_array_equal(group["data"][()], spectra)
        np.testing.assert_array_equal(
            group["recorded_output_count_rate"][()], [one[TAGS.index("output_count_rate")] for one in extras]
        )
        assert group["output_count_rate"].attrs["units"] == "Hz"
    for index, tag in enumerate(TAGS[: len(extras[0])]):
        if tag != "output_count_rate":
            np.testing.assert_array_equal(values[tag], [one[index] for one in extras])
    np.testing.assert_array_equal(spectra.sum(axis=2), values["all_good"])
    assert (values["clock_ticks"] == round(seconds * 80e6)).all()
    np.testing.assert_array_equal(
        event_width_correction(
            values["all_events"], values["reset_ticks"], values["clock_ticks"], values["event_width"]
        ),
        values["dead_time_correction"],
    )
    np.testing.assert_allclose(values["output_count_rate"], values["all_good"] / seconds, rtol=1e-9)
