"""The configuration of a service that owns an Xspress3: a YAML file like those of other detectors.

    detectors:
      xspress3:
        system: {cards: 1, settings: /home/xspress3/settings}    # or {simulate: {channels: 4}}
        files: {directory: /data/visitors}
        rest: {port: 8012}

Frames leave by three ports: a lossless one for whoever writes, one for everybody else, and the latest on request.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from bluesky_streamdet.service.config import ServedDetector, validated
from bluesky_streamdet.streaming.config import PlaneConfig
from bluesky_streamdet.streaming.endpoints import OutputConfig, Section
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig

DATA_PORT, PUBLIC_PORT, MONITOR_PORT = 9999, 9997, 9998
"""Where frames leave: without loss, for everybody, and the latest on request."""


class SystemConfig(Section):
    """One Xspress3 system, of one or several cards.

    library: the SDK's shared library; searched for when left out. cards: how many. max_frames: frames that each
    channel's buffer holds. address, port, mac: where the cards are, the SDK's defaults when left out. channels: -1 for
    all there are. settings: directory of the settings that are restored at the start. clock: "auto" takes what is
    right for the generation. event_widths: in clock cycles, one for each channel, in place of those that the
    settings say. ev_per_bin: energy of a bin, for whoever shows spectra. simulate: no hardware, but a simulated
    library, of as many cards unless it says otherwise.
    """

    library: str | None = None
    cards: int = Field(default=1, ge=1, le=16)
    max_frames: int = Field(default=16384, ge=1)
    address: str | None = None
    port: int = -1
    mac: str | None = None
    channels: int = -1
    name: str | None = None
    settings: Path | None = None
    clock: Literal["auto", "internal", "xtal", "external"] = "auto"
    debug: int = -1
    event_widths: list[int] = []
    ev_per_bin: float = Field(default=10.0, gt=0)
    simulate: SimulationConfig | None = None

    @model_validator(mode="after")
    def _simulates_all_cards(self) -> SystemConfig:
        simulated = self.simulate
        if simulated is not None and "cards" not in simulated.model_fields_set:
            if simulated.channels % self.cards:
                raise ValueError(f"{simulated.channels} channels cannot be spread evenly over {self.cards} cards")
            self.simulate = simulated.model_copy(update={"cards": self.cards})
        return self


def _ports() -> list[OutputConfig]:
    return [
        OutputConfig(name="data", address=f"tcp://127.0.0.1:{DATA_PORT}", kind="push", overflow="wait"),
        OutputConfig(name="public", address=f"tcp://127.0.0.1:{PUBLIC_PORT}", kind="pub"),
    ]


class Xspress3Plane(PlaneConfig):
    """A data plane that owns an Xspress3 system.

    recent_frames: how many of the last frames can be read back by number. start: the arguments of a first series, which
    begins at once.
    """

    system: SystemConfig = SystemConfig()
    outputs: list[OutputConfig] = Field(default_factory=_ports)
    monitor: str | None = f"tcp://127.0.0.1:{MONITOR_PORT}"
    recent_frames: int = Field(default=100, ge=1)
    start: dict[str, Any] | None = None


class Xspress3Config(Xspress3Plane, ServedDetector):
    """An Xspress3 system and its service."""

    PLANE: ClassVar[str] = "bluesky_streamdet.xspress3.plane"
    SERVICE: ClassVar[str] = "bluesky_streamdet.xspress3"

    type: Literal["xspress3"] = "xspress3"

    @property
    def kind(self) -> str:
        return "Xspress3"

    @property
    def origin(self) -> str:
        system = self.system
        if system.simulate is not None:
            return f"a simulated {system.simulate.generation} of {system.simulate.channels} channels"
        return f"{system.cards} card{'s' if system.cards > 1 else ''} at {system.address or 'the usual address'}"

    def data_plane(self, *, again: bool = False) -> Xspress3Plane:
        """The part that the data plane has to know. The first series is begun once, and not again after a crash."""
        own = set(type(self).model_fields) - set(Xspress3Plane.model_fields)
        return Xspress3Plane.model_validate(self.model_dump(exclude=own | ({"start"} if again else set())))


def for_system(
    values: Mapping[str, Any], name: str = "xspress3", environ: Mapping[str, str] = os.environ
) -> Xspress3Config:
    """A service without a file, of settings as in a file. Raises `ConfigError`."""
    return validated({"detectors": {name: dict(values)}}, name, environ, model=Xspress3Config)
