"""Where frames are missing, the file tells by their numbers which are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import validity
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.frames import frame
from tests.unit.streaming.test_hdf5 import STARTED

LEDGER = "/entry/instrument/eiger/collection/ledger"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def written(path: Path, numbers: list[int], ledger: LedgerReport, outcome: Outcome, **options: Any) -> None:
    series = options.pop("series", "s1")
    file = SeriesFile(path, "eiger", series, **options)
    file.open(frame(0), STARTED, {})
    file.write([frame(number) for number in numbers])
    file.close(SeriesReport(id=series, detector="eiger", outcome=outcome, ledger=ledger), {})


def seen(path: Path) -> tuple[list[bool], int]:
    with h5py.File(path) as file:
        valid = file[f"{LEDGER}/valid"]
        return valid[()].tolist(), int(valid.attrs["first_frame"])


@pytest.mark.parametrize("event", [1, 2])
@pytest.mark.parametrize(
    ("numbers", "ranges", "expected", "valid", "first"),
    [
        pytest.param([375, 376, 379], [(377, 378)], 5, [1, 1, 0, 0, 1], 375, id="in the middle"),
        pytest.param([2, 3], [(0, 1)], 4, [0, 0, 1, 1], 0, id="at the beginning"),
        pytest.param([0, 1], [], 4, [1, 1, 0, 0], 0, id="at the end"),
        pytest.param([3, 0], [(1, 2)], None, [1, 0, 0, 1], 0, id="out of order, and nobody said how many"),
    ],
)
def test_frames_that_are_missing_are_not_valid(
    path: Path, numbers: list[int], ranges: Any, expected: int | None, valid: list[int], first: int, event: int
) -> None:
    ledger = LedgerReport(expected=expected, missing=len(valid) - len(numbers), missing_ranges=ranges)
    written(path, numbers, ledger, Outcome.INCOMPLETE, event=event)
    assert seen(path) == ([bool(one) for one in valid], first)


def test_there_is_no_vector_where_nothing_is_missing(path: Path) -> None:
    written(path, [0, 1, 2], LedgerReport(expected=3), Outcome.COMPLETE)
    assert seen(path) == ([], -1)


def test_there_is_none_of_frames_that_others_have(path: Path) -> None:
    written(path, [0, 2], LedgerReport(missing=1, missing_ranges=[(1, 1)], shared=True), Outcome.INCOMPLETE)
    assert seen(path) == ([], -1)


def test_numbers_that_reach_too_far_cost_nothing(path: Path) -> None:
    written(path, [0, (1 << 53) - 1], LedgerReport(missing=7, missing_ranges=[(1, (1 << 53) - 2)]), Outcome.INCOMPLETE)
    assert seen(path) == ([], -1)


def test_as_many_as_a_detector_ever_takes_cost_little(path: Path) -> None:
    written(path, [0, validity.MOST_FRAMES - 1], LedgerReport(missing=9_999_998), Outcome.INCOMPLETE)
    with h5py.File(path) as file:
        assert file[f"{LEDGER}/valid"].shape == (validity.MOST_FRAMES,)
        assert np.flatnonzero(file[f"{LEDGER}/valid"][()]).tolist() == [0, validity.MOST_FRAMES - 1]
    assert path.stat().st_size < 500_000


def test_the_vector_is_of_the_last_series(path: Path) -> None:
    lost = LedgerReport(expected=3, missing=1, missing_ranges=[(1, 1)])
    written(path, [0, 2], lost, Outcome.INCOMPLETE)
    written(
        path, [5, 7, 8], LedgerReport(missing=1, missing_ranges=[(6, 6)]), Outcome.INCOMPLETE, series="s2", append=True
    )
    assert seen(path) == ([True, False, True, True], 5)
    written(path, [0, 1], LedgerReport(), Outcome.COMPLETE, series="s3", append=True)
    assert seen(path) == ([], -1)
