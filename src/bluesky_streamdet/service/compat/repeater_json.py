"""The old stream repeater's own file, which this service reads as it is.

    {"in-stream": {"name": "in_backend", "zmq_mode": "PULL", "address": "tcp://192.168.10.148:9980"},
     "out-streams": {"live": {"zmq_mode": "PUB", "port": 9666, "send_output_mode": "strides", "send_output_param": 10}}}

The old program listened to everybody and read any file of its machine that a client named. Here its REST paths are open
to this machine and to private networks, and configurations are read from the folder of this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.compat.config import LOOPBACK, PRIVATE
from bluesky_streamdet.service.compat.repeater_config import QUEUE_BYTES, SOCKETS, output_of
from bluesky_streamdet.streaming.endpoints import WRITER
from bluesky_streamdet.streaming.wording import Place

IN, OUT = "in-stream", "out-streams"
BUFFER_SIZE = 5000
AT_ONCE = {"gap_seconds": 0, "settle_seconds": 0}
"""How long a repeater waits for frames that others have overtaken."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def is_old(values: Any) -> bool:
    """Whether a whole file is of the old form."""
    return isinstance(values, Mapping) and IN in values and OUT in values


def name_of(values: Mapping[str, Any]) -> str:
    """What the service is called."""
    name = values[IN].get("name") if isinstance(values[IN], Mapping) else None
    return name if isinstance(name, str) and NAME.fullmatch(name) else "repeater"


def old_place(place: Place) -> Place:
    """Where in the old file something stands that is complained of at a path of the new form."""

    def where(path: tuple[str | int, ...]) -> str:
        return place((OUT,) if "outputs" in path else (IN,))

    return where


def convert(values: Mapping[str, Any], place: Place, folder: Path) -> dict[str, Any]:
    """The settings of the one detector, in the new form. Raises `ConfigError`, which names every line that is wrong.

    place: where the value at a path of the old file stands. folder: of the file.
    """
    faults: list[str] = []
    source = _checked(values[IN], ("address", "zmq_mode"), (IN,), place, faults)
    mode = str(source.get("zmq_mode", "PULL")).upper()
    if mode not in SOCKETS:
        faults.append(f"{place((IN, 'zmq_mode'))}: zmq_mode is {mode!r}; allowed: {', '.join(SOCKETS)}.")
    outputs = _outputs(values[OUT], place, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return {
        "type": "gigafrost",
        "source": {"endpoints": [source["address"]], "socket": SOCKETS[mode]},
        "outputs": outputs,
        "wait": dict(AT_ONCE),
        "unarmed": "forward",
        "rest": {"port": 0},
        "compat": {
            "dialect": "repeater",
            "host": "0.0.0.0",  # noqa: S104, as it was; compat.allow says who is let in
            "allow": [*LOOPBACK, *PRIVATE],
            "directory": str(folder.absolute()),
        },
    }


def _outputs(streams: Any, place: Place, faults: list[str]) -> list[dict[str, Any]]:
    if not isinstance(streams, Mapping):
        faults.append(f"{place((OUT,))}: {OUT} holds no streams, each with a name.")
        return []
    outputs: list[dict[str, Any]] = []
    for name, stream in streams.items():
        known = len(faults)
        keys = ("zmq_mode", "port", "send_output_mode", "send_output_param")
        stream = _checked(stream, keys, (OUT, str(name)), place, faults)
        if len(faults) > known:
            continue
        values = {"name": name, "port": stream["port"], "zmq_mode": stream["zmq_mode"]}
        values |= {"mode": stream["send_output_mode"], "param": stream["send_output_param"]}
        try:
            outputs.append(new_output(values))
        except ValueError as error:
            faults.append(f"{place((OUT, str(name)))}: {name}: {error}.")
    return outputs


def new_output(values: Mapping[str, Any], buffer_size: int = BUFFER_SIZE) -> dict[str, Any]:
    """An output of the old program's, as `OutputConfig` has it; see `output_of`."""
    output = {"overflow": "drop-oldest", "queue": buffer_size, "queue_bytes": QUEUE_BYTES, **output_of(values)}
    return {**output, "encoder": WRITER if output["name"] == WRITER else "as-received"}


def _checked(values: Any, keys: tuple[str, ...], path: tuple[str, ...], place: Place, faults: list[str]) -> Any:
    """The values, which must have these keys."""
    if not isinstance(values, Mapping):
        faults.append(f"{place(path)}: {path[-1]} holds no settings; it needs {', '.join(keys)}.")
        return {}
    missing = [key for key in keys if key not in values]
    if missing:
        faults.append(f"{place(path)}: {path[-1]} lacks {', '.join(missing)}.")
    return values
