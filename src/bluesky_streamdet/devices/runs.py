"""The runs that are open in this process: what their start documents say goes into the files of detectors.

    from bluesky_streamdet.devices.runs import run_starts
    RE.subscribe(run_starts)

A device is staged before its run is opened, mostly, and sees no documents. So it looks here when it takes frames.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

MOST_RUNS = 100
"""Open at once; the oldest of more is forgotten."""
LARGEST = 512 << 10
"""Bytes of a start document, as JSON, that a file gets; the largest values of a larger one are left out."""
LEFT_OUT = "left_out"


class RunStarts:
    """Keeps the start documents of runs until they are over. Subscribe it to the RunEngine."""

    def __init__(self) -> None:
        self._starts: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        with self._lock:
            if name == "start":
                while len(self._starts) >= MOST_RUNS:
                    del self._starts[next(iter(self._starts))]
                self._starts[document["uid"]] = document
            elif name == "stop":
                self._starts.pop(document["run_start"], None)

    def of(self, device: str) -> dict[str, Any] | None:
        """The start document of the newest open run that names the device among its detectors, otherwise of the newest.

        None while no run is open.
        """
        with self._lock:
            newest_first = list(reversed(self._starts.values()))
        named = (one for one in newest_first if device in _names(one.get("detectors")))
        start = next(named, newest_first[0] if newest_first else None)
        return _bounded(start) if start is not None else None


run_starts = RunStarts()
"""Where every device looks."""


def _bounded(start: Mapping[str, Any]) -> dict[str, Any]:
    """The document without its largest values, which `left_out` names, where it is too large as a whole."""
    kept, left_out = _plain(start), []
    sizes = {key: len(json.dumps(value)) + len(key) for key, value in kept.items()}
    for key in sorted(sizes, key=lambda one: sizes[one], reverse=True):
        if sum(sizes[one] for one in kept) <= LARGEST:
            break
        del kept[key]
        left_out.append(key)
    return {**kept, LEFT_OUT: left_out} if left_out else kept


def _names(said: Any) -> list[Any]:
    return list(said) if isinstance(said, list | tuple) else []


def _plain(said: Any) -> Any:
    """What JSON can hold of a document, in which plans may say anything."""
    if isinstance(said, Mapping):
        return {str(key): _plain(value) for key, value in said.items()}
    if isinstance(said, list | tuple | set | frozenset):
        return [_plain(one) for one in said]
    if isinstance(said, np.ndarray | np.generic):
        return _plain(said.tolist())
    return said if said is None or isinstance(said, str | int | float) else str(said)
