"""From what the service answers to the arrays that Tango attributes have."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_streamdet.core.errors import RequestRefused
from bluesky_streamdet.xspress3 import tango_readback as readback
from bluesky_streamdet.xspress3.tango_attributes import OF_FRAME, of_channels
from bluesky_streamdet.xspress3.tango_state import View
from tests.unit.xspress3.standin import BINS, CHANNELS, IDLE, StandIn

VIEW = View(hardware=IDLE)


def test_before_the_first_frame_all_is_zero_and_of_the_right_shape() -> None:
    shapes = {name: np.shape(row.read(None, VIEW)) for name, row in OF_FRAME.items()}

    assert shapes.pop("LastFrame") == ()
    assert shapes.pop("Spectra") == shapes.pop("CorrectedSpectra") == (CHANNELS, BINS)
    assert shapes.pop("SumSpectrum") == (BINS,)
    assert set(shapes.values()) == {(CHANNELS,)}


def test_a_frame_as_attributes() -> None:
    service = StandIn()
    service.hardware["taken"] = 4
    frame = service.frame()

    assert OF_FRAME["LastFrame"].read(frame, VIEW) == 3
    np.testing.assert_array_equal(OF_FRAME["Spectra"].read(frame, VIEW), frame.pixels)
    np.testing.assert_array_equal(OF_FRAME["SumSpectrum"].read(frame, VIEW), frame.pixels.sum(axis=0))
    np.testing.assert_array_equal(OF_FRAME["AllEvents"].read(frame, VIEW), [100, 200])
    np.testing.assert_array_equal(OF_FRAME["Window1Counts"].read(frame, VIEW), [1, 2])
    np.testing.assert_array_equal(OF_FRAME["Window2Counts"].read(frame, VIEW), [3, 4])


def test_a_channel_without_a_factor_is_corrected_to_zero() -> None:
    frame = StandIn().frame()

    np.testing.assert_array_equal(OF_FRAME["DeadTimeCorrection"].read(frame, VIEW), [1.5, 0.0])
    np.testing.assert_array_equal(OF_FRAME["Window2CorrectedCounts"].read(frame, VIEW), [4.5, 0.0])
    corrected = OF_FRAME["CorrectedSpectra"].read(frame, VIEW)
    np.testing.assert_array_equal(corrected, frame.pixels * np.array([[1.5], [0.0]]))


def test_auxiliary_axes_become_rows() -> None:
    spectra = np.arange(24).reshape(2, 3, 4)

    assert readback.flat(spectra).shape == (6, 4)
    np.testing.assert_array_equal(readback.corrected(spectra, [2.0, 10.0])[1, 2], spectra[1, 2] * 10)


def test_a_scalar_that_frames_do_not_have_is_named() -> None:
    with pytest.raises(RequestRefused, match="The frames have no pileup; they have all_events"):
        OF_FRAME["PileUp"].read(StandIn().frame(), VIEW)


def test_counts_of_frames_that_are_not_there() -> None:
    answer = {"counts": [5, -1, 7], "factors": [2.0, None, None]}

    np.testing.assert_array_equal(readback.counts_of(answer, correct=False), [5, -1, 7])
    np.testing.assert_array_equal(readback.counts_of(answer, correct=True), [10, -1, 0])


def test_frames_are_counted_from_one_as_ever() -> None:
    assert readback.wanted_frames([1, 1, 3], CHANNELS) == (1, 0, 2)
    assert readback.wanted_frames([0, -4, 3], CHANNELS) == (0, 0, 2)


@pytest.mark.parametrize(
    ("argument", "said"),
    [([0, 1], "2 numbers were given"), ([2, 1, 3], "There is no channel 2"), ([0, 3, 2], "no frames from 3 to 2")],
)
def test_what_can_not_be_read_is_said(argument: list[int], said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        readback.wanted_frames(argument, CHANNELS)


def test_the_spectrum_of_a_channel_with_its_factor() -> None:
    spectrum, factor = readback.spectrum_of({"spectra": [1, 2, 3], "scalars": {"dead_time_correction": 1.5}})

    assert (spectrum.tolist(), factor) == ([1, 2, 3], 1.5)
    assert readback.spectrum_of({"spectra": [1], "scalars": {"dead_time_correction": None}})[1] == 0


@pytest.mark.parametrize(("window", "said"), [([7, 6], "from 7 to 6 is empty"), ([7], "1 numbers were given")])
def test_an_empty_window_is_refused(window: list[int], said: str) -> None:
    assert readback.window_of([6, 6]) == (6, 6)
    with pytest.raises(RequestRefused, match=said):
        readback.window_of(window)


def test_json_that_is_none_is_refused() -> None:
    assert readback.json_object('{"channel": 0}') == {"channel": 0}
    for text in ("{", "[1]"):
        with pytest.raises(RequestRefused, match="JSON"):
            readback.json_object(text)


def test_each_channel_has_its_windows_thresholds_and_width() -> None:
    values = of_channels(VIEW)

    assert values["Window1_Ch1"] == [10, 110]
    assert values["Window2_Ch0"] == [20, 120]
    assert (values["Threshold_Ch1"], values["EventWidth_Ch0"]) == (6, 6)
    assert len(values) == 4 * CHANNELS
