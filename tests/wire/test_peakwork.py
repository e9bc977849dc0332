"""Processes that look for peaks: what comes back, from whom, and what becomes of frames whose process dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.geometry import described
from bluesky_streamdet.streaming.crystfel import peakwork
from bluesky_streamdet.streaming.crystfel.peakconfig import PeaksConfig
from bluesky_streamdet.streaming.crystfel.peakwork import PeakWorkers
from bluesky_streamdet.transforms.peaks import PeakFinder

pytestmark = pytest.mark.wire

SHAPE = (120, 140)
CONFIG = PeaksConfig(min_peaks=2)


def frame(spots: int, seed: int = 0, shape: tuple[int, int] = SHAPE) -> NDArray[Any]:
    """Flat background and so many spots of 3 x 3 pixels, none at another's place."""
    random = np.random.default_rng(seed)
    image = random.poisson(3.0, shape)
    for place in random.choice((shape[0] // 12 - 1) * (shape[1] // 12 - 1), spots, replace=False):
        row, column = divmod(int(place), shape[1] // 12 - 1)
        image[12 * row + 6 : 12 * row + 9, 12 * column + 6 : 12 * column + 9] += 200
    return image.astype("<u2")


@pytest.fixture(scope="module")
def shared() -> Iterator[PeakWorkers]:
    workers = PeakWorkers(PeaksConfig(min_peaks=2, workers=2))
    with ThreadPoolExecutor(4) as threads:
        while workers.report().workers < 2:
            list(threads.map(workers.find, [frame(3)] * 8))
    yield workers
    workers.close()


def children_of(workers: PeakWorkers) -> list[int]:
    return [one._process.pid for one in workers._crew if one._process is not None]


def test_many_threads_get_the_peaks_of_their_own_frames(shared: PeakWorkers) -> None:
    frames = [frame(number % 7, seed=number) for number in range(40)]
    finder = PeakFinder(described({}, SHAPE, pixel=1.0).distances())
    before = shared.report()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(shared.find, frames))
    for image, (peaks, hit) in zip(frames, answers, strict=True):
        expected = finder.find(image)
        assert peaks is not None
        assert all(np.array_equal(one, other) for one, other in zip(peaks, expected, strict=True))
        assert hit == (len(expected) >= 2)
    report = shared.report()
    assert (report.frames - before.frames, report.hits - before.hits) == (40, sum(hit for _, hit in answers))
    assert (report.failed, report.restarts, report.workers) == (0, 0, 2)


def test_frames_may_change_their_shape_and_type(shared: PeakWorkers) -> None:
    for shape, kind in (((120, 140), "<u2"), ((600, 500), "<f4"), ((60, 60), "<i4"), ((600, 500), ">u2")):
        peaks, _ = shared.find(frame(4, shape=shape).astype(kind))
        assert peaks is not None and len(peaks) == 4


def test_what_is_no_picture_is_counted(shared: PeakWorkers) -> None:
    before = shared.report()
    for image in (np.zeros(7), np.zeros((0, 5)), np.zeros((2, 2), complex), np.zeros((2, 3, 4, 5))):
        assert shared.find(image) == (None, False)
    assert shared.report().failed == before.failed + 4
    assert shared.report().restarts == before.restarts


def test_the_header_says_what_is_masked_and_where_the_beam_is(shared: PeakWorkers) -> None:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    image = (2000 * np.exp(-np.hypot(rows - 20, columns - 30) / 15)).astype("<u2") + frame(0)
    image[60:63, 100:103] += 300
    image[90:93, 100:103] += 300
    mask = np.zeros(SHAPE, "<u4")
    mask[85:95] = 16
    peaks, _ = shared.find(image, {"beam_center_x": 30, "beam_center_y": 20, "pixel_mask": mask})
    assert peaks is not None
    assert [(round(ss), round(fs)) for ss, fs in zip(peaks.ss, peaks.fs, strict=True)] == [(61, 101)]


def test_modules_are_looked_at_where_they_lie(shared: PeakWorkers) -> None:
    """Their peaks have places in the array; the distance from the beam is that in the picture."""
    rows, columns = np.ogrid[:120, :140]
    whole = (2000 * np.exp(-np.hypot(rows - 60, columns - 70) / 20)).astype("<i4") + frame(0)
    whole[20:23, 30:33] += 300
    whole[100:103, 30:33] += 300
    modules = np.stack([np.rot90(whole[60:], 2), whole[:60]])
    peaks, _ = shared.find(modules, {"x": [0, 0], "y": [60, 0], "rotation": [180, 0]})
    assert peaks is not None
    found = {(round(ss), round(fs)) for ss, fs in zip(peaks.ss, peaks.fs, strict=True)}
    assert found == {(18, 108), (60 + 21, 31)}
    assert shared.find(modules) == (None, False), "nobody said where they lie"


def test_a_process_that_dies_costs_its_frame_only() -> None:
    workers = PeakWorkers(CONFIG)
    try:
        assert workers.find(frame(3)).hit
        (first,) = children_of(workers)
        os.kill(first, signal.SIGKILL)
        assert workers.find(frame(3)) == (None, False)
        assert workers.find(frame(3)).hit
        assert children_of(workers) != [first]
        report = workers.report()
        assert (report.frames, report.failed, report.restarts) == (2, 1, 1)
    finally:
        workers.close()


def test_a_process_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = PeakWorkers(CONFIG)
    try:
        assert workers.find(frame(3)).hit
        (first,) = children_of(workers)
        monkeypatch.setattr(peakwork, "LOOKING", 0.2)
        os.kill(first, signal.SIGSTOP)
        assert workers.find(frame(3)) == (None, False)
        monkeypatch.undo()
        assert workers.find(frame(3)).hit
        assert workers.report().restarts == 1
    finally:
        workers.close()


def test_who_waits_when_all_is_closed_gets_no_peaks() -> None:
    workers = PeakWorkers(CONFIG)
    assert workers.find(frame(3)).hit
    (only,) = children_of(workers)
    os.kill(only, signal.SIGSTOP)
    with ThreadPoolExecutor(3) as threads:
        asked = threading.Barrier(4)
        waiting = [threads.submit(lambda: (asked.wait(10), workers.find(frame(3)))[1]) for _ in range(3)]
        asked.wait(10)
        workers.close()
        assert [one.result(10) for one in waiting] == [(None, False)] * 3
    assert workers.find(frame(3)) == (None, False)


def test_a_mask_of_the_configuration(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :70] = 1
    np.save(tmp_path / "mask.npy", mask)
    image = frame(0)
    image[60:63, 30:33] += 300
    image[60:63, 110:113] += 300
    workers = PeakWorkers(PeaksConfig(mask=tmp_path / "mask.npy"))
    try:
        peaks, hit = workers.find(image)
        assert peaks is not None and (len(peaks), round(peaks.fs[0]), hit) == (1, 111, False)
        assert workers.find(frame(1, shape=(60, 60))) == (None, False), "it does not fit"
    finally:
        workers.close()
    with pytest.raises(ConfigError, match=r"mask .*none.npy can't be read"):
        PeakWorkers(PeaksConfig(mask=tmp_path / "none.npy"))


def test_a_configuration_that_finds_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="no peak has 5 to 4"):
        PeaksConfig(min_pixels=5, max_pixels=4)
