"""Regions: how they are said, which bins they are, and what of a spectrum they hold that is recorded in part."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.regions import (
    Axis,
    Calibration,
    Region,
    line_region,
    regions_of,
    resolution,
)

TEN = Calibration()


@pytest.mark.parametrize(
    ("said", "bins"),
    [
        ((6300, 6500), (630, 650)),
        ([6300.0, 6504.9], (630, 650)),
        ({"energy": [6300, 6500]}, (630, 650)),
        ({"bins": [1, 2]}, (1, 2)),
        (Region("other", 6300, 6500), (630, 650)),
        ({"line": "Fe Ka", "width": 200}, (630, 650)),
    ],
)
def test_how_a_region_may_be_said(said: Any, bins: tuple[int, int]) -> None:
    (region,) = regions_of({"Fe": said})
    assert region.name == "Fe"
    assert region.bins(TEN) == bins


def test_a_line_has_the_width_of_the_detector() -> None:
    region = line_region("Fe", "Fe Ka")
    assert (region.low + region.high) / 2 == pytest.approx(6400, abs=10)
    assert region.high - region.low == pytest.approx(2 * resolution(6400), abs=1)
    assert 130 < resolution(5900) < 140


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"Fe": "Fe Kz"}, "Fe"),
        ({"Fe": 6400}, "is given as 6400"),
        ({"Fe": {"line": "Fe Ka", "colour": "red"}}, "is given as"),
        ({"Fe": {"bins": [3]}}, "is given as"),
        ({"Fe": (6500, 6400)}, "is empty: it begins at 6500 and ends at 6400"),
        *(({name: (1, 2)}, f"can't be called '{name}'") for name in ("total", "clock_ticks", "channel1_Fe", "name")),
        ({"Fe-Ka": (1, 2)}, "can't be called 'Fe-Ka'"),
        ({f"r{n}": (1, 2) for n in range(49)}, "49 regions are too many; there may be 48"),
        ([Region("a", 1, 2), Region("a", 3, 4)], "the same name"),
    ],
)
def test_what_is_no_region(said: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        regions_of(said)


def test_forty_eight_regions_are_allowed() -> None:
    assert len(regions_of({f"r{n}": (1, 2) for n in range(48)})) == 48


def test_the_calibration_moves_regions() -> None:
    region = Region("Fe", 6300, 6500)
    assert region.bins(Calibration(5.0, 300.0)) == (1200, 1240)
    assert region.energies(TEN) == (6300, 6500)
    assert Region("b", 630, 650, in_bins=True).energies(Calibration(20.0, 5.0)) == (12605.0, 13005.0)
    with pytest.raises(ConfigError, match=r"0 eV a bin"):
        Calibration(0.0)


@pytest.mark.parametrize("energies", [(-100, 50), (40_000, 41_000)])
def test_a_region_beyond_the_spectrum(energies: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="a spectrum has 0 to 4095"):
        Region("far", *energies).bins(TEN)


@given(st.floats(1, 100), st.floats(-500, 500), st.integers(0, 4095))
def test_bins_and_energies_agree(ev_per_bin: float, offset: float, number: int) -> None:
    calibration = Calibration(ev_per_bin, offset)
    assert calibration.bin_of(calibration.energy_of(number)) == number


@given(st.data())
def test_a_mask_holds_the_bins_and_no_others(data: Any) -> None:
    first = data.draw(st.integers(0, 4000))
    bins = data.draw(st.integers(1, 4096 - first))
    low = data.draw(st.integers(first, first + bins - 1))
    high = data.draw(st.integers(low, first + bins - 1))
    mask = Axis(bins, first).mask(Region("r", low, high, in_bins=True), TEN)
    assert mask.nonzero()[0].tolist() == list(range(low - first, high - first + 1))


def test_a_region_that_is_not_recorded() -> None:
    axis = Axis(1024, first=100)
    for low, high in ((0, 99), (90, 110), (1120, 1130)):
        with pytest.raises(ConfigError, match=f"bins {low} to {high}, is not in the part"):
            axis.mask(Region("r", low, high, in_bins=True), TEN)


class TestTheHardwaresOwnRegions:
    """Bins 600 to 699 as they are, 1000 to 1399 four by four, and all else in the last place."""

    axis = Axis(256, lookup=[(600, 699, 100), (1000, 1399, 100)])

    def test_places_of_one_bin(self) -> None:
        mask = self.axis.mask(Region("r", 630, 650, in_bins=True), TEN)
        assert mask.nonzero()[0].tolist() == list(range(30, 51))

    def test_places_of_several_bins(self) -> None:
        mask = self.axis.mask(Region("r", 1000, 1039, in_bins=True), TEN)
        assert mask.nonzero()[0].tolist() == list(range(100, 110))

    def test_the_rest_belongs_to_no_region(self) -> None:
        with pytest.raises(ConfigError, match="is not in the part"):
            self.axis.mask(Region("r", 700, 999, in_bins=True), TEN)
        with pytest.raises(ConfigError, match="is not in the part"):
            self.axis.mask(Region("r", 650, 750, in_bins=True), TEN)
