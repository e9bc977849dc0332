"""The Xspress3 SDK's functions and structures, as its header `xspress3.h` declares them.

One row for each function that this package calls: what it returns and takes. Without them ctypes would take each result
for an int of 32 bits, and cut frame counters and times. Source: "Xspress API Manual V2.2.0" and the prototypes.

`path` is the handle that `xsp3_config` returns; `chan` counts the channels of the whole system from 0, and -1 is all of
them; `card` counts from 0, and -1 is all of them. A function that returns an int returns a negative `ErrorCode` when it
fails.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_uint32, c_void_p
from typing import Any, NamedTuple


class Signature(NamedTuple):
    """What a function returns, and what it takes, as ctypes types."""

    restype: Any
    argtypes: tuple[Any, ...]


class Roi(ctypes.Structure):
    """`XSP3Roi`: raw bins lhs to rhs go to so many bins of the spectrum."""

    _fields_ = [("lhs", c_int), ("rhs", c_int), ("out_bins", c_int)]
    lhs: int
    rhs: int
    out_bins: int


class TFStatus(ctypes.Structure):
    """`Xsp3TFStatus`: a slot of the circular buffer. state: 1 complete, not acknowledged; time_frame: whose it is."""

    _fields_ = [("state", c_int), ("time_frame", c_int64), ("markers", c_int)]
    state: int
    time_frame: int
    markers: int


class TimingSetup(ctypes.Structure):
    """`Xsp3Timing`: where frames come from, for all cards at once. Debounces in ADC clock cycles."""

    _fields_ = [
        ("t_src", c_int),
        ("fixed", c_uint32),
        ("inv_f0", c_int),
        ("inv_veto", c_int),
        ("loop_io", c_int),
        ("debounce", c_int),
        ("override_debounce_other", c_int),
        ("card0_a_extra", c_uint32),
        ("cardn_a_extra", c_uint32),
        ("padding", c_int * 2),
    ]
    t_src: int
    fixed: int
    inv_f0: int
    inv_veto: int
    loop_io: int
    debounce: int
    override_debounce_other: int
    card0_a_extra: int
    cardn_a_extra: int


TRIGGER_B_FIELDS = (
    "avemode",
    "two_over_mode",
    "enable",
    "enb_otd_split",
    "disable_split",
    "combined",
    "scaled_thres_mode",
    "arm_thres",
    "end_thres",
    "rearm_thres",
    "sep1",
    "sep2",
    "data_delay",
    "event_time",
    "over_thres_delay",
    "over_thres_stretch",
    "over_thres_trim",
    "enb_fast_otd",
    "fast_avemode",
    "fast_sep1",
    "fast_align",
    "fast_arm_thres",
    "fast_end_thres",
    "enb_variable_width",
    "variable_width_delay",
    "enb_split_touching",
    "enb_fast_diff2",
)


class TriggerB(ctypes.Structure):
    """`Xspress3_TriggerB`: how a channel finds events. event_time: the width of an event in clock cycles, 2 to 127."""

    _fields_ = [(name, c_int) for name in TRIGGER_B_FIELDS]
    event_time: int
    enb_variable_width: int


assert ctypes.sizeof(Roi) == 12
assert ctypes.sizeof(TFStatus) == 24
assert ctypes.sizeof(TimingSetup) == 44
assert ctypes.sizeof(TriggerB) == 108

_int_p, _u32_p, _i64_p, _double_p = POINTER(c_int), POINTER(c_uint32), POINTER(c_int64), POINTER(c_double)
_u32 = c_uint32
"""C's u_int32_t, and its unsigned int."""
_WHICH = (c_int, c_int)
"""(path, chan), or (path, card)."""
_FOUR = (_u32,) * 4
_CONFIG = (c_int, c_int, c_char_p, c_int, c_char_p, c_int, c_int, c_char_p, c_int, c_int)
"""(ncards, num_tf, baseIPaddress, basePort, baseMACaddress, nchan, createmodule, modname, debug, card_index)"""


def _int(*argtypes: Any) -> Signature:
    return Signature(c_int, argtypes)


FUNCTIONS: dict[str, Signature] = {
    # The system
    "xsp3_config": _int(*_CONFIG),
    "xsp3_config_init": _int(*_CONFIG, c_int, c_int, c_int),  # do_init, readout mode, dummy system
    "xsp3_close": _int(c_int),
    # A char *, kept as an address: a function made by ctypes, as the simulation's are, cannot return char *.
    "xsp3_get_error_message": Signature(c_void_p, ()),
    "xsp3_get_revision": _int(c_int),
    "xsp3_get_generation": _int(*_WHICH),
    "xsp3_get_num_cards": _int(c_int),
    "xsp3_get_chans_per_card": _int(c_int),
    "xsp3_get_num_chan": _int(c_int),
    "xsp3_get_max_num_chan": _int(c_int),
    "xsp3_get_num_chan_used": _int(*_WHICH),
    "xsp3_get_bins_per_mca": _int(c_int),
    "xsp3_get_clock_period": Signature(c_double, _WHICH),  # seconds
    "xsp3_clocks_setup": _int(*_WHICH, c_int, c_int, c_int),  # clk_src, flags, tp_type; returns Hz or 0
    "xsp3_restore_settings": _int(c_int, c_char_p, c_int),  # directory, force_mismatch
    "xsp3_restore_settings_and_clock": _int(c_int, c_char_p, c_int),
    "xsp3_save_settings": _int(c_int, c_char_p),
    "xsp3_set_run_flags": _int(c_int, c_int),
    "xsp3_get_run_flags": _int(c_int),
    # The format of the histograms
    "xsp3_format_run": _int(*_WHICH, *(c_int,) * 6),  # aux1, thres, aux2_cont, flags, aux2, nbits_eng; returns frames
    "xsp3_get_format": _int(*_WHICH, *(_int_p,) * 4),  # bins of energy, of aux1, of aux2; frames
    "xsp3_has_roi": _int(*_WHICH),
    "xsp3_init_roi": _int(*_WHICH),
    "xsp3_set_roi": _int(*_WHICH, c_int, POINTER(Roi)),  # returns the bins used
    # Channels
    "xsp3_set_window": _int(*_WHICH, c_int, c_int, c_int),  # win, low, high
    "xsp3_get_window": _int(*_WHICH, c_int, _u32_p, _u32_p),
    "xsp3_set_good_thres": _int(*_WHICH, _u32),
    "xsp3_get_good_thres": _int(*_WHICH, _u32_p),
    "xsp3_get_trigger_b": _int(*_WHICH, POINTER(TriggerB)),
    # Dead time. The order is: gradient, offset of all events; then offset, gradient of those in a window.
    "xsp3_setDeadtimeCorrectionParameters": _int(*_WHICH, c_int, *(c_double,) * 4),
    "xsp3_getDeadtimeCorrectionParameters": _int(*_WHICH, _int_p, *(_double_p,) * 4),
    # Here it is: offset, gradient, rate offset, rate gradient of all events; then the same of those in a window.
    "xsp3_setDeadtimeCorrectionParameters2": _int(*_WHICH, c_int, *(c_double,) * 8),
    "xsp3_getDeadtimeCorrectionParameters2": _int(*_WHICH, _int_p, *(_double_p,) * 8),
    "xsp3_getDeadtimeCorrectionFlags": _int(*_WHICH, _int_p),
    "xsp3_calculateDeadtimeCorrectionFactors": _int(c_int, _u32_p, _double_p, _double_p, c_int, c_int, c_int),
    "xsp3_setDeadtimeCalculationEnergy": _int(c_int, c_double),  # keV
    "xsp3_getDeadtimeCalculationEnergy": Signature(c_double, (c_int,)),
    # Timing
    "xsp3_set_glob_timeA": _int(*_WHICH, _u32),
    "xsp3_get_glob_timeA": _int(*_WHICH, _u32_p),
    "xsp3_set_glob_timeFixed": _int(*_WHICH, _u32),
    "xsp3_get_glob_timeFixed": _int(*_WHICH, _u32_p),
    "xsp3_get_glob_time_statA": _int(*_WHICH, _u32_p),
    "xsp3_set_timing": _int(c_int, POINTER(TimingSetup)),
    "xsp3_set_alt_ttl_out": _int(*_WHICH, c_int, c_int),  # alt_ttl, force
    "xsp3_has_itfg": _int(*_WHICH),
    "xsp3_itfg_setup": _int(*_WHICH, c_int, _u32, c_int, c_int),  # num_tf, col_time, trig_mode, gap_mode
    "xsp3_itfg_setup2": _int(*_WHICH, c_int, _u32, *(c_int,) * 5),  # + acq_in_pause, marker_period, marker_frame
    "xsp3_itfg_get_setup": _int(*_WHICH, _int_p, _u32_p, _int_p, _int_p),
    "xsp3_itfg_start": _int(*_WHICH),
    "xsp3_itfg_stop": _int(*_WHICH),
    # A run
    "xsp3_histogram_clear": _int(c_int, *(c_int,) * 4),  # first_chan, num_chan, first_frame, num_frames
    "xsp3_histogram_arm": _int(*_WHICH),
    "xsp3_histogram_start": _int(*_WHICH),
    "xsp3_histogram_continue": _int(*_WHICH),
    "xsp3_histogram_pause": _int(*_WHICH),
    "xsp3_histogram_stop": _int(*_WHICH),
    "xsp3_histogram_is_busy": _int(*_WHICH),
    "xsp3_histogram_is_any_busy": _int(c_int),
    "xsp3_scaler_check_progress": _int(c_int),
    "xsp3_scaler_check_progress_details": Signature(c_int64, (c_int, _int_p, c_int, _i64_p)),  # flags, quiet, furthest
    "xsp3_histogram_get_circ_overrun": Signature(c_int64, (*_WHICH, _i64_p)),  # first overrun frame
    # Reading: positions first, then sizes
    "xsp3_histogram_read3d": _int(c_int, _u32_p, *(_u32,) * 6),  # x, y, t, dx, dy, dt
    "xsp3_histogram_read4d": _int(c_int, _u32_p, *_FOUR, *_FOUR),  # eng, aux, chan, tf and their numbers
    "xsp3_histogram_read_chan": _int(c_int, _u32_p, *(_u32,) * 7),  # chan; eng, aux, tf and their numbers
    "xsp3_hist_dtc_read4d": _int(c_int, _double_p, _double_p, *_FOUR, *_FOUR),
    "xsp3_scaler_read": _int(c_int, _u32_p, *(_u32,) * 6),  # scaler, chan, t and their numbers
    "xsp3_scaler_dtc_read": _int(c_int, _double_p, *(_u32,) * 6),
    "xsp3_histogram_circ_ack": _int(c_int, *_FOUR),  # chan, tf, num_chan, num_tf
    "xsp3_histogram_get_tf_status_block": _int(*_WHICH, _u32, _u32, POINTER(TFStatus)),
    "xsp3_histogram_get_tf_markers": _int(*_WHICH, _u32, _u32, _int_p),
}
