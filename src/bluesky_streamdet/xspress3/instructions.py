"""What an Xspress3 can be told over REST, `POST /api/v1/detector/NAME`, and what it says of itself.

Each instruction is a function of the table at the end: the streamer, then what the request's body names. Arguments of
a wrong name or type are refused in words. docs/reference/xspress3-service.md describes them for users.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict, ValidationError, validate_call

from bluesky_streamdet.core.errors import ConfigError, RequestRefused
from bluesky_streamdet.streaming.wording import in_words
from bluesky_streamdet.xspress3.constants import Aux1Mode
from bluesky_streamdet.xspress3.histograms import AuxiliaryAxes, Region
from bluesky_streamdet.xspress3.timing import timing_of

if TYPE_CHECKING:
    from bluesky_streamdet.xspress3.series import HardwareSeries
    from bluesky_streamdet.xspress3.simulation.inputs import Inputs
    from bluesky_streamdet.xspress3.streamer import Streamer
else:
    Streamer = Any  # It is not what has to be checked, and imports this module.

Answer = dict[str, Any]


def carry_out(streamer: Streamer, name: str, arguments: dict[str, Any]) -> Answer:
    """Do what `name` says. Raises `ConfigError` for what makes no sense, and what the hardware raises."""
    instruction = INSTRUCTIONS.get(name)
    if instruction is None:
        raise RequestRefused(f"An Xspress3 knows no {name!r}.", f"It knows {', '.join(INSTRUCTIONS)}.")
    if "streamer" in arguments:
        raise ConfigError(f"{name} takes no argument streamer.")
    try:
        answer = instruction(streamer, **arguments)
    except ValidationError as error:
        raise ConfigError(f"{name}: {in_words(error.errors(include_url=False))}") from error
    if name in SETTINGS:
        streamer.remember(name, arguments)
    return state(streamer) if answer is None else answer


# A series.


def arm(streamer: Streamer, *, save: bool = True, filename: str = "", **timing: Any) -> None:
    """Start a series: the settings of `timing.Timing`; several frames for each of several software triggers, too.

    save: whether it is written when nobody has armed the service for it. filename: that the stream proposes.
    """
    frames, triggers = timing.get("frames", 1), timing.get("triggers", 1)
    bursts = 1
    if timing.get("mode") == "software" and isinstance(frames, int) and frames > 1 and isinstance(triggers, int):
        bursts = timing_of({**timing, "frames": 1}).triggers
        timing["triggers"] = 1
    streamer.arm(timing_of(timing), bursts, filename, save)


def trigger(streamer: Streamer) -> None:
    """Give a software trigger."""
    _running(streamer).trigger()


def release(streamer: Streamer) -> None:
    """End the frame of mode "software_timed"."""
    _running(streamer).release()


def stop(streamer: Streamer) -> None:
    """End the series; what there is, is still read. No error when none runs."""
    streamer.stop()


def reset(streamer: Streamer) -> None:
    """Close the system and open it anew, out of a fault too."""
    streamer.reset()


# Settings.


def set_window(streamer: Streamer, *, window: int, low: int, high: int, channel: int = -1) -> None:
    streamer.system.set_window(window, low, high, channel)


def set_threshold(streamer: Streamer, *, value: int, channel: int = -1) -> None:
    streamer.idle_system().set_threshold(value, channel)


def set_regions(streamer: Streamer, *, regions: list[tuple[int, int, int]]) -> None:
    """Let the hardware keep these parts of the spectrum: [first raw bin, last raw bin, bins out of it]; [] for all."""
    streamer.idle_system().set_regions([Region(*one) for one in regions])


def set_range(streamer: Streamer, *, first: int, bins: int) -> None:
    """Read out these bins of the spectrum only; 0 bins for all."""
    streamer.idle_system().set_range(first, bins)


def set_axes(streamer: Streamer, *, aux1: str = "NONE", aux1_threshold: int = 0) -> None:
    """Tell events apart by more than energy: aux1 is a name of `constants.Aux1Mode`, NONE for energy alone."""
    if aux1 not in Aux1Mode.__members__:
        raise ConfigError(f"There is no auxiliary axis {aux1!r}.", f"There are {', '.join(Aux1Mode.__members__)}.")
    streamer.idle_system().set_axes(AuxiliaryAxes(Aux1Mode[aux1], aux1_threshold))


def set_dead_time(streamer: Streamer, *, channel: int, **changes: float | bool) -> None:
    streamer.idle_system().set_dead_time(channel, **changes)


def set_dead_time_energy(streamer: Streamer, *, kev: float) -> None:
    streamer.idle_system().set_dead_time_energy(kev)


def restore_settings(streamer: Streamer, *, directory: Path, force: bool = False) -> None:
    streamer.idle_system().restore_settings(directory, force=force)


def save_settings(streamer: Streamer, *, directory: Path, overwrite: bool = False) -> None:
    streamer.idle_system().save_settings(directory, overwrite=overwrite)


# What there is to read.


def read(streamer: Streamer, *, frame: int = -1, channel: int = -1) -> Answer:
    """One of the last frames, -1 for the latest: its spectra, (channels, bins), and its scalars; or of one channel."""
    number, spectra, record = streamer.recent.read(frame)
    names = record.dtype.names or ()
    if channel == -1:
        return {"frame": number, "spectra": spectra.tolist(), "scalars": {name: _plain(record[name]) for name in names}}
    _check_channel(streamer, channel)
    scalars = {name: _plain(record[name][..., channel]) for name in names}
    return {"frame": number, "spectra": spectra[channel].tolist(), "scalars": scalars}


def total(streamer: Streamer) -> Answer:
    """The sum of all spectra of the series, (channels, bins)."""
    recent = streamer.recent
    if recent.total is None:
        raise RequestRefused("No frame has been taken yet.", "Arm, and trigger if the mode needs it.")
    return {"frames": recent.frames, "spectra": recent.total.tolist()}


def counts(streamer: Streamer, *, window: int, channel: int, first: int, last: int) -> Answer:
    """Counts of a window in frames first to last, -1 where unknown, and the dead-time factors."""
    _check_channel(streamer, channel)
    if window not in (0, 1):
        raise ConfigError(f"There is no window {window}: they are 0 and 1.")
    numbers, factors = streamer.recent.counts(window, channel, first, last)
    return {"counts": numbers, "factors": [_finite(one) for one in factors]}


def pulse(streamer: Streamer, *, count: int = 1, period: float = 0.0) -> None:
    """Simulation only: send pulses to the trigger input, one each `period` seconds."""
    _inputs(streamer).pulse(count, period)


def gate(streamer: Streamer, *, seconds: float, count: int = 1, period: float = 0.0) -> None:
    """Simulation only: open the gate for so long, so many times."""
    _inputs(streamer).gate(seconds, count, period)


def level(streamer: Streamer, *, high: bool) -> None:
    """Simulation only: hold the trigger input; pulses and gates that are still to come, don't."""
    _inputs(streamer).level(high)


def state(streamer: Streamer) -> Answer:
    """Everything that is known of the system without asking for frames."""
    sdk, run = streamer.sdk, streamer.series
    answer: Answer = {
        "kind": "xspress3",
        "simulated": streamer.simulated is not None,
        "state": _state(streamer),
        "error": streamer.fault or streamer.error,
        "overruns": streamer.overruns,
        "series": run.id if run is not None else None,
        "timing": run.timing.model_dump() if run is not None else None,
        "expected": run.expected if run is not None else None,
        "acquired": run.acquired if run is not None else streamer.recent.frames,
        "taken": run.taken if run is not None else streamer.recent.frames,
        "triggers": run.triggers if run is not None else 0,
        "ready_for_trigger": run is not None and run.ready_for_trigger,
    }
    if sdk is None or streamer.fault is not None:
        return answer
    return answer | {
        "generation": sdk.generation.label,
        "revision": sdk.revision,
        "cards": sdk.cards,
        "channels": sdk.channels,
        "bins": sdk.bins,
        "first_bin": sdk.first_bin,
        "aux": sdk.aux,
        "capacity": sdk.capacity,
        "clock_period": sdk.clock_period,
        "ev_per_bin": streamer.config.system.ev_per_bin,
        "readout_time": sdk.readout_time,
        "event_widths": list(sdk.event_widths),
        "windows": [[list(one) for one in window] for window in sdk.windows],
        "thresholds": sdk.thresholds,
        "regions": [[one.low, one.high, one.out_bins] for one in sdk.regions],
        "dead_time": [one.model_dump() for one in sdk.dead_time],
        "dead_time_energy": sdk.dead_time_energy,
    }


def metadata(streamer: Streamer, run: HardwareSeries) -> dict[str, Any]:
    """What the header of a series says of the system, by the names of `core.metadata` where it has one."""
    values = state(streamer)
    kept = ("clock_period", "ev_per_bin", "first_bin", "windows", "thresholds", "regions", "dead_time_energy")
    timing, exposure = run.timing, streamer.system.exposure
    times = {} if exposure is None else {"count_time": exposure, "frame_time": exposure + values["readout_time"]}
    return {
        "description": f"Xspress3 ({values['generation']})",
        "firmware_version": values["revision"],
        "trigger_mode": timing.mode,
        # Without the last digits, which are not of a number of clock cycles any more.
        **{name: float(f"{seconds:.12g}") for name, seconds in times.items()},
        **{name: values[name] for name in kept},
        "dead_time_event_width": values["event_widths"],
        "dead_time_parameters": {
            name: [one[name] for one in values["dead_time"]] for name in (values["dead_time"] or [{}])[0]
        },
        "timing": timing.model_dump(),
    }


def _state(streamer: Streamer) -> str:
    run = streamer.series
    if streamer.fault is not None or streamer.sdk is None:
        return "fault"
    if run is None:
        return "idle"
    return "finishing" if run.stopping else "running" if run.started else "armed"


def _running(streamer: Streamer) -> HardwareSeries:
    if streamer.series is None:
        why = f", as its last series ended with an error: {streamer.error}" if streamer.error else ""
        raise RequestRefused(f"The Xspress3 is not armed{why}.", "Arm it first.")
    return streamer.series


def _inputs(streamer: Streamer) -> Inputs:
    if streamer.simulated is None:
        raise RequestRefused("Only a simulated Xspress3 has inputs that can be driven by request.")
    return streamer.simulated.inputs


def _check_channel(streamer: Streamer, channel: int) -> None:
    channels = streamer.system.channels
    if not 0 <= channel < channels:
        raise ConfigError(f"There is no channel {channel}: they are 0 to {channels - 1}.")


def _plain(value: Any) -> Any:
    """Nested lists that JSON can hold, which knows no infinity."""
    array = np.asarray(value)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [_plain(one) for one in array] if array.ndim else _finite(float(array))
    return array.tolist()


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _checked(function: Callable[..., Answer | None]) -> Callable[..., Answer | None]:
    return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)


SETTINGS = frozenset(
    {
        *("set_window", "set_threshold", "set_regions", "set_range", "set_axes", "set_dead_time"),
        *("set_dead_time_energy", "restore_settings"),
    }
)
"""What is carried out again when the system has been opened anew."""

INSTRUCTIONS: dict[str, Callable[..., Answer | None]] = {
    function.__name__: _checked(function)
    for function in (
        *(state, arm, trigger, release, stop, reset),
        *(set_window, set_threshold, set_regions, set_range, set_axes, set_dead_time, set_dead_time_energy),
        *(restore_settings, save_settings, read, total, counts, pulse, gate, level),
    )
}
