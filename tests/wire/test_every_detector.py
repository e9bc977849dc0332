"""Each row of the catalog: its simulator is received, its file and its secondary port hold what was sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from bluesky_streamdet.catalog import CODECS, DETECTORS
from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.pipeline import Pipeline
from bluesky_streamdet.transforms.pixels import decode
from tests.nexus import findings
from tests.wire.simulated import FRAMES, SHAPE, received, sent
from tests.wire.streams import until

pytestmark = pytest.mark.wire


@contextmanager
def client_of(pipeline: Pipeline) -> Iterator[zmq.Socket[bytes]]:
    """Somebody at the secondary port."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    client = context.socket(zmq.PULL)
    client.linger = 0
    try:
        client.connect(pipeline.outputs[0].report().address)
        until(lambda: pipeline.outputs[0].report().clients, lambda: pipeline.turn(0.01), "the connection")
        yield client
    finally:
        client.close()
        context.term()


def frames_at(client: zmq.Socket[bytes], pipeline: Pipeline) -> list[Frame]:
    """What comes at the secondary port, decoded."""
    decoder = CODECS[pipeline.config.usual_output].decoder()
    frames: list[Frame] = []

    def take() -> None:
        pipeline.turn(0.01)
        while client.poll(0):
            frames.extend(
                one for one in decoder.decode(client.recv_multipart(), time.time_ns()) if isinstance(one, Frame)
            )

    until(lambda: len(frames) == FRAMES, take, "all frames at the secondary port")
    return frames


@pytest.mark.parametrize(("name", "channels"), [*((name, None) for name in DETECTORS), ("eiger-stream2", 3)])
def test_file_and_secondary_port_hold_what_the_simulator_sent(name: str, channels: int | None, tmp_path: Path) -> None:
    with received(name, tmp_path, channels) as (running, pipeline), client_of(pipeline) as client:
        pipeline.arm(ArmRequest(expected_frames=FRAMES))
        running.detector.arm(Arm(frames=FRAMES, exposure=0.0))
        running.detector.trigger()
        forwarded = frames_at(client, pipeline)
        until(lambda: pipeline.last is not None, lambda: pipeline.turn(0.01), "the end of the series")

        report = pipeline.last
        pictures = sent(running)
        assert report is not None
        assert (report.outcome, report.reason, report.ledger.written) == (Outcome.COMPLETE, "", FRAMES)
        written = read_frames(Path(str(report.file)))
        np.testing.assert_array_equal(written.reshape(pictures.shape), pictures)
        assert findings(Path(str(report.file))) == []
        assert [frame.number for frame in forwarded] == list(range(FRAMES))
        for frame, picture in zip(forwarded, pictures, strict=True):
            np.testing.assert_array_equal(decode(frame).reshape(picture.shape), picture)


def test_modules_are_put_into_one_picture_with_gaps(tmp_path: Path) -> None:
    with received("lambda", tmp_path, transforms=["place_modules"], compress="none") as (running, pipeline):
        pipeline.arm(ArmRequest(expected_frames=FRAMES))
        running.detector.arm(Arm(frames=FRAMES, exposure=0.0))
        running.detector.trigger()
        until(lambda: pipeline.last is not None, lambda: pipeline.turn(0.01), "the end of the series")

        assert pipeline.last is not None
        assert pipeline.last.outcome is Outcome.COMPLETE
        written = read_frames(Path(str(pipeline.last.file)))
        height = SHAPE[0] // 4
        assert written.shape == (FRAMES, SHAPE[0] + 3 * 8, SHAPE[1])
        for module in range(4):
            rows = written[:, module * (height + 8) :][:, :height]
            np.testing.assert_array_equal(rows, sent(running)[:, module * height : (module + 1) * height])
        assert (written[:, height : height + 8] == np.iinfo(np.uint16).max).all()
