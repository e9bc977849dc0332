"""The attributes of the Tango device that need no code of their own, as tables. Pure.

A row says what Tango has to know of an attribute, and where its value comes from. Lists for each channel are in the
order of the channels, which are counted from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bluesky_streamdet.streaming.status import LatestFrame
from bluesky_streamdet.xspress3 import tango_readback as readback
from bluesky_streamdet.xspress3.constants import BINS_PER_MCA, MAX_CHANNELS, MAX_DEBOUNCE, MAX_ROI
from bluesky_streamdet.xspress3.tango_state import View

ROWS = MAX_CHANNELS * 16
"""Most rows of an image: auxiliary axes have up to 16 bins for each channel."""
MOST_IN_EVENT = 2047
"""Most values that go into one event. cppTango 10 sends more of them uncopied and waits, with all locks of the
server held, until all subscribers have taken them. One that hangs, or dies just then, would hang the server for good.
"""
SECONDS = {"unit": "s", "format": "%e"}
CYCLES = {"unit": "clock cycles"}
BIN = {"min_value": 0, "max_value": BINS_PER_MCA - 1}
CHANNELS = {"max_dim_x": MAX_CHANNELS}
IMAGE = {"max_dim_x": BINS_PER_MCA, "max_dim_y": ROWS}


class Setting(NamedTuple):
    """Of the next series. field: of `tango_settings.Settings`."""

    field: str
    dtype: Any
    doc: str
    details: Mapping[str, Any] = {}


class Seen(NamedTuple):
    """What is known of service and hardware."""

    read: Callable[[View], Any]
    dtype: Any
    doc: str
    details: Mapping[str, Any] = {}


class OfFrame(NamedTuple):
    """What comes with the latest frame; before the first, it is zeros of the same shape."""

    read: Callable[[LatestFrame | None, View], Any]
    dtype: Any
    doc: str
    details: Mapping[str, Any] = {}


class OfChannel(NamedTuple):
    """What each channel has, called Window1_Ch0 and so on."""

    dtype: Any
    doc: str
    writable: bool = False
    details: Mapping[str, Any] = {}


SETTINGS: Mapping[str, Setting] = {
    "ExposureTime": Setting(
        "exposure_time", "DevDouble", "from one frame to the next: live time and latency", SECONDS | {"min_value": 0.0}
    ),
    "LatencyTime": Setting("latency_time", "DevDouble", "taken off ExposureTime, once", SECONDS | {"min_value": 0.0}),
    "TriggerMode": Setting(
        "trigger_mode", "DevString", "SOFTWARE, EXTERNAL_MULTI, EXTERNAL_MULTI_GATE, INTERNAL or SOFTWARE_TIMED"
    ),
    "nTriggers": Setting("triggers", "DevLong64", "of the series", {"min_value": 1}),
    "nFramesPerTrigger": Setting("frames_per_trigger", "DevLong64", "that follow one trigger", {"min_value": 1}),
    "DestinationFileName": Setting(
        "file_name", "DevString", "in the data directory; empty for none", {"memorized": True, "hw_memorized": True}
    ),
    "DestinationFileOverwritable": Setting("overwritable", "DevBoolean", "whether an existing file is replaced"),
    "WriteHdf5": Setting("write", "DevBoolean", "false: whoever receives the stream writes the file"),
    "InvertTrigger": Setting("invert", "DevBoolean", "falling edge, or low level"),
    "Debounce": Setting(
        "debounce", "DevLong64", "that an input has to last", CYCLES | {"min_value": 0, "max_value": MAX_DEBOUNCE}
    ),
    "TriggersPerFrame": Setting("triggers_per_frame", "DevLong64", "edges that make a frame", {"min_value": 1}),
    "GateInput": Setting("gate_input", "DevString", "ttl_veto, ttl_both, lvds_veto, lvds_both or idc"),
}

SEEN: Mapping[str, Seen] = {
    "nFramesAcquired": Seen(lambda view: view.count("acquired"), "DevLong64", "complete in the detector"),
    "nFramesTaken": Seen(lambda view: view.count("taken"), "DevLong64", "read out of the detector"),
    "nFramesWritten": Seen(
        lambda view: view.report.ledger.written if view.report is not None else 0, "DevLong64", "readable in the file"
    ),
    "nTriggersSent": Seen(lambda view: view.count("triggers"), "DevLong64", "by software"),
    "nOverruns": Seen(lambda view: view.count("overruns"), "DevLong64", "series that lost frames in the detector"),
    "ReadyForSwTrigger": Seen(
        lambda view: view.ready_for_trigger, "DevBoolean", "whether a software trigger would start a frame"
    ),
    "FileName": Seen(
        lambda view: (view.report.file if view.report is not None else None) or "",
        "DevString",
        "absolute path of the file of the series that runs, or ran last",
    ),
    "SeriesId": Seen(
        lambda view: view.report.id if view.report is not None else "", "DevString", "of that series, in the service"
    ),
    "ServiceAddress": Seen(lambda view: view.address, "DevString", "URL of the streaming service"),
    "nChannels": Seen(lambda view: view.count("channels"), "DevLong64", "of all cards"),
    "nCards": Seen(lambda view: view.count("cards"), "DevLong64", "of the system"),
    "nBins": Seen(lambda view: view.count("bins"), "DevLong64", "of a spectrum as it is recorded"),
    "Capacity": Seen(lambda view: view.count("capacity"), "DevLong64", "frames that the detector's buffer holds"),
    "ClockPeriod": Seen(
        lambda view: float(view.hardware.get("clock_period") or 0.0), "DevDouble", "of a clock cycle", SECONDS
    ),
    "Generation": Seen(lambda view: str(view.hardware.get("generation") or ""), "DevString", "X3, X3V7, Mini or X4"),
    "FirmwareRevision": Seen(lambda view: str(view.hardware.get("revision") or ""), "DevString", "of the system"),
    "Regions": Seen(
        lambda view: [[int(one) for one in region] for region in view.hardware.get("regions") or ()],
        (("DevLong",),),
        "first bin, last bin and bins that come out, of what SetRegions has the detector record; empty for all",
        {"max_dim_x": 3, "max_dim_y": MAX_ROI},
    ),
}

OF_FRAME: Mapping[str, OfFrame] = (
    {
        "LastFrame": OfFrame(
            lambda frame, _: -1 if frame is None else frame.header.number,
            "DevLong64",
            "its number; -1 before the first",
        ),
        "Spectra": OfFrame(readback.spectra, (("DevULong",),), "counts by channel and bin", IMAGE),
        "CorrectedSpectra": OfFrame(
            readback.corrected_spectra, (("DevDouble",),), "Spectra times DeadTimeCorrection", IMAGE
        ),
        "SumSpectrum": OfFrame(
            lambda frame, view: readback.spectra(frame, view).sum(axis=0, dtype=np.uint64),
            ("DevULong64",),
            "Spectra of all channels together",
            {"max_dim_x": BINS_PER_MCA},
        ),
        "Window1Counts": OfFrame(
            partial(readback.window, number=0), ("DevULong",), "events in window 1, by channel", CHANNELS
        ),
        "Window2Counts": OfFrame(
            partial(readback.window, number=1), ("DevULong",), "events in window 2, by channel", CHANNELS
        ),
        "Window1CorrectedCounts": OfFrame(
            partial(readback.window, number=0, correct=True), ("DevDouble",), "times DeadTimeCorrection", CHANNELS
        ),
        "Window2CorrectedCounts": OfFrame(
            partial(readback.window, number=1, correct=True), ("DevDouble",), "times DeadTimeCorrection", CHANNELS
        ),
    }
    | {
        name: OfFrame(partial(readback.counter, name=scalar), ("DevULong",), f"{what}, by channel", CHANNELS | unit)
        for name, scalar, what, unit in (
            ("ClockTicks", "clock_ticks", "live time", CYCLES),
            ("TotalTicks", "total_ticks", "length of the frame", CYCLES),
            ("ResetTicks", "reset_ticks", "time lost by resets", CYCLES),
            ("ResetCounts", "num_resets", "resets", {}),
            ("AllEvents", "all_events", "events", {}),
            ("AllGood", "all_good", "events above the threshold", {}),
            ("PileUp", "pileup", "events that were rejected as pile-up", {}),
        )
    }
    | {
        name: OfFrame(partial(readback.number, name=scalar), ("DevDouble",), f"{what}, by channel", CHANNELS | unit)
        for name, scalar, what, unit in (
            ("DeadTimeCorrection", readback.FACTOR, "factor by the event width", {}),
            ("DeadTimeCorrectionSdk", "dead_time_correction_sdk", "factor by the SDK's model", {}),
            ("OutputCountRate", "output_count_rate", "good events per second", {"unit": "Hz"}),
        )
    }
)

SPECTRA = frozenset(
    {"TotalSpectra"}
    | {
        name
        for name, row in OF_FRAME.items()
        if row.details.get("max_dim_x", 1) * row.details.get("max_dim_y", 1) > MOST_IN_EVENT
    }
)
"""Attributes with too many values for a change event: a data-ready event tells that there are new ones to read."""

OF_CHANNEL: Mapping[str, OfChannel] = {
    "Window1": OfChannel(("DevLong",), "first and last bin that are counted", True, BIN | {"max_dim_x": 2}),
    "Window2": OfChannel(("DevLong",), "first and last bin that are counted", True, BIN | {"max_dim_x": 2}),
    "Threshold": OfChannel("DevLong", "bin above which an event is good", True, BIN),
    "EventWidth": OfChannel("DevShort", "dead time of an event, less one", False, CYCLES),
}


def of_channels(view: View) -> dict[str, Any]:
    """The attributes of the single channels, which are counted from 0, by their names."""
    values: dict[str, Any] = {}
    for number, windows in enumerate(view.hardware.get("windows") or (), start=1):
        values |= {f"Window{number}_Ch{channel}": [int(low), int(high)] for channel, (low, high) in enumerate(windows)}
    for name, key in (("EventWidth", "event_widths"), ("Threshold", "thresholds")):
        values |= {f"{name}_Ch{channel}": int(one) for channel, one in enumerate(view.hardware.get(key) or ())}
    return values


def spectrum_range(view: View) -> list[int]:
    """First bin that is recorded, and how many."""
    return [view.count("first_bin"), view.count("bins")]


def dead_time_energy(view: View) -> float:
    """keV; 0 when nobody has set it."""
    return float(view.hardware.get("dead_time_energy") or 0.0)
