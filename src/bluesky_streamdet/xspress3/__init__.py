"""Xspress3 and its successors: the vendor's SDK in Python, a simulation of it, and the streamer that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bluesky_streamdet.xspress3.sdk import Xspress3 as Xspress3
    from bluesky_streamdet.xspress3.timing import Timing as Timing

_HOMES = {"Xspress3": "sdk", "Timing": "timing"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: most of this package has no use for the SDK."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
