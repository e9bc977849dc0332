"""The surface: each function is a C function, and refuses as the vendor's do."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
from pydantic import ValidationError

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.xspress3.abi import FUNCTIONS, Roi, TriggerB
from bluesky_streamdet.xspress3.constants import ErrorCode
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.library import SimulatedLibrary

from .bench import Bench, words

CONFIG = (1, 16384, None, -1, None, -1, -1, None, -1, -1)


def message_of(library: SimulatedLibrary) -> str:
    return ctypes.string_at(library.xsp3_get_error_message()).decode()


def test_each_function_has_the_types_that_the_sdk_declares() -> None:
    library = SimulatedLibrary()
    for name, signature in FUNCTIONS.items():
        function = getattr(library, name)
        assert function.restype is signature.restype
        assert tuple(function.argtypes) == signature.argtypes


def test_wrong_types_are_refused_by_ctypes() -> None:
    bench = Bench()
    with pytest.raises(ctypes.ArgumentError):
        bench.raw("set_window", "0", 0, 1, 2)
    with pytest.raises(ctypes.ArgumentError):
        bench.raw("histogram_read4d", np.zeros(4096), 0, 0, 0, 0, 4096, 1, 1, 1)
    with pytest.raises(TypeError):
        bench.library.xsp3_get_num_chan()


def test_integers_are_cut_to_their_size() -> None:
    bench = Bench()
    assert bench.raw("get_num_chan") == 4
    assert bench.library.xsp3_get_num_chan(1 << 32) == 4  # path 0, as a C int would have it
    bench.call("set_glob_timeA", 0, (1 << 32) + 5)
    assert bench.get("get_glob_timeA", 0) == 5


def test_unknown_functions_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="xsp3_nothing"):
        SimulatedLibrary().xsp3_nothing  # noqa: B018


def test_nothing_works_before_config() -> None:
    library = SimulatedLibrary()
    assert library.xsp3_get_num_chan(0) == ErrorCode.INVALID_PATH
    assert "xsp3_config" in message_of(library)
    assert library.xsp3_get_clock_period(0, 0) == ErrorCode.INVALID_PATH


def test_message_is_one_buffer_that_each_error_overwrites() -> None:
    bench = Bench()
    address = bench.library.xsp3_get_error_message()
    assert bench.raw("get_generation", 7) == ErrorCode.ILLEGAL_CARD
    first = bench.message
    assert bench.raw("set_good_thres", 9, 5) == ErrorCode.RANGE_CHECK
    assert bench.library.xsp3_get_error_message() == address
    assert first != bench.message
    assert "channel is 9" in bench.message


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set_window", (4, 0, 1, 2)),
        ("set_window", (0, 2, 1, 2)),
        ("set_window", (0, 0, 3, 2)),
        ("set_window", (0, 0, 0, 4096)),
        ("set_good_thres", (0, 4096)),
        ("itfg_setup", (0, 1 << 24, 10, 0, 0)),
        ("itfg_setup", (0, 1, 0, 0, 0)),
        ("itfg_setup", (0, 1, 10, 4, 0)),
        ("itfg_setup", (0, 1, 10, 0, 4)),
        ("format_run", (0, 0, 0, 0, 0, 0, 13)),
        ("format_run", (0, 14, 0, 0, 0, 0, 12)),
        ("histogram_clear", (0, 5, 0, 1)),
        ("histogram_clear", (0, 4, 0, 16385)),
        ("clocks_setup", (0, 0x10, 0, 0)),
        ("set_run_flags", (0x1000,)),
        ("set_alt_ttl_out", (0, 3, 0)),
        ("setDeadtimeCalculationEnergy", (-1.0,)),
    ],
)
def test_values_out_of_range(name: str, arguments: tuple[int, ...]) -> None:
    bench = Bench()
    assert bench.raw(name, *arguments) == ErrorCode.RANGE_CHECK
    assert "allowed is" in bench.message


@pytest.mark.parametrize("name", ["histogram_start", "histogram_arm", "has_itfg", "get_num_chan_used"])
def test_cards_that_do_not_exist(name: str) -> None:
    bench = Bench()
    assert bench.raw(name, 1) == ErrorCode.ILLEGAL_CARD


def test_null_where_a_buffer_is_needed() -> None:
    bench = Bench()
    bench.burst(1)
    assert bench.raw("histogram_read4d", None, 0, 0, 0, 0, 4096, 1, 4, 1) == ErrorCode.ERROR
    assert bench.raw("scaler_read", None, 0, 0, 0, 9, 4, 1) == ErrorCode.ERROR
    assert bench.raw("get_trigger_b", 0, None) == ErrorCode.ERROR
    assert bench.raw("set_timing", None) == ErrorCode.ERROR
    assert bench.raw("get_window", 0, 0, None, None) == ErrorCode.OK


@pytest.mark.parametrize(
    ("generation", "code", "majors"),
    [("X3", 0, range(16)), ("X3V7", 1, range(16, 32)), ("Mini", 2, range(32, 48)), ("X4", 3, range(48, 64))],
)
def test_generations(generation: str, code: int, majors: range) -> None:
    bench = Bench(generation=generation)
    assert bench.call("get_generation", 0) == code
    assert bench.call("get_revision") >> 12 & 0xFFF in majors
    trigger = TriggerB()
    bench.call("get_trigger_b", 0, ctypes.byref(trigger))
    assert trigger.event_time == bench.library.config.event_width


def test_clocks_say_their_frequency_where_they_measure_it() -> None:
    assert Bench(generation="X3").call("clocks_setup", 0, 1, 3, 0) == 0
    assert Bench(generation="Mini").call("clocks_setup", 0, 0x10, 3, 0) == 80_000_000
    assert Bench(generation="X4").raw("clocks_setup", 0, 1, 3, 0) == ErrorCode.RANGE_CHECK


def test_config_again_begins_anew_with_the_same_path() -> None:
    bench = Bench()
    bench.burst(2)
    assert bench.progress == 2
    assert bench.library.xsp3_config(*CONFIG) == bench.path
    assert bench.progress == 0
    assert bench.raw("histogram_start", 0) == ErrorCode.ERROR  # no format


def test_close_makes_the_path_invalid() -> None:
    bench = Bench()
    bench.call("close")
    assert bench.raw("close") == ErrorCode.INVALID_PATH


def test_cards_and_channels_that_are_not_there() -> None:
    library = SimulatedLibrary(SimulationConfig(channels=4))
    assert library.xsp3_config(2, 16, None, -1, None, -1, -1, None, -1, -1) == ErrorCode.ERR_DEV_NOT_FOUND
    assert "card 1" in message_of(library)
    assert library.xsp3_config(1, 16, None, -1, None, 5, -1, None, -1, -1) == ErrorCode.RANGE_CHECK
    assert library.xsp3_config(1, 16, None, -1, None, 3, -1, None, -1, -1) == 0
    assert library.xsp3_get_num_chan(0) == 3
    assert library.xsp3_get_max_num_chan(0) == 4


def test_calls_that_fail_on_demand() -> None:
    library = SimulatedLibrary(SimulationConfig(fail={"xsp3_config": 1, "xsp3_get_num_chan": 2}))
    assert library.xsp3_config(*CONFIG) == 0
    assert library.xsp3_config(*CONFIG) == ErrorCode.ERR_DEV_NOT_FOUND
    assert "device not found" in message_of(library)
    assert library.xsp3_config(*CONFIG) == 0
    assert [library.xsp3_get_num_chan(0) for _ in range(4)] == [4, 4, ErrorCode.ERROR, 4]
    library.fail("xsp3_get_num_chan", code=ErrorCode.WOULD_BLOCK, text="later")
    assert library.xsp3_get_num_chan(0) == ErrorCode.WOULD_BLOCK
    assert message_of(library) == "xsp3_get_num_chan: later"
    with pytest.raises(ConfigError, match="no_such"):
        library.fail("no_such")


def test_lost_link() -> None:
    bench = Bench()
    bench.library.unplug()
    assert bench.raw("scaler_check_progress") == ErrorCode.ERROR
    assert "link is lost" in bench.message
    assert bench.library.xsp3_config(*CONFIG) == ErrorCode.ERR_DEV_NOT_FOUND
    bench.library.plug()
    assert bench.progress == 0


def test_unknown_elements_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="Zz"):
        SimulatedLibrary(SimulationConfig.model_validate({"sample": {"elements": {"Zz": 1.0}}}))


def test_threads_read_and_set_side_by_side() -> None:
    bench = Bench(precomputed=4)
    bench.burst(64)
    done: list[int] = []

    def set_windows() -> None:
        for low in range(50):
            bench.call("set_window", -1, 0, low, 4000)
            done.append(bench.progress)

    thread = threading.Thread(target=set_windows)
    thread.start()
    out = np.zeros((1, 4, 4096), np.uint32)
    for frame in range(64):
        bench.call("histogram_read4d", words(out), 0, 0, 0, frame, 4096, 1, 4, 1)
        assert out.any()
    thread.join()
    assert done == [64] * 50


def test_formats_of_single_channels() -> None:
    library = SimulatedLibrary()
    path = library.xsp3_config(*CONFIG)
    sizes = [ctypes.c_int() for _ in range(4)]
    assert library.xsp3_get_format(path, 1, *map(ctypes.byref, sizes)) == ErrorCode.ERROR
    assert library.xsp3_get_bins_per_mca(path) == 4096
    assert library.xsp3_format_run(path, 0, 0, 0, 0, 0, 0, 10) == 4 * 16384
    assert library.xsp3_init_roi(path, -1) == 0
    assert library.xsp3_set_roi(path, 1, 1, (Roi * 1)(Roi(1, 2, 1))) == ErrorCode.ERROR
    assert library.xsp3_set_roi(path, 0, 1, None) == ErrorCode.ERROR
    assert library.xsp3_histogram_start(path, 0) == ErrorCode.ERROR
    assert "no histogram format" in message_of(library)
    for channel in range(1, 4):
        library.xsp3_format_run(path, channel, 0, 0, 0, 0, 0, 10)
    assert library.xsp3_get_format(path, 3, *map(ctypes.byref, sizes)) == 0
    assert [one.value for one in sizes] == [1024, 1, 1, 65536]
    assert library.xsp3_format_run(path, 0, 0, 0, 1, 0, 0, 10) == ErrorCode.RANGE_CHECK  # a second auxiliary axis


def test_more_than_there_can_be() -> None:
    library = SimulatedLibrary()
    assert library.xsp3_config(17, 16, None, -1, None, -1, -1, None, -1, -1) == ErrorCode.RANGE_CHECK
    assert library.xsp3_config(1, 1 << 25, None, -1, None, -1, -1, None, -1, -1) == ErrorCode.OUT_OF_MEMORY
    bench = Bench()
    numbers = np.zeros(9, np.uint32)
    assert bench.raw("calculateDeadtimeCorrectionFactors", words(numbers), None, None, 0, 0, 1) == ErrorCode.RANGE_CHECK
    assert bench.raw("calculateDeadtimeCorrectionFactors", words(numbers), None, None, 1, 0, 1) == ErrorCode.ERROR


def test_truth_and_contents_of_frames_that_have_begun() -> None:
    bench = Bench(rate=[1e3, 2e3, 3e3, 4e3])
    for ask in (bench.library.truth, bench.library.contents):
        with pytest.raises(ValueError, match="frame 0"):
            ask(0)
    bench.burst(1)
    assert bench.library.truth(0).rate.tolist() == [1e3, 2e3, 3e3, 4e3]
    assert (bench.library.contents(0)[0][:, 0] == bench.spectra(0, 1)[0]).all()
    assert (bench.library.contents(0)[1] == bench.scalers(0, 1)[0]).all()


def test_markers_are_none() -> None:
    bench = Bench()
    bench.burst(2)
    markers = (ctypes.c_int * 2)(5, 5)
    bench.call("histogram_get_tf_markers", 0, 0, 2, markers)
    assert list(markers) == [0, 0]
    assert bench.raw("histogram_get_tf_status_block", 0, 0, 1, None) == ErrorCode.ERROR
    assert bench.raw("histogram_get_tf_markers", 0, 0, 0, markers) == ErrorCode.RANGE_CHECK


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 3, "rate": [1.0, 2.0]},
        {"channels": 3, "cards": 2},
        {"dead_time": {"all_event": 3e-7, "in_window": 1e-7}},
        {"seed": -1},
        {"fail": {"xsp3_config": -1}},
    ],
)
def test_configurations_that_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SimulationConfig.model_validate(wrong)
