"""dranspose, which MAX IV reduces its data with, takes our Xspress3 stream as it takes that of the streamer there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.core.events import SeriesEnd, SeriesStart
from tests.unit.streaming.spectra import counts, record, spectra
from tests.wire.streams import LOOPBACK, Rig

SCRIPT = Path(__file__).parent / "dranspose_xspress3.py"
COUNT = 30
NAMES = {
    "ocr": "output_count_rate",
    "AllEvents": "all_events",
    "AllGood": "all_good",
    "ClockTicks": "clock_ticks",
    "TotalTicks": "total_ticks",
    "ResetTicks": "reset_ticks",
    "event_widths": "event_width",
    "dtc": "dead_time_correction",
}
"""dranspose's names of the scalars, and ours."""


@pytest.mark.peers
@pytest.mark.parametrize("dialect", ["xspress3-2021", "xspress3-2024"])
def test_dranspose_gets_what_we_stream(
    rigs: Callable[..., Rig], tmp_path: Path, dranspose_python: Path, dialect: str
) -> None:
    rig = rigs(codec="xspress3", outputs=[{"address": LOOPBACK, "kind": "pub", "encoder": dialect}])
    (output,) = rig.pipeline.outputs
    path = tmp_path / "taken.npz"
    with subprocess.Popen(
        [dranspose_python, SCRIPT, output.address, path], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            rig.until(lambda: output.report().clients or process.poll() is not None, "the subscription")
            encoder = CODECS["xspress3"].encoder()
            rig.run(
                [
                    encoder.start(SeriesStart("s1", metadata={"count_time": 0.25, "clock_period": 12.5e-9})),
                    *(encoder.frame(spectra(number)) for number in range(COUNT)),
                    encoder.end(SeriesEnd("s1")),
                ]
            )
            rig.until(lambda: process.poll() is not None, "the end of dranspose's reader")
            _, said = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 0, said
    with np.load(path) as got:
        assert str(got["filename"]) == rig.last.file
        assert got["frame"].tolist() == list(range(COUNT))
        assert got["exptime"].tolist() == [0.25] * COUNT
        assert got["data"].dtype == np.uint32
        np.testing.assert_array_equal(got["data"], [counts(number) for number in range(COUNT)])
        wanted = np.concatenate([record(number) for number in range(COUNT)])
        for theirs, ours in NAMES.items():
            assert got[theirs].dtype == wanted[ours].dtype
            np.testing.assert_array_equal(got[theirs], wanted[ours])
