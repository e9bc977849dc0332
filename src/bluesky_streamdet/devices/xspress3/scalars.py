"""What comes with each frame besides its spectra, and how it is described before the first frame has said so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bluesky_streamdet.documents import DATA
from bluesky_streamdet.streaming.status import DatasetReport, ScalarReport


class Kind(NamedTuple):
    """dims: names of its axes."""

    dtype: str
    unit: str = ""
    dims: tuple[str, ...] = ("channel",)


CYCLES = "clock cycles"
SCALARS: dict[str, Kind] = {
    "clock_ticks": Kind("<u4", CYCLES),
    "total_ticks": Kind("<u4", CYCLES),
    "reset_ticks": Kind("<u4", CYCLES),
    "num_resets": Kind("<u4"),
    "all_events": Kind("<u4"),
    "all_good": Kind("<u4"),
    "pileup": Kind("<u4"),
    "window_counts": Kind("<u4", "", ("window", "channel")),
    "event_width": Kind("<i4", CYCLES),
    "dead_time_correction": Kind("<f8"),
    "dead_time_correction_sdk": Kind("<f8"),
    "output_count_rate": Kind("<f8", "Hz"),
}
WINDOWS = 2
ANNOUNCED = ("clock_ticks", "reset_ticks", "all_events", "all_good", "window_counts", "dead_time_correction")
"""What is announced beside the spectra, unless a device is told otherwise: enough to correct for dead time."""
DIMS: Mapping[str, tuple[str, ...]] = {"": ("channel", "bin"), **{name: kind.dims for name, kind in SCALARS.items()}}
"""Names of the axes of a frame, under "", and of its scalars."""


def expected(state: Mapping[str, Any]) -> DatasetReport:
    """What frames will be like, from the state of the hardware."""
    sizes = {"channel": int(state["channels"]), "window": WINDOWS}
    aux = int(state["aux"])
    shape = (sizes["channel"], *((aux,) if aux > 1 else ()), int(state["bins"]))
    scalars = [
        ScalarReport(name=name, dtype=kind.dtype, shape=tuple(sizes[one] for one in kind.dims), unit=kind.unit)
        for name, kind in SCALARS.items()
    ]
    return DatasetReport(dataset=DATA, shape=shape, dtype="<u4", chunk_shape=(), scalars=scalars)
