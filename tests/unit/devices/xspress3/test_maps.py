"""Maps of a run: the order of a raster's points, rasters that were cut short, and regions by the run's own names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.maps import as_map, region_map
from bluesky_streamdet.devices.xspress3.regions import Region

POINTS = np.arange(6.0)


def test_rows_one_after_the_other() -> None:
    assert as_map(POINTS, {"shape": [2, 3]}).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_every_other_row_backwards() -> None:
    assert as_map(POINTS, {"shape": [2, 3], "snaking": [False, True]}).tolist() == [[0, 1, 2], [5, 4, 3]]


def test_a_raster_that_was_cut_short() -> None:
    picture = as_map(POINTS[:4], {"shape": [2, 3]})
    assert picture[0].tolist() == [0, 1, 2]
    assert picture[1, 0] == 3 and np.isnan(picture[1, 1:]).all()


@pytest.mark.parametrize("start", [{}, {"shape": [6]}])
def test_a_run_that_is_no_raster(start: dict[str, Any]) -> None:
    assert as_map(POINTS, start).tolist() == POINTS.tolist()


class Column:
    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)
        self.shape = self._values.shape

    def read(self) -> Any:
        return self._values

    def __getitem__(self, wanted: Any) -> Any:
        return self._values[wanted]


class Stream(dict[str, Column]):
    metadata: dict[str, Any] = {}


class Run(dict[str, Stream]):
    start: dict[str, Any] = {"shape": [2, 1]}


@pytest.fixture
def run() -> Run:
    """As a catalog gives it: two points, two channels, bins 600 to 699, which are 1 everywhere."""
    stream = Stream(
        det=Column(np.ones((2, 2, 100), "u4")), det_dead_time_correction=Column([[1.0, 2.0], [3.0, np.inf]])
    )
    values = {
        "det_ev_per_bin": 10.0,
        "det_ev_offset": 0.0,
        "det_bins": 100,
        "det_first_bin": 600,
        "det_lookup": [],
        "det_region_names": ["Fe"],
        "det_region_first_bin": [630],
        "det_region_last_bin": [649],
    }
    stream.metadata = {"configuration": {"det": {"data": values}}}
    return Run(primary=stream)


def test_a_region_of_the_run(run: Run) -> None:
    assert region_map(run, "Fe", detector="det", correction="none").tolist() == [[40], [40]]
    assert region_map(run, "Fe", detector="det", exclude=[1]).tolist() == [[20], [60]]


def test_a_channel_that_was_never_live_has_no_number(run: Run) -> None:
    picture = region_map(run, "Fe", detector="det")
    assert picture[0].tolist() == [60] and np.isnan(picture[1]).all()


def test_any_other_region(run: Run) -> None:
    assert region_map(run, Region("x", 6000, 6040), detector="det", correction="none").tolist() == [[10], [10]]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"region": "Zn Ka"}, "is not in the part of the spectrum that is recorded"),
        ({"region": "iron"}, "The run has no region 'iron'"),
        ({"region": "Fe", "correction": "sdk"}, "no dead_time_correction_sdk of det"),
        ({"region": "Fe", "correction": "magic"}, "no correction 'magic'"),
    ],
)
def test_what_there_is_no_map_of(run: Run, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        region_map(run, detector="det", **keywords)


def test_bursts_have_no_map(run: Run) -> None:
    run["primary"]["det"] = Column(np.ones((2, 5, 2, 100), "u4"))
    with pytest.raises(ConfigError, match=r"wants \(points, channels, bins\)"):
        region_map(run, "Fe", detector="det")
