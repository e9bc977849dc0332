"""`kill -9` at any moment: what was announced can be read and is right, and the next process takes the next series."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import open_to_read, read_frames
from bluesky_streamdet.streaming.messages import Arm, ArmRequest, SetParameters
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import SeriesReport
from tests.system.planes import Plane, configuration
from tests.unit.streaming.frames import pictures
from tests.wire.streams import LOOPBACK, Stream

pytestmark = pytest.mark.system

NUMBERS = "/entry/instrument/eiger/sequence_number"
MOMENTS = 5
"""Kills of each test; with four ways that is twenty."""


def rows_in_file(report: SeriesReport) -> int:
    """How many frames are readable; each of them must be what was sent."""
    assert report.file is not None
    assert report.data is not None
    numbers = read_frames(report.file, NUMBERS).reshape(-1).tolist()
    if report.data.frames_per_event > 1:
        # The last event may have some of its frames only.
        numbers = numbers[: inspect(Path(report.file)).readable]
    rows = read_frames(report.file).reshape(-1, *report.data.shape)[: len(numbers)]
    assert len(rows) == len(numbers)
    assert np.array_equal(rows, pictures(numbers, report.data.shape, report.data.dtype)), report.file
    return len(numbers)


def check_killed(plane: Plane) -> None:
    """Every series that the killed process spoke of holds what it had announced."""
    for report in plane.series.values():
        if not report.ledger.written:
            continue
        assert rows_in_file(report) >= report.ledger.written
        said = inspect(Path(str(report.file)))
        assert said.readable >= report.ledger.written
        if said.outcome is None:
            assert said.verdict.startswith(f"not closed: {said.readable} frames are readable.")
        else:
            assert said.ledger is not None
            assert said.ledger.written == said.readable


def send_until_killed(plane: Plane, sender: Sender, dice: random.Random, way: dict[str, Any]) -> None:
    """Send series of some frames, one after the other, and kill the process on the way."""
    stream = Stream()
    messages = (one for _ in range(1000) for one in stream.whole(range(dice.randrange(1, 200)), **way))
    for _ in range(dice.randrange(20, 400)):
        message = next(messages)
        plane.until(lambda message=message: sender.offer(message), "room for a message")
        plane.take()
    moment = time.perf_counter() + dice.random() * 0.004
    while time.perf_counter() < moment:
        pass
    plane.kill(signal.SIGKILL)
    assert plane.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("seed", "way"),
    [
        (1, {"shape": (64, 64)}),
        (2, {"shape": (64, 64), "encoding": BSLZ4}),
        (3, {"shape": (300, 400), "dtype": "<u4"}),
        (4, {"shape": (16, 16), "encoding": BSLZ4, "parts": 2}),
    ],
)
def test_kill_at_a_random_moment(tmp_path: Path, seed: int, way: dict[str, Any]) -> None:
    dice = random.Random(seed)
    with Sender(LOOPBACK, linger=0) as sender:
        config = configuration(tmp_path, sender.address)
        for _ in range(MOMENTS):
            plane = Plane(config)
            try:
                send_until_killed(plane, sender, dice, way)
                check_killed(plane)
            finally:
                plane.close()
        plane = Plane(config)
        try:
            stream = Stream()
            for message in stream.whole(range(50), **way):
                plane.until(lambda message=message: sender.offer(message), "room for a message")
            # Frames of the killed series may come first, as one of its own without a header.
            plane.until(
                lambda: any(one.ledger.written == 50 and one.outcome for one in plane.series.values()), "the end"
            )
        finally:
            plane.close()
    assert list(plane.series.values())[-1].outcome is Outcome.COMPLETE
    for report in plane.series.values():
        rows_in_file(report)


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_kill_with_events_and_late_parameters(tmp_path: Path, seed: int) -> None:
    with Sender(LOOPBACK, linger=0) as sender:
        plane = Plane(configuration(tmp_path, sender.address))
        try:
            plane.ask(Arm(request=ArmRequest(id="s1", frames_per_event=7, metadata={"sample": "LaB6"})))
            stream = Stream()
            frames = (stream.frame(number) for number in range(random.Random(seed).randrange(30, 90)))
            for number, message in enumerate([stream.start(), *frames]):
                plane.until(lambda message=message: sender.offer(message), "room for a message")
                if number == 20:
                    plane.until(lambda: plane.series["s1"].ledger.written > 0, "a frame")
                    assert plane.ask(SetParameters(series="s1", parameters={"late": 1}))[0].problem is None
            plane.kill(signal.SIGKILL)
            plane.wait()
            report = plane.series["s1"]
        finally:
            plane.close()
    assert rows_in_file(report) >= report.ledger.written > 0
    said = inspect(Path(str(report.file)))
    assert said.outcome is None
    assert said.journal, "parameters that came late lie beside the file"
    with open_to_read(str(report.file)) as file:
        assert file["/entry/instrument/eiger/collection/parameters/sample"].asstr()[()] == "LaB6"
