"""Scalers of the SDK, and the record that goes with each frame."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.transforms.deadtime import event_width_correction, paralysable_correction
from bluesky_streamdet.xspress3.channels import DeadTime as Parameters
from bluesky_streamdet.xspress3.constants import NUM_SCALERS, Scaler
from bluesky_streamdet.xspress3.records import COUNTED, DeadTime, RecordMaker

PERIOD = 12.5e-9
CHANNELS = 4


def maker(energy: float | None = None, **parameters: float | bool) -> RecordMaker:
    each = [Parameters(**{"all_event_offset": 1e-7, "in_window_offset": 5e-8, **parameters})] * CHANNELS
    return RecordMaker(CHANNELS, PERIOD, DeadTime.of([6, 7, 6, 7], each, energy))


def scalers(frames: int) -> np.ndarray:
    """Each number is another one, and the ticks are those of a tenth of a second."""
    values = np.arange(frames * CHANNELS * NUM_SCALERS, dtype=np.uint32).reshape(frames, CHANNELS, NUM_SCALERS)
    values[..., Scaler.LIVE_TICKS] = values[..., Scaler.TOTAL_TICKS] = 7_999_990
    return values


def test_each_number_is_in_its_place() -> None:
    read = scalers(5)

    records = maker()(read)

    for name, (index, _) in COUNTED.items():
        np.testing.assert_array_equal(records[name], read[..., index])
    for window in (0, 1):
        np.testing.assert_array_equal(records["window_counts"][:, window], read[..., Scaler.IN_WINDOW0 + window])
    np.testing.assert_array_equal(records["event_width"], [[6, 7, 6, 7]] * 5)


def test_the_recorded_correction_of_a_real_detector() -> None:
    """One hot channel of an X3: 12303 events in 3999990 ticks, of which 1713480 were resets."""
    read = np.zeros((1, CHANNELS, NUM_SCALERS), np.uint32)
    read[0, 0, [Scaler.LIVE_TICKS, Scaler.TOTAL_TICKS]] = 3999990
    read[0, 0, [Scaler.ALL_EVENT, Scaler.RESET_TICKS]] = 12303, 1713480

    records = maker()(read)

    assert records["dead_time_correction"][0, 0] == pytest.approx(1.81786, abs=1e-5)
    assert records["dead_time_correction"][0, 1] == 1
    assert np.isfinite(records["output_count_rate"]).all()


def test_the_rate_is_in_hertz() -> None:
    read = scalers(1)
    read[0, 2, Scaler.ALL_GOOD] = 1

    assert maker()(read)["output_count_rate"][0, 2] == pytest.approx(1 / (7_999_990 * PERIOD))


def test_both_models_can_be_calculated_anew_from_what_is_there() -> None:
    read = scalers(3)
    read[..., Scaler.ALL_EVENT] = 50_000
    records = maker()(read)

    np.testing.assert_array_equal(
        records["dead_time_correction"],
        event_width_correction(
            records["all_events"], records["reset_ticks"], records["clock_ticks"], records["event_width"]
        ),
    )
    np.testing.assert_array_equal(
        records["dead_time_correction_sdk"],
        paralysable_correction(
            records["all_events"], records["reset_ticks"], records["clock_ticks"], PERIOD, 1e-7, 5e-8
        ),
    )


def test_the_model_of_the_sdk_takes_energy_and_good_events() -> None:
    read = scalers(1)
    read[..., Scaler.ALL_EVENT], read[..., Scaler.ALL_GOOD] = 60_000, 40_000

    records = maker(10.0, all_event_gradient=1e-8, use_good=True)(read)

    expected = paralysable_correction(40_000, records["reset_ticks"], records["clock_ticks"], PERIOD, 2e-7, 5e-8)
    np.testing.assert_array_equal(records["dead_time_correction_sdk"], expected)


def test_scalars_describe_the_record() -> None:
    made = maker()

    assert [one.name for one in made.scalars] == list(made.dtype.names or ())
    assert made.dtype.itemsize == sum(np.dtype(one.dtype).itemsize * int(np.prod(one.shape)) for one in made.scalars)
    assert {one.name: one.unit for one in made.scalars}["total_ticks"] == "clock cycles"
