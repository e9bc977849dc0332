"""The stream receiver's `detectors.yaml`, which this service reads as it is.

    nanomax-eiger:
      class: Eiger
      dcu_host_purple: 172.18.1.244       # one host, or a list
      dcu_port_purple: 9999               # one port, or as many as hosts
      api_port: 5000
      data_port: 23009
      dset_name: /entry/instrument/eiger/data
      nworkers: 1
      pipeline: PilatusPipeline           # with rotate, compress, mask, tot

The old program listened to everybody and wrote wherever a header said. Here the secondary port is open as it was, the
old REST paths are open to this machine and to private networks, and files lie in the data directory: a name in a header
counts when it is inside of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.compat.config import DIALECTS, LOOPBACK, PRIVATE
from bluesky_streamdet.streaming.wording import Place

VARIABLE = "DETECTOR_CONFIG"
"""A detector's settings as JSON, as the old program handed them on; they go before those of the file."""
DATA_PORT = 9999
HOST = "dcu_host_purple"


class _Class(NamedTuple):
    """A class of the old program: row of the catalog, and the port of its first input."""

    type: str
    port: int = DATA_PORT
    inputs: int = 1


CLASSES = {
    "Detector": _Class("stins"),
    "Eiger": _Class("eiger"),
    "Lambda": _Class("lambda", 9010, 4),
    "DectrisStream2": _Class("eiger-stream2", 31001),
    "Jungfrau": _Class("jungfraujoch-preview", 2345),
    "PsiEiger": _Class("psi-eiger", 30001, 2),
}
PIPELINES = {"PilatusPipeline": "pilatus", "OrcaPipeline": "orca"}
"""What a `Detector` with a pipeline is in the catalog."""

PLACES = {
    "type": "class",
    "source": "dcu_host_purple",
    "compat": "api_port",
    "outputs": "data_port",
    "transforms": "pipeline",
    "compress": "compress",
    "workers": "nworkers",
    "files": "dset_name",
}
"""From what in the old file each part of the new form comes."""
KEYS = (
    *("class", "dcu_host_purple", "dcu_port_purple", "nworkers", "api_port", "data_port", "dset_name", "pipeline"),
    *("rotate", "compress", "mask", "tot"),
)


def is_old(values: Any) -> bool:
    """Whether a whole file is of the old form: named detectors at its top, each with a class and a host."""
    return (
        isinstance(values, Mapping)
        and "detectors" not in values
        and any(isinstance(one, Mapping) and ("class" in one or HOST in one) for one in values.values())
    )


def with_environment(old: Any, environ: Mapping[str, str]) -> Any:
    """A detector's old settings with those of `DETECTOR_CONFIG` before them. Raises `ConfigError`."""
    if VARIABLE not in environ or not isinstance(old, Mapping):
        return old
    try:
        changes = json.loads(environ[VARIABLE])
    except ValueError as error:
        raise ConfigError(f"The environment variable {VARIABLE} is no JSON: {error}.") from error
    if not isinstance(changes, dict):
        raise ConfigError(f"The environment variable {VARIABLE} holds no settings, but {changes!r}.")
    return {**old, **changes}


def old_place(place: Place) -> Place:
    """Where in the old file something stands that is complained of at a path of the new form."""

    def where(path: tuple[str | int, ...]) -> str:
        _, name, *rest = (*path, "", "")
        return place((name, PLACES.get(str(rest[0]), "class")) if rest else (name,))

    return where


def convert(name: str, old: Any, place: Place) -> dict[str, Any]:
    """Detector `name` in the new form. Raises `ConfigError`, which names the line.

    place: where the value at a path of the old file stands.
    """
    if not isinstance(old, Mapping):
        raise ConfigError(f"{place((name,))}: {name} is no detector; it needs at least class and dcu_host_purple.")
    for key in old:
        if key not in KEYS:
            raise ConfigError(f"{place((name, key))}: there is no setting {key!r}; allowed: {', '.join(KEYS)}.")
    kind = _choose(old, "class", CLASSES, (name, "class"), place)
    pipeline = _choose(old, "pipeline", PIPELINES, (name, "pipeline"), place) if old.get("pipeline") else None
    new: dict[str, Any] = {
        "type": pipeline if pipeline is not None else kind.type,
        "source": {"endpoints": _endpoints(name, old, kind, place)},
        "files": {"stream_names": True},
        "rest": {"port": 0},
        "compat": {
            "dialect": "receiver",
            "host": "0.0.0.0",  # noqa: S104, as it was; compat.allow says who is let in
            "port": old.get("api_port", DIALECTS["receiver"]),
            "allow": [*LOOPBACK, *PRIVATE],
        },
    }
    if old.get("dset_name"):
        new["files"]["also_at"] = f"/{str(old['dset_name']).strip('/')}"
    if old.get("data_port"):
        new["outputs"] = [{"name": "secondary", "address": f"tcp://*:{old['data_port']}"}]
    new |= _of_pixels(old, pipeline or kind.type)
    if pipeline is not None and old.get("nworkers"):
        new["workers"] = old["nworkers"]
    return new


def _choose(old: Mapping[str, Any], key: str, known: Mapping[str, Any], path: tuple[str, ...], place: Place) -> Any:
    value = str(old.get(key))
    if value not in known:
        raise ConfigError(f"{place(path)}: {key} is {value!r}; allowed: {', '.join(known)}.")
    return known[value]


def _endpoints(name: str, old: Mapping[str, Any], kind: _Class, place: Place) -> list[str]:
    hosts, ports = old.get("dcu_host_purple"), old.get("dcu_port_purple")
    if not hosts:
        raise ConfigError(f"{place((name,))}: {name} has no dcu_host_purple, the host that the detector sends from.")
    hosts = hosts if isinstance(hosts, list) else [hosts] * kind.inputs
    ports = kind.port if ports is None else ports
    if isinstance(ports, int) and kind.inputs > 1:
        ports = [ports + index for index in range(len(hosts))]
    ports = ports if isinstance(ports, list) else [ports] * len(hosts)
    if len(ports) != len(hosts):
        raise ConfigError(
            f"{place((name, 'dcu_port_purple'))}: {len(ports)} ports for {len(hosts)} hosts.",
            "Give one port for all, or one for each host.",
        )
    return [f"tcp://{host}:{port}" for host, port in zip(hosts, ports, strict=True)]


def _of_pixels(old: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What is done to the pixels of a detector of this row, as the old program did it."""
    match kind:
        case "pilatus":
            return {"transforms": _of_pilatus(old), "compress": "bslz4" if old.get("compress", True) else "none"}
        case "orca":
            # Its clients got pixels, which the old program only unpacked.
            return {"compress": "none"}
        case "eiger":
            # As the old one did, by `rotate` of the header appendix.
            return {"transforms": ["rotate_if_told"]}
        case "psi-eiger":
            return {"transforms": ["psi_eiger"]}
    return {}


def _of_pilatus(old: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of the old pipeline, in its order."""
    steps: list[dict[str, Any]] = []
    if old.get("tot"):
        steps.append({"tot": {"tensor": f"{old['tot']}#tot_to_energy_tensor"}})
    if old.get("rotate"):
        steps.append({"rotate": {"quarter_turns": -1}})
    if old.get("mask"):
        steps.append({"mask": {"rectangles": [old["mask"]], "value": -1}})
    return steps
