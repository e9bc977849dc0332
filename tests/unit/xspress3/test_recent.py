"""What is kept of the last frames, and for how long."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError, RequestRefused
from bluesky_streamdet.xspress3 import recent as recent_module
from bluesky_streamdet.xspress3.recent import COUNTS, Batch, Recent

CHANNELS, BINS = 3, 8
KIND = np.dtype([("window_counts", "<u4", (2, CHANNELS)), ("dead_time_correction", "<f8", (CHANNELS,))])


def batch(first: int, frames: int) -> Batch:
    """Frames in which every number is another one."""
    numbers = np.arange(first, first + frames)
    spectra = numbers[:, None, None] * 1000 + np.arange(CHANNELS)[:, None] * 100 + np.arange(BINS)
    records = np.zeros(frames, KIND)
    records["window_counts"] = numbers[:, None, None] * 10 + np.arange(2 * CHANNELS).reshape(2, CHANNELS)
    records["dead_time_correction"] = 1 + numbers[:, None] / 1000
    return Batch(first, spectra.astype(np.uint32), records)


def kept(*sizes: int, most: int = 100) -> Recent:
    recent, first = Recent(most), 0
    for size in sizes:
        recent.add(batch(first, size))
        first += size
    return recent


def test_before_the_first_frame() -> None:
    recent = Recent(10)

    with pytest.raises(RequestRefused, match="No frame has been taken yet"):
        recent.read(-1)
    assert recent.counts(0, 0, 0, 1)[0] == [-1, -1]
    assert recent.total is None


def test_frames_by_number() -> None:
    recent = kept(4, 1, 7)

    for wanted, number in ((-1, 11), (0, 0), (4, 4), (11, 11)):
        found, spectra, record = recent.read(wanted)
        assert found == number
        np.testing.assert_array_equal(spectra, batch(number, 1).spectra[0])
        assert record == batch(number, 1).records[0]


@pytest.mark.parametrize("frame", [12, 500, -2])
def test_a_frame_that_never_was(frame: int) -> None:
    with pytest.raises(RequestRefused, match="frames 0 to 11 can"):
        kept(4, 1, 7).read(frame)


def test_the_oldest_go_first() -> None:
    recent = kept(4, 4, 4, 4, most=8)

    assert recent.read(8)[0] == 8
    with pytest.raises(RequestRefused, match="frames 8 to 15 can"):
        recent.read(7)


def test_never_more_than_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_module, "LARGEST", 10 * CHANNELS * BINS * 4)

    recent = kept(*[4] * 10, most=1000)

    assert recent.read(-1)[0] == 39
    with pytest.raises(RequestRefused, match="frames 32 to 39 can"):
        recent.read(31)


def test_all_frames_are_added_up() -> None:
    recent = kept(4, 1, 7)

    np.testing.assert_array_equal(recent.total, batch(0, 12).spectra.sum(axis=0))
    assert recent.total is not None and recent.total.dtype == np.uint64


def test_window_counts_of_a_range() -> None:
    counts, factors = kept(4, 8).counts(1, 2, 2, 13)

    assert counts == [*(number * 10 + 5 for number in range(2, 12)), -1, -1]
    assert factors[:10] == [1 + number / 1000 for number in range(2, 12)]
    assert all(math.isnan(one) for one in factors[10:])


def test_window_counts_of_long_ago_are_unknown() -> None:
    recent = kept(*[COUNTS // 2] * 3, most=1)

    first = COUNTS // 2
    assert recent.counts(0, 1, first - 1, first)[0] == [-1, first * 10 + 1]


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (5, 4), (0, COUNTS)])
def test_a_range_that_makes_no_sense(first: int, last: int) -> None:
    with pytest.raises(ConfigError, match="no range that can be read"):
        kept(4).counts(0, 0, first, last)
