"""Frames with their peaks, to workers that ask as indexamajig asks; hits only, where one wants it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesStart
from bluesky_streamdet.core.geometry import described
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.responder import Responder
from bluesky_streamdet.transforms.peaks import PeakFinder
from tests.wire.streams import LOOPBACK, until
from tests.wire.strict_client import Got, Reader, StrictClient

pytestmark = pytest.mark.wire

SHAPE = (96, 110)
FORM = FrameFormat(SHAPE, "<u2", RAW, SHAPE)
START = SeriesStart(metadata={"photon_energy": 9500.0, "distance": 0.08, "beam_center_x": 50.0, "beam_center_y": 40.0})


def picture(number: int) -> NDArray[Any]:
    """With as many spots as its number, up to 6."""
    image = np.random.default_rng(number).poisson(3.0, SHAPE)
    for spot in range(number % 7):
        image[12 * spot + 5 : 12 * spot + 8, 40:43] += 150
    return image.astype("<u2")


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def run(context: zmq.Context[zmq.Socket[bytes]], reader: Reader, **options: Any) -> tuple[list[Got], Any]:
    """21 frames to two workers, until both wait again."""
    responder = Responder(CrystfelConfig(address=LOOPBACK, policy="complete", **options), context)
    workers = [StrictClient(context, responder.address, reader, poll=0) for _ in range(2)]
    got: list[Got] = []

    def turn() -> None:
        responder.wait(1)
        responder.flush()
        for worker in workers:
            if (one := worker.next()) is not None:
                got.append(one)
            worker.ask()

    try:
        responder.name_series("run7", {})
        responder.start(START)
        until(lambda: responder.report().workers == 2, turn, "two workers")
        responder.send([Frame(number, number, None, FORM, (picture(number).tobytes(),), 0) for number in range(21)])
        until(lambda: responder.handout.all_wait and responder.handout.asking == 2, turn, "both to be done")
        return got, responder.report()
    finally:
        responder.close()
        for worker in workers:
            worker.close()


@pytest.mark.parametrize("image", [True, False])
def test_each_frame_comes_with_its_own_peaks(context: zmq.Context[zmq.Socket[bytes]], image: bool) -> None:
    got, report = run(context, Reader(image=image, peaks=True), image=image, peaks={"min_peaks": 3, "workers": 2})
    finder = PeakFinder(described(START.metadata, SHAPE, pixel=1.0).distances())
    assert sorted(one.number for one in got) == list(range(21))
    for one in got:
        expected = finder.find(picture(one.number))
        assert one.peaks is not None
        np.testing.assert_array_equal(one.peaks, np.stack(expected[:3]))
        assert one.peaks.shape == (3, one.number % 7)
    assert (report.peaks.frames, report.peaks.hits, report.peaks.failed) == (21, 12, 0)
    assert report.peaks.hit_rate == pytest.approx(12 / 21)
    assert (report.seen, report.done, report.left_out) == (21, 21, 0)


def test_hits_only(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    got, report = run(context, Reader(peaks=True), hits_only=True, peaks={"min_peaks": 3})
    assert sorted(one.number for one in got) == [number for number in range(21) if number % 7 >= 3]
    assert (report.seen, report.delivered, report.left_out, report.lost) == (21, 12, 9, 0)
    assert report.failed == {}
