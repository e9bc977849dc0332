"""Numbers of frames: sums over regions and channels, with the dead time of either model, or without."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.readout import Readout, factor_of, region_counts
from bluesky_streamdet.devices.xspress3.regions import Axis, Calibration, Region

RNG = np.random.default_rng(7)
SPECTRA = RNG.integers(0, 100, (4, 4096), np.uint32)
SCALARS = {
    "dead_time_correction": np.array([1.0, 1.5, 2.0, np.inf]),
    "dead_time_correction_sdk": np.array([1.0, 1.1, 1.2, 1.3]),
}
IRON = Region("Fe", 6300, 6500)


def readout(correction: str = "none", exclude: tuple[int, ...] = ()) -> Readout:
    return Readout.of([IRON], Axis(4096), Calibration(), correction, exclude)  # type: ignore[arg-type]


def test_raw_counts_are_exact() -> None:
    numbers = readout().numbers(SPECTRA, SCALARS)
    assert numbers.total == SPECTRA.sum(dtype=np.uint64)
    assert numbers.regions["Fe"] == SPECTRA[:, 630:651].sum()
    assert numbers.region_counts["Fe"].tolist() == SPECTRA[:, 630:651].sum(axis=1).tolist()
    assert np.array_equal(numbers.sum_spectrum, SPECTRA.sum(axis=0))


def test_each_channel_has_its_factor() -> None:
    numbers = readout("sdk").numbers(SPECTRA, SCALARS)
    expected = SPECTRA[:, 630:651].sum(axis=1) * SCALARS["dead_time_correction_sdk"]
    assert numbers.region_counts["Fe"] == pytest.approx(expected)
    assert numbers.dead_time[1] == pytest.approx(100 / 3)


def test_a_channel_that_was_never_live_has_no_number() -> None:
    numbers = readout("event_width").numbers(SPECTRA, SCALARS)
    assert np.isnan(numbers.totals[3]) and np.isnan(numbers.total)
    without = readout("event_width", (3,)).numbers(SPECTRA, SCALARS)
    assert without.total == pytest.approx(SPECTRA[:3].sum(axis=1) @ [1, 1.5, 2])


def test_the_auxiliary_axis_is_summed_over() -> None:
    split = RNG.multinomial(5, [0.25] * 4, (2, 64)).transpose(0, 2, 1).astype(np.uint32)
    numbers = Readout({}).numbers(split, {})
    assert numbers.spectra.tolist() == [[5.0] * 64] * 2
    assert numbers.totals.tolist() == [320.0, 320.0]


def test_without_scalars_nothing_is_corrected() -> None:
    assert factor_of({}, "event_width", 3).tolist() == [1, 1, 1]
    assert factor_of(SCALARS, "none", 4).tolist() == [1, 1, 1, 1]


def test_a_map_of_a_run() -> None:
    """The same as frame by frame, for any shape of frames."""
    frames = RNG.integers(0, 50, (2, 3, 4, 256), np.uint32)
    factors = RNG.uniform(1, 2, (2, 3, 4))
    mask = Axis(256).mask(Region("r", 100, 120, in_bins=True), Calibration())
    found = region_counts(frames, mask, factors, exclude=(1,))
    assert found.shape == (2, 3)
    inside = frames[..., 100:121].sum(axis=-1) * factors
    by_hand = [[inside[row, column][[0, 2, 3]].sum() for column in range(3)] for row in range(2)]
    assert found == pytest.approx(np.array(by_hand))


def test_a_correction_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="there are event_width, sdk, none"):
        readout("magic")
