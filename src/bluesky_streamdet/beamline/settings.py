"""What a beamline is made of: the YAML file, read and checked.

catalog: embedded                      # or http://tiled:8000, whose key is in TILED_API_KEY; or none
required_metadata: [proposal, sample]
detectors:
  xspress3:
    type: xspress3
    url: http://daq:8010               # or simulate: {} in place of it
    channels: 4
    regions: {Fe: Fe Ka}
devices:
  motor: {class: ophyd.EpicsMotor, prefix: "X:m1", labels: [motors]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.streaming import yamlfile
from bluesky_streamdet.streaming.endpoints import Section
from bluesky_streamdet.streaming.wording import in_words

FILE = "STREAMDET_BEAMLINE"
"""The variable that names the file."""
FOLDER = "STREAMDET_FOLDER"
"""The variable that goes before `folder`."""
NAME = r"^[A-Za-z][A-Za-z0-9_]*$"


class _Open(Section):
    """A section whose other keys go to the device as they are."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    @property
    def others(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class DetectorSection(_Open):
    """One detector of ours; the other keys are the device's keywords.

    type: "stream", whose frames a service receives, "xspress3", or "eiger", which is steered by SIMPLON at `simplon`.
    face: of ophyd, "classic", or of ophyd-async. url: of its service. simulate: in place of `url`; then it is simulated
    on this machine, with a service of its own: settings of a simulated detector, or those of the simulated SDK for an
    Xspress3. driver: what makes it take frames: the control port of a simulated detector, or
    {class: package.module.Class, keyword: value, ...}.
    """

    type: Literal["stream", "xspress3", "eiger"]
    face: Literal["classic", "async"] = "classic"
    url: str | None = None
    simulate: dict[str, Any] | None = None
    driver: str | dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> DetectorSection:
        if (self.url is None) == (self.simulate is None):
            raise ValueError("it needs either url, of its service, or simulate")
        if self.simulate is not None and self.driver is not None:
            raise ValueError("a simulated detector has a driver of its own")
        if self.type == "eiger" and (self.simulate is not None or self.driver is not None):
            raise ValueError("an eiger is steered by SIMPLON, at `simplon`; what is simulated is of type stream")
        return self


class ObjectSection(_Open):
    """Any device, or live plot; the other keys are its keywords.

    class: where it is, as "ophyd.EpicsMotor". triggers: of a simulated stage: the simulated detector that it triggers.
    """

    where: str = Field(alias="class", pattern=r"^[A-Za-z_][\w.]*\.\w+$")
    triggers: str | None = None


class BeamlineConfig(Section):
    """A beamline.

    name: in the metadata of each run, as "beamline". folder: where the catalog and the frames of simulated detectors
    lie; a temporary one, which goes with the session, when left out. frames: where the services write, for an embedded
    catalog to read. catalog: "embedded", a Tiled server on this machine that lives as long as the session; the URI of
    another; or "none". container: of the runs, in the catalog. metadata: in each run. required_metadata: what a run has
    to say, as `plans.RequiredMetadata` has it. required_metadata_but_not: names of plans that need not. record: devices
    whose values each run says, by the keys under which it does. table: whether each run prints one. progress: whether
    waits show bars. plots: live plots, by name.
    """

    name: str = "beamline"
    folder: Path | None = None
    frames: Path | None = None
    catalog: str = "embedded"
    container: str = "raw"
    metadata: dict[str, Any] = {}
    required_metadata: dict[str, Any] | list[str] = {}
    required_metadata_but_not: list[str] = []
    record: dict[str, str] = {}
    table: bool = True
    progress: bool = True
    detectors: dict[str, DetectorSection] = {}
    devices: dict[str, ObjectSection] = {}
    plots: dict[str, ObjectSection] = {}

    @model_validator(mode="after")
    def _names(self) -> BeamlineConfig:
        names = [*self.detectors, *self.devices, *self.plots]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"{', '.join(twice)} stands there twice")
        if wrong := [one for one in names if not one.isidentifier()]:
            raise ValueError(f"{', '.join(wrong)} can be no name in Python")
        if unknown := [one for one in self.record.values() if one not in self.devices]:
            raise ValueError(f"record names {', '.join(unknown)}, which is no device")
        simulated = [name for name, one in self.detectors.items() if one.simulate is not None]
        for name, one in self.devices.items():
            if one.triggers is not None and one.triggers not in simulated:
                raise ValueError(f"{name} triggers {one.triggers}, which is no simulated detector")
        return self


def find(beside: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The file that $STREAMDET_BEAMLINE names, otherwise the one beside a profile's startup files."""
    return Path(environ[FILE]).expanduser() if environ.get(FILE) else beside / "beamline.yaml"


def read(path: str | Path, environ: Mapping[str, str] = os.environ) -> BeamlineConfig:
    """Read a beamline. Raises `ConfigError`, which names file, line, value and what is allowed."""
    document = yamlfile.read(Path(path))
    try:
        config = BeamlineConfig.model_validate(document.values or {})
    except ValidationError as error:
        raise ConfigError(in_words(error.errors(include_url=False), BeamlineConfig, document.place)) from error
    if environ.get(FOLDER):
        config.folder = Path(environ[FOLDER])
    return config
