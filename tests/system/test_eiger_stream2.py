"""The simulated Eiger of tickit-devices sends stream version 2, whose messages were recorded from an EIGER2 16M."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest
import zmq

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.pipeline import Pipeline
from tests.system.simulated_eiger import Tickit
from tests.wire.simulated import config_of
from tests.wire.streams import until

pytestmark = [pytest.mark.system, pytest.mark.peers, pytest.mark.timeout(120)]

SHAPE = (4362, 4148)
SUM = 82_120_283_837
"""Of all pixels of each frame, which are alike."""
FRAMES = 6


@pytest.fixture
def pipeline(tickit: Tickit, tmp_path: Path) -> Iterator[Pipeline]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pipeline = Pipeline(config_of("eiger-stream2", [tickit.stream[2]], tmp_path, outputs=[]), context)
    sources = pipeline.source
    until(lambda: all(one.connected for one in sources.report()), lambda: pipeline.turn(0.01), "the connection")
    yield pipeline
    pipeline.close()
    context.term()


@pytest.mark.parametrize("detail", ["basic", "all"])
def test_a_series_of_two_triggers(tickit: Tickit, pipeline: Pipeline, detail: str) -> None:
    """With all its tables, which are bytes in base 64 there, and nothing that anybody could read."""
    simplon = tickit.simplon
    simplon.command("initialize")
    for name, value in {"format": "cbor", "header_detail": detail}.items():
        simplon.set(f"stream/config/{name}", value)
    for name, value in {"trigger_mode": "ints", "nimages": FRAMES // 2, "ntrigger": 2, "frame_time": 0.002}.items():
        simplon.set(f"detector/config/{name}", value)
    # At once, so that header and image may come glued together.
    for command in ("arm", "trigger", "trigger"):
        simplon.command(command)
    until(lambda: pipeline.last is not None, lambda: pipeline.turn(0.01), "the end of the series")

    report = pipeline.last
    assert report is not None
    assert (report.outcome, report.reason) == (Outcome.COMPLETE, "")
    assert (report.ledger.expected, report.ledger.written) == (FRAMES, FRAMES)
    with h5py.File(str(report.file)) as file:
        data, group = file["/entry/data/data"], file["/entry/instrument/one"]
        assert (data.shape, data.dtype) == ((FRAMES, *SHAPE), np.dtype("<u2"))
        assert group["sequence_number"][()].tolist() == list(range(FRAMES))
        assert group["real_time"][()].tolist() == [4_317_460] * FRAMES
        assert group["serial_number"][()] == b"E-32-0117"
        assert group["beam_center_x"][()] == 2049.3840906675064
        assert group["distance"][()] == 0.23715919962215962
        assert group["threshold_energy"][()] == 6750.149914699146
        assert file["/entry/instrument/beam/incident_energy"][()] == 13500.299829398293
        assert group["collection/threshold_energies/threshold_2"][()] == 18900.41976115761
        assert "pixel_mask" not in group
        if detail == "all":
            left_out = [one.partition(b":")[0] for one in group["collection/left_out"][()]]
            assert sorted(left_out) == [b"countrate_correction_lookup_table", b"flatfield", b"pixel_mask"]
        else:
            assert "left_out" not in group["collection"]
            assert data[-1].sum(dtype="u8") == SUM
