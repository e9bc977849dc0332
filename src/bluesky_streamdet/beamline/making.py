"""Devices and plots of what a beamline's file says of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from bluesky_streamdet.beamline.settings import DetectorSection, ObjectSection
from bluesky_streamdet.core.errors import ConfigError

FACES = {
    ("stream", "classic"): "bluesky_streamdet.devices.classic.StreamDetector",
    ("stream", "async"): "bluesky_streamdet.devices.asynchronous.StreamDetector",
    ("eiger", "classic"): "bluesky_streamdet.devices.eiger.classic.EigerDetector",
    ("eiger", "async"): "bluesky_streamdet.devices.eiger.asynchronous.EigerDetector",
    ("xspress3", "classic"): "bluesky_streamdet.devices.xspress3.classic.Xspress3Detector",
    ("xspress3", "async"): "bluesky_streamdet.devices.xspress3.asynchronous.Xspress3Detector",
}


def make_detector(name: str, section: DetectorSection, part: Any) -> Any:
    """A detector. part: what simulates it, None for hardware. A RunEngine has to be there for one of ophyd-async."""
    keywords: dict[str, Any] = {**(part.device if part is not None else {"url": section.url}), **section.others}
    if section.driver is not None:
        keywords["driver"] = _driver(section.driver)
    if section.face == "classic":
        return _made(FACES[section.type, "classic"], name, {"labels": ["detectors"], **keywords})
    made = _made(FACES[section.type, "async"], name, keywords)
    from bluesky.run_engine import call_in_bluesky_event_loop

    call_in_bluesky_event_loop(made.connect())
    return made


def make_device(name: str, section: ObjectSection, parts: Mapping[str, Any]) -> Any:
    """Any other device. parts: what simulates detectors, by their names."""
    keywords = section.others
    if section.triggers is not None:
        system = parts[section.triggers]
        if not hasattr(system, "pulse"):
            raise ConfigError(f"{name} can't trigger {section.triggers}.", "It can trigger a simulated Xspress3.")
        keywords |= {"give_triggers": system.pulse, "stop_triggers": system.stop_pulses}
    made = _made(section.where, name, keywords)
    if hasattr(made, "connect") and hasattr(made, "children"):
        from bluesky.run_engine import call_in_bluesky_event_loop

        call_in_bluesky_event_loop(made.connect())
    return made


def make_plot(name: str, section: ObjectSection) -> Any:
    """A callback."""
    return _called(name, section.where, section.others)


def imported(where: str) -> Any:
    """What is at "package.module.name". Raises `ConfigError`."""
    module, _, name = where.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"There is no {where}: {error}.", "Is it installed, and spelt so?") from error


def _driver(said: str | dict[str, Any]) -> Any:
    if isinstance(said, str):
        return said
    keywords = dict(said)
    where = keywords.pop("class", None)
    if not isinstance(where, str):
        raise ConfigError("A driver is the control port of a simulated detector, or {class: package.module.Class}.")
    return _called("the driver", where, keywords)


def _made(where: str, name: str, keywords: dict[str, Any]) -> Any:
    if "labels" in keywords:
        keywords["labels"] = set(keywords["labels"])
    return _called(name, where, {"name": name, **keywords})


def _called(name: str, where: str, keywords: dict[str, Any]) -> Any:
    try:
        return imported(where)(**keywords)
    except TypeError as error:
        raise ConfigError(f"{name} can't be made: {error}.", f"It is a {where}.") from error
