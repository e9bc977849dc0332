"""How a detector is set up for a run, and how its own parameters say that. No thread, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.eiger.simplon import Simplon, UnknownParameter

SoftwareMode = Literal["ints", "inte"]
ExternalMode = Literal["exts", "exte"]
HeaderDetail = Literal["none", "basic", "all"]
FORMATS = {1: "legacy", 2: "cbor"}
"""What SIMPLON calls the versions of the stream."""
MOST_THRESHOLDS = 4
MOST_FRAMES = (1 << 31) - 1
"""Of a series, triggers times frames of each."""
CONFIG = "detector/config"
STREAM = "stream/config"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a plan does not say. Zeros and empty ones are left as the detector has them.

    stream: version of the stream that the service receives, 1 or 2. frame_time: s from one frame to the next; 0 for the
    exposure and the time that reading takes. photon_energy: eV; the detector then sets thresholds to a half of it,
    unless `thresholds` says otherwise: eV each; those beyond are switched off. Several need stream 2.

    software_mode: "ints", each trigger of ours takes the frames of an event; or "inte", one frame.
    external_mode: "exts", each edge of a cable starts one frame of the exposure; or "exte", each level is one, as long
    as it lasts.

    user_data: anything that JSON can hold; goes into the header of the stream.
    """

    stream: int = 1
    frame_time: float = 0.0
    photon_energy: float = 0.0
    thresholds: tuple[float, ...] = ()
    roi_mode: str = ""
    compression: str = "bslz4"
    header_detail: HeaderDetail = "basic"
    software_mode: SoftwareMode = "ints"
    external_mode: ExternalMode = "exts"
    user_data: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("software_mode", SoftwareMode),
            ("external_mode", ExternalMode),
            ("header_detail", HeaderDetail),
        ):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it may be {', '.join(get_args(allowed))}.")
        if self.stream not in FORMATS:
            raise ConfigError(f"There is no stream version {self.stream!r}.", "It is 1 or 2.")
        for name in ("frame_time", "photon_energy"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} can't be {getattr(self, name)!r}.", "Give more than 0, or 0 for any.")
        if len(self.thresholds) > MOST_THRESHOLDS or not all(one > 0 for one in self.thresholds):
            raise ConfigError(
                f"Thresholds can't be {self.thresholds}.", f"Give energies in eV, at most {MOST_THRESHOLDS}."
            )
        if len(self.thresholds) > 1 and self.stream == 1:
            raise ConfigError("Stream version 1 has frames of one threshold only.", "Take version 2 for several.")

    def mode(self, external: bool, frames: int) -> str:
        """SIMPLON's trigger mode. Raises `ConfigError` for one that can't take so many frames a trigger."""
        mode = self.external_mode if external else self.software_mode
        if mode == "inte" and frames > 1:
            raise ConfigError(
                f"A detector in trigger mode inte takes one frame a trigger, and not {frames}.",
                "Set its software mode to ints, or take one frame an event.",
            )
        return mode


def as_text(user_data: Any) -> str:
    """User data as the text that a signal can hold. Raises `ConfigError`."""
    if isinstance(user_data, str):
        return user_data
    try:
        return json.dumps(user_data)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"These user data can't be sent: {error}.", "Give what JSON can hold.") from error


def write_beam(simplon: Simplon, settings: Settings) -> None:
    """Set what concerns the beam and the picture. Raises what the detector refuses."""
    if settings.roi_mode:
        simplon.set(f"{CONFIG}/roi_mode", settings.roi_mode)
    if settings.photon_energy:
        simplon.set(f"{CONFIG}/photon_energy", settings.photon_energy)
    _write_thresholds(simplon, settings.thresholds)
    simplon.set(f"{CONFIG}/compression", settings.compression)


def _write_thresholds(simplon: Simplon, energies: Sequence[float]) -> None:
    if not energies:
        return
    simplon.set(f"{CONFIG}/threshold_energy", energies[0])
    if len(energies) > 1:
        simplon.set(f"{CONFIG}/threshold/1/mode", "enabled")
    for number in range(2, MOST_THRESHOLDS + 1):
        place = f"{CONFIG}/threshold/{number}"
        if number <= len(energies):
            simplon.set(f"{place}/mode", "enabled")
            simplon.set(f"{place}/energy", energies[number - 1])
        else:
            try:
                simplon.set(f"{place}/mode", "disabled")
            except UnknownParameter:
                return  # It has no more of them.


def write_timing(simplon: Simplon, settings: Settings, exposure: float) -> float:
    """Set exposure and time of a frame; the latter, in s. Raises `ConfigError` when the detector takes others."""
    # The detector brings one in line when the other would not fit it.
    simplon.set(f"{CONFIG}/count_time", exposure)
    shortest = exposure + float(simplon.value(f"{CONFIG}/detector_readout_time"))
    if 0 < settings.frame_time < exposure:
        raise ConfigError(
            f"A frame of {settings.frame_time:g} s can't have an exposure of {exposure:g} s.",
            f"Set frame_time to {shortest:g} s or more, or to 0 for the shortest.",
        )
    simplon.set(f"{CONFIG}/frame_time", settings.frame_time or shortest)
    taken = simplon.parameter(f"{CONFIG}/count_time")
    if abs(float(taken.value) - exposure) > max(1e-3 * exposure, 1e-6):
        raise ConfigError(
            f"The detector at {simplon.url} takes an exposure of {taken.value:g} s in place of {exposure:g} s.",
            "Give one that it can take, or a longer frame_time.",
        )
    return float(simplon.value(f"{CONFIG}/frame_time"))


def write_series(simplon: Simplon, settings: Settings, frames: int, triggers: int, external: bool) -> None:
    """Set how many frames come, of which triggers. Raises what the detector refuses."""
    simplon.set(f"{CONFIG}/trigger_mode", settings.mode(external, frames))
    simplon.set(f"{CONFIG}/nimages", frames)
    most = simplon.parameter(f"{CONFIG}/ntrigger").max
    limit = MOST_FRAMES // frames
    simplon.set(f"{CONFIG}/ntrigger", max(1, min(triggers, limit, limit if most is None else int(most))))


def write_stream(simplon: Simplon, settings: Settings, series: Mapping[str, Any]) -> None:
    """Have the detector stream. series: what the header says of the service's series."""
    appendix: dict[str, Any] = dict(series)
    if settings.user_data:
        appendix["user_data"] = _of_json(settings.user_data)
    try:
        simplon.set(f"{STREAM}/format", FORMATS[settings.stream])
    except UnknownParameter:
        if settings.stream != 1:
            raise
    simplon.set(f"{STREAM}/mode", "enabled")
    simplon.set(f"{STREAM}/header_detail", settings.header_detail)
    # A part of a message in version 1, a value in version 2.
    simplon.set(f"{STREAM}/header_appendix", json.dumps(appendix) if settings.stream == 1 else appendix)


def _of_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
