"""What there is in a session, in words."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from bluesky_streamdet import plans

if TYPE_CHECKING:
    from bluesky_streamdet.beamline.session import Beamline


def overview(beamline: Beamline) -> str:
    """Names and what they are: devices, plots, plans; nothing is asked of anything that has not started."""
    lines = [f"Beamline {beamline.config.name}."]
    lines += ["RE(plan) runs a plan; Ctrl-C twice pauses it, then RE.resume() or RE.abort()."]
    if beamline.db is not None:
        lines += ["db[-1] is the last run, db[-1].primary.read() its data."]
    lines += _part("Detectors", {name: _detector(beamline, name) for name in beamline.detectors})
    lines += _part("Devices", {name: type(one).__name__ for name, one in beamline.devices.items()})
    lines += _part("Live plots", {name: _plot(one) for name, one in beamline.plots.items()})
    listed = {name: _first_line(one) for name, one in _plans().items()}
    lines += _part("Plans, besides those of bluesky.plans; `fly?` tells of one", listed)
    lines += ["", f"Frames are in {beamline.frames}."]
    return "\n".join(lines)


def _part(title: str, said: dict[str, str]) -> list[str]:
    if not said:
        return []
    width = max(map(len, said)) + 2
    return ["", f"{title}:", *(f"  {name:<{width}}{text}" for name, text in said.items())]


def _detector(beamline: Beamline, name: str) -> str:
    section = beamline.config.detectors[name]
    place = "simulated" if section.url is None else section.url
    return f"{type(beamline.detectors[name]).__name__}, {place}"


def _plot(plot: Any) -> str:
    kind, where = type(plot).__name__, getattr(plot, "surface", None)
    return kind if where is None else f"{kind}, {where}"


def _plans() -> dict[str, Any]:
    named = {name: getattr(plans, name) for name in plans.__all__}
    return {name: one for name, one in named.items() if getattr(one, "_is_plan_", False)}


def _first_line(one: Any) -> str:
    return (inspect.getdoc(one) or "").split("\n", 1)[0]
