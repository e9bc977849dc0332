"""The configuration of a service: a YAML file of named detectors, or a row of the catalog with its defaults.

    detectors:
      eiger1:
        type: eiger                               # a row of the catalog: format, kind of socket
        source: {endpoints: [tcp://172.16.0.5:9999]}
        files: {directory: /data/visitors}
        rest: {port: 8011}

The environment goes before the file: `STREAMDET_REST__PORT=8012` sets `rest.port` of the detector that is served, and
so for every setting; `LOG_LEVEL` and `STREAMDET_LOG_LEVEL` set `log_level`. What is wrong is a `ConfigError` that names
the place, the value and the values that are allowed.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from bluesky_streamdet.catalog import CODECS, DETECTORS, endpoints_of
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.compat import detectors_yaml, repeater_json
from bluesky_streamdet.service.compat.config import CompatConfig, with_usual
from bluesky_streamdet.streaming import yamlfile
from bluesky_streamdet.streaming.config import DataPlaneConfig, PlaneConfig
from bluesky_streamdet.streaming.endpoints import Section
from bluesky_streamdet.streaming.wording import Place, in_words

PREFIX = "STREAMDET_"
SEPARATOR = "__"
UNKNOWN = "unknown"


class RestConfig(Section):
    """Where the service answers, and to whom.

    host, port: port 0 takes any that is free. api_key_file: a file that holds the key, for a service whose key shall
    outlive it; otherwise each start makes a new one. allowed_hosts: names that clients may call this machine by,
    besides those it has.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8010, ge=0, le=65535)
    api_key_file: Path | None = None
    allowed_hosts: list[str] = []


class WatchConfig(Section):
    """When the control plane worries about its data plane, in seconds.

    start: a new data plane must answer within this. answer: so long it may take to answer a request. slow: when it has
    been silent for longer, the status says so. silent: for longer still, the state is error, and a data plane without a
    series is started anew. drain: what an ending data plane may take to write what is on its way.
    """

    start: float = Field(default=60.0, gt=0)
    answer: float = Field(default=5.0, gt=0)
    slow: float = Field(default=3.0, gt=0)
    silent: float = Field(default=30.0, gt=0)
    drain: float = Field(default=15.0, gt=0)


class ServedDetector(PlaneConfig):
    """One detector's data plane and its service, wherever frames come from.

    PLANE, SERVICE: the modules that are run as the data plane's process, and as a service for another program.
    """

    PLANE: ClassVar[str] = "bluesky_streamdet.streaming.process"
    SERVICE: ClassVar[str] = "bluesky_streamdet.service"

    rest: RestConfig = RestConfig()
    compat: CompatConfig | None = None
    watch: WatchConfig = WatchConfig()

    @property
    @abstractmethod
    def kind(self) -> str:
        """What kind of detector it is, in a word."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where frames come from, in words."""

    @abstractmethod
    def data_plane(self, *, again: bool = False) -> PlaneConfig:
        """The part that the data plane has to know. again: it takes the place of one that died."""

    def changed(self, **changes: Any) -> Self:
        """The same with other settings, checked as a whole. Raises `ConfigError`, which names all that is wrong."""
        try:
            return type(self).model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise ConfigError(in_words(error.errors(include_url=False), type(self))) from error


class DetectorConfig(ServedDetector, DataPlaneConfig):
    """A detector that sends. `type` is a row of `catalog.DETECTORS`.

    The row gives `codec`, `source.socket` and `transforms` where they are left out, and an old program whose clients
    are answered what that did; see `compat.config.USUAL`.
    """

    type: str = Field(json_schema_extra=lambda schema: schema.update(enum=list(DETECTORS)))

    @property
    def kind(self) -> str:
        return self.type

    @property
    def origin(self) -> str:
        return ", ".join(self.source.endpoints)

    @model_validator(mode="before")
    @classmethod
    def _take_defaults_from_the_catalog(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        row = DETECTORS.get(str(values.get("type")))
        values = {"codec": row.codec if row else UNKNOWN, **values}
        values = with_usual(values)
        source = values.get("source")
        if row and row.transforms:
            values = {"transforms": list(row.transforms), **values}
        if row and isinstance(source, dict):
            values["source"] = {"socket": row.socket, "modules": row.modules > 1, **source}
        return values

    @field_validator("type")
    @classmethod
    def _is_in_the_catalog(cls, name: str) -> str:
        if name not in DETECTORS:
            raise ValueError(f"no such detector; allowed: {', '.join(DETECTORS)}")
        return name

    @field_validator("codec")
    @classmethod
    def _is_a_codec(cls, name: str) -> str:
        # An unknown type has no codec, and is complained of itself.
        if name not in CODECS and name != UNKNOWN:
            raise ValueError(f"no such format; allowed: {', '.join(CODECS)}")
        return name

    def data_plane(self, *, again: bool = False) -> DataPlaneConfig:
        """The part that the data plane has to know. The run of a std-det-writer does not begin `again`."""
        own = set(type(self).model_fields) - set(DataPlaneConfig.model_fields)
        plane = DataPlaneConfig.model_validate(self.model_dump(exclude=own))
        if again and any(output.writer is not None for output in plane.outputs):
            # It would count the images of its run from 0 again, over the file that is there.
            plane.outputs = [output.model_copy(update={"writer": None}) for output in plane.outputs]
        return plane


Kind = TypeVar("Kind", bound=ServedDetector)
WRITE_THEM = "Write its detectors under `detectors:`, each with a name and a type."


class ServiceConfig(Section, Generic[Kind]):
    """A whole file: the detectors by their names. rest: where one service answers for several of them."""

    detectors: dict[str, Kind] = Field(min_length=1)
    rest: RestConfig = RestConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_detectors(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("detectors"), dict):
            return values
        named = {
            name: {**detector, "detector": str(name)} if isinstance(detector, dict) else detector
            for name, detector in values["detectors"].items()
        }
        return {**values, "detectors": named}


def load(
    path: Path, name: str | None = None, environ: Mapping[str, str] = os.environ, model: type[Kind] = DetectorConfig
) -> Kind:
    """Detector `name` of a file; None takes the only one there is. Raises `ConfigError`.

    model: the kind of detector that it has to be.
    """
    document = yamlfile.read(path)
    if detectors_yaml.is_old(document.values):
        return _from_old(document, name, environ, model)
    if repeater_json.is_old(document.values):
        name = repeater_json.name_of(document.values)
        values = {"detectors": {name: repeater_json.convert(document.values, document.place, path.parent)}}
        return validated(values, name, environ, repeater_json.old_place(document.place), model)
    if document.values is None:
        raise ConfigError(f"{path} is empty.", WRITE_THEM)
    values = document.values if isinstance(document.values, dict) else {"detectors": document.values}
    detectors = values.get("detectors")
    if isinstance(detectors, dict) and detectors:
        name = _choice(path, name, [str(one) for one in detectors])
        values = {**values, "detectors": {name: detectors[name]}}
    return validated(values, name or "", environ, document.place, model)


def load_cameras(
    path: Path, chosen: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> tuple[list[DetectorConfig], RestConfig]:
    """Several detectors of a file, all of them unless some are named, and where one service answers for them.

    Raises `ConfigError`, which names all that is wrong with any of them.
    """
    cameras, complaints = [], []
    for name in dict.fromkeys(chosen or names(path)):
        try:
            cameras.append(load(path, name, environ))
        except ConfigError as error:
            complaints.append(str(error))
    if complaints:
        raise ConfigError("\n".join(dict.fromkeys(complaints)))
    values = yamlfile.read(path).values
    changed, _ = _with_environment({"rest": values.get("rest")}, environ, DetectorConfig)
    return cameras, RestConfig.model_validate(changed["rest"] or {})


def names(path: Path) -> list[str]:
    """The detectors of a file. Raises `ConfigError`."""
    values = yamlfile.read(path).values
    if repeater_json.is_old(values):
        return [repeater_json.name_of(values)]
    detectors = values.get("detectors", values) if isinstance(values, dict) else None
    if not isinstance(detectors, dict) or not detectors:
        raise ConfigError(f"{path} holds no detectors.", WRITE_THEM)
    return [str(name) for name in detectors]


def _from_old(document: yamlfile.Document, name: str | None, environ: Mapping[str, str], model: type[Kind]) -> Kind:
    """Detector `name` of the stream receiver's own file."""
    name = _choice(document.path, name, [str(one) for one in document.values])
    old = detectors_yaml.with_environment(document.values[name], environ)
    values = {"detectors": {name: detectors_yaml.convert(name, old, document.place)}}
    return validated(values, name, environ, detectors_yaml.old_place(document.place), model)


def for_environment(environ: Mapping[str, str] = os.environ) -> DetectorConfig:
    """The detector that `DETECTOR_CONFIG` describes, as the stream receiver handed it on. Raises `ConfigError`."""
    variable, name = detectors_yaml.VARIABLE, "detector"

    def place(_: object) -> str:
        return f"the environment variable {variable}"

    old = detectors_yaml.with_environment({}, environ)
    values = {"detectors": {name: detectors_yaml.convert(name, old, place)}}
    return validated(values, name, environ, place)


def for_row(
    row: str,
    endpoint: str | None = None,
    directory: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> DetectorConfig:
    """A detector of the catalog, served without a file. It is called as its row. Raises `ConfigError`.

    endpoint: where frames come from; left out, its simulator's address on this machine.
    """
    if row not in DETECTORS:
        raise ConfigError(f"There is no detector {row!r}.", f"The catalog has: {', '.join(DETECTORS)}.")
    endpoints = endpoints_of(endpoint or f"tcp://127.0.0.1:{DETECTORS[row].port}", DETECTORS[row].modules)
    values: dict[str, Any] = {"type": row, "source": {"endpoints": endpoints}}
    if directory is not None:
        values["files"] = {"directory": str(directory)}
    return validated({"detectors": {row: values}}, row, environ)


def _choice(path: Path, name: str | None, names: list[str]) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise ConfigError(f"{path} holds several detectors: {', '.join(names)}.", "Say which one, behind the file.")
    if name not in names:
        raise ConfigError(f"{path} has no detector {name!r}.", f"It has: {', '.join(names)}.")
    return name


def validated(
    values: dict[str, Any],
    name: str,
    environ: Mapping[str, str],
    place: Place = lambda _: "the command line",
    model: type[Kind] = DetectorConfig,
) -> Kind:
    """Detector `name` of `values`, which are of the form of a file, and of the environment. Raises `ConfigError`."""
    variables: dict[tuple[str, ...], str] = {}
    detectors = values.get("detectors")
    if isinstance(detectors, dict) and isinstance(detectors.get(name), dict):
        changed, variables = _with_environment(detectors[name], environ, model)
        values = {**values, "detectors": {name: changed}}

    def where(path: tuple[str | int, ...]) -> str:
        found = next((one for key, one in variables.items() if path[2 : 2 + len(key)] == key), None)
        return f"the environment variable {found}" if found else place(path)

    try:
        config = ServiceConfig[model].model_validate(values).detectors[name]
    except ValidationError as error:
        raise ConfigError(in_words(error.errors(include_url=False), ServiceConfig[model], where)) from error
    # The data plane, the records and their readers must agree on it wherever each of them runs.
    config.files.directory = config.files.directory.expanduser().absolute()
    return config


def _with_environment(
    detector: dict[str, Any], environ: Mapping[str, str], model: type[ServedDetector]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """The settings with those of the environment in their places, and the variable that each of these came from."""
    variables: dict[tuple[str, ...], str] = {("log_level",): "LOG_LEVEL"} if "LOG_LEVEL" in environ else {}
    for name in sorted(environ):
        first, *rest = name.removeprefix(PREFIX).lower().split(SEPARATOR)
        # Other variables of this prefix are not settings of a detector, such as the API key.
        if name.startswith(PREFIX) and first in model.model_fields:
            variables[first, *rest] = name
    for path, variable in variables.items():
        value = environ[variable].upper() if path == ("log_level",) else yamlfile.value_of(environ[variable])
        detector = _with(detector, path, value)
    return detector, variables


def _with(values: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of `values` with `value` at `path`."""
    values = values if isinstance(values, dict) else {}
    first, *rest = path
    return {**values, first: _with(values.get(first), rest, value) if rest else value}
