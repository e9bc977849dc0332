"""What clients ask of a service, and one plane of the other; `status` has what they are told."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from bluesky_streamdet.core.quantities import check
from bluesky_streamdet.streaming.endpoints import Outputs, SourceConfig
from bluesky_streamdet.streaming.status import FrameReport, Problem, SeriesReport, Status

START = "start_document"
"""The parameter of a series that is Bluesky's start document of its run."""
MOST_FRAMES = 1 << 53
"""Of a series. Any client can count them so far, and a ledger can keep twice as many."""


class Model(BaseModel):
    """What is asked; what nobody knows is refused."""

    model_config = ConfigDict(extra="forbid")


def _checked(parameters: dict[str, Any]) -> dict[str, Any]:
    check(parameters, apart=frozenset({START}))
    return parameters


Parameters = Annotated[dict[str, Any], AfterValidator(_checked)]
"""By name: values of any kind, or {"value", "units", "dtype"}, of which the last two may be left out."""


class ArmRequest(Model):
    """What a client asks of a series. Everything may be left out."""

    id: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$", description="made up when left out"
    )
    directory: str | None = Field(default=None, max_length=1000, description="inside the data directory")
    name: str | None = Field(
        default=None, max_length=200, description="of the file, without suffix; may hold {detector}, {id}"
    )
    expected_frames: int | None = Field(
        default=None, ge=1, le=MOST_FRAMES, description="left out: as many as the stream announces"
    )
    open_ended: bool = Field(default=False, description="go on until stop, whatever the stream announces")
    quiet_seconds: float | None = Field(default=None, gt=0, description="end the series after so long without data")
    frames_per_event: int = Field(default=1, ge=1, description="more than one: the dataset gets an axis for them")
    save: bool = Field(default=True, description="false: forward and show, write nothing")
    replace: bool = Field(default=False, description="replace an existing file")
    append: bool = Field(default=False, description="go on in an existing file, behind the frames that it has")
    add: bool = Field(default=False, description="put another dataset into an existing file")
    dataset: str = Field(
        default="data", pattern=r"^[A-Za-z][A-Za-z0-9_]{0,79}$", description="name of the frames' dataset in the file"
    )
    layout: str | None = Field(default=None, max_length=80, description="of the file; left out: as configured")
    owner: int | None = Field(default=None, ge=1, description="number of the user whose the file shall be")
    frames_per_file: int | None = Field(default=None, ge=0, description="0: one file; left out: as configured")
    metadata: Parameters = Field(
        default={}, description='goes into the file, under collection/parameters; typed: {"value", "units", "dtype"}'
    )

    @model_validator(mode="after")
    def _replaces_or_appends(self) -> Self:
        if self.replace + self.append + self.add > 1:
            raise ValueError("replace, append and add exclude each other: an existing file is replaced, or goes on")
        return self


class Arm(Model):
    kind: Literal["arm"] = "arm"
    request: ArmRequest


class Stop(Model):
    kind: Literal["stop"] = "stop"
    expected_frames: int | None = Field(
        default=None, ge=0, le=MOST_FRAMES, description="that the series should have by then"
    )
    keep_frames: int | None = Field(default=None, ge=0, description="cut the file to so many; the others are discarded")


class Abort(Model):
    kind: Literal["abort"] = "abort"


class SetParameters(Model):
    """Metadata for the series of that id, if it is armed or runs still; `START` among it goes where NeXus has sample,
    beam and proposal.
    """

    kind: Literal["parameters"] = "parameters"
    series: str
    parameters: Parameters


class GetFrame(Model):
    """Ask for the latest frame; its encoded parts follow the answer."""

    kind: Literal["frame"] = "frame"


class SetLogLevel(Model):
    kind: Literal["log_level"] = "log_level"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Instruct(Model):
    """Have the detector's hardware do something, where the data plane owns it."""

    kind: Literal["instruct"] = "instruct"
    command: str
    arguments: dict[str, Any] = {}


class Pause(Model):
    """Take nothing more from the detector, so that who pushes waits; or go on."""

    kind: Literal["pause"] = "pause"
    paused: bool = True


class SetOutputs(Model):
    """Have these outputs; those that stay as they are stream on."""

    kind: Literal["outputs"] = "outputs"
    outputs: Outputs


class SetSource(Model):
    """Take frames from elsewhere, after what has come."""

    kind: Literal["source"] = "source"
    source: SourceConfig


class Quit(Model):
    """Drain and end the process."""

    kind: Literal["quit"] = "quit"


Command = Annotated[
    Arm | Stop | Abort | SetParameters | GetFrame | SetLogLevel | Instruct | Pause | SetOutputs | SetSource | Quit,
    Field(discriminator="kind"),
]


class Request(Model):
    """Control plane to data plane."""

    # Metadata may hold numbers that are none, which are not null.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    number: int
    command: Command


class Answer(Model):
    """Data plane to control plane: to request `number`, or, without one, a status on its own account."""

    number: int | None = None
    problem: Problem | None = None
    status: Status | None = None
    series: SeriesReport | None = None
    frame: FrameReport | None = None
    result: dict[str, Any] | None = None
    """What the hardware said to an instruction."""
