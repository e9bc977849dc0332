"""What has to be known of an Xspress3 system before it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bluesky_streamdet.streaming.config import Section
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig


class SystemConfig(Section):
    """One Xspress3 system, of one or several cards.

    library: the SDK's shared library; searched for when left out. cards: how many. max_frames: frames that each
    channel's buffer holds. address, port, mac: where the cards are, the SDK's defaults when left out. channels: -1 for
    all there are. settings: directory of the settings that are restored at the start. clock: "auto" takes what is
    right for the generation. event_widths: in clock cycles, one for each channel, in place of those that the
    settings say. simulate: no hardware, but a simulated library.
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
    simulate: SimulationConfig | None = None
