"""The declared types against C: what goes in and comes out of a compiled library."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet.core.errors import HardwareFailed
from bluesky_streamdet.xspress3.abi import FUNCTIONS, Roi, TFStatus, TimingSetup, TriggerB
from bluesky_streamdet.xspress3.calls import Calls
from bluesky_streamdet.xspress3.histograms import Histograms
from bluesky_streamdet.xspress3.library import Library, open_library


@pytest.fixture(scope="module")
def library(sdk_file: Path) -> Library:
    return open_library(str(sdk_file))


def test_structures_have_the_size_and_the_places_that_a_compiler_gives_them(library: Library) -> None:
    regions = (Roi * 2)(Roi(1, 2, 3), Roi(4, 5, 6))
    assert library.xsp3_set_roi(5, 0, 2, regions) == 12_006
    assert library.xsp3_set_timing(5, ctypes.byref(TimingSetup(cardn_a_extra=7))) == 44_007
    rows = (TFStatus * 3)()
    assert library.xsp3_histogram_get_tf_status_block(5, 0, 0xFFFFFFFF, 3, rows) == 24
    assert [(row.state, row.time_frame, row.markers) for row in rows] == [
        (1, (0xFFFFFFFF << 8) + index, index) for index in range(3)
    ]


def test_results_of_64_bits_and_doubles_come_whole(library: Library) -> None:
    flags, furthest = ctypes.c_int(), ctypes.c_int64()
    done = library.xsp3_scaler_check_progress_details(5, ctypes.byref(flags), 1, ctypes.byref(furthest))
    assert (done, flags.value, furthest.value) == ((1 << 40) - 3, 0x10000, 1 << 40)
    assert library.xsp3_histogram_get_circ_overrun(5, -1, ctypes.byref(furthest)) == -6
    assert library.xsp3_get_clock_period(5, 1) == 1 + 12.5e-9


def test_unsigned_ticks_are_passed_up_to_their_last_value(library: Library) -> None:
    library.xsp3_itfg_setup(5, 0, 3, 0xFFFFFFFF, 6, 1)
    assert ctypes.string_at(library.xsp3_get_error_message()) == b"3 4294967295 6 1"


def test_arrays_that_c_has_written_have_each_number_in_its_place(library: Library) -> None:
    calls = Calls(library)
    calls.open(1, 16384, None, -1, None, -1, -1, None, -1, -1)
    histograms = Histograms(calls, 3)
    histograms.apply()
    histograms.set_range(70, 5)
    spectra, scalers = histograms.read_spectra(4, 2), histograms.read_scalers(4, 2)
    frame, channel, aux, energy = np.ogrid[4:6, 0:3, 0:8, 70:75]
    assert (spectra == (frame << 24 | channel << 20 | aux << 12 | energy)).all()
    frame, channel, scaler = np.ogrid[4:6, 0:3, 0:9]
    assert (scalers == (frame << 16 | channel << 8 | scaler)).all()
    calls.close()


def test_failures_of_c_are_told_with_their_text(library: Library) -> None:
    calls = Calls(library)
    with pytest.raises(
        HardwareFailed, match=r"^xsp3_config failed with ERR_DEV_NOT_FOUND \(-9\): 16 5 NULL -1 NULL .*"
    ):
        calls.open(16, 5, None, -1, None, -1, -1, None, -1, -1)
    calls.open(1, 5, b"192.168.0.1", -1, None, -1, -1, b"left", -1, -1)
    with pytest.raises(
        HardwareFailed, match=r"xsp3_histogram_start failed with code -77, .*: 1 5 192\.168\.0\.1 -1 NULL"
    ):
        calls("xsp3_histogram_start", 0)
    with pytest.raises(HardwareFailed, match=r"xsp3_histogram_get_circ_overrun failed with RANGE_CHECK \(-6\)"):
        calls("xsp3_histogram_get_circ_overrun", -1, ctypes.byref(ctypes.c_int64()))


def test_the_event_width_is_where_the_sdk_keeps_it() -> None:
    assert TriggerB.event_time.offset == 13 * 4
    assert TriggerB.enb_variable_width.offset == 23 * 4
    assert ctypes.sizeof(TriggerB) == 27 * 4


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_can_be_made_of_its_signature(name: str) -> None:
    signature = FUNCTIONS[name]
    function = ctypes.CFUNCTYPE(signature.restype, *signature.argtypes)(lambda *_: 0)
    assert function


def test_a_wrong_number_or_kind_of_arguments_does_not_reach_c(library: Library) -> None:
    with pytest.raises(TypeError):
        library.xsp3_close()
    with pytest.raises(ctypes.ArgumentError):
        library.xsp3_histogram_start(5, "first")
    with pytest.raises(ctypes.ArgumentError):
        library.xsp3_histogram_read4d(5, [0], 0, 0, 0, 0, 1, 1, 1, 1)
