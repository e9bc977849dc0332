"""Where frames come from and where they go: what is configured of each socket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from bluesky_streamdet.catalog import OUTPUTS
from bluesky_streamdet.codecs.std_det_writer import Run
from bluesky_streamdet.streaming.sending import SendConfig


class Section(BaseModel):
    # A step may be told nan, which has to reach the data plane's process.
    model_config = ConfigDict(extra="forbid", validate_default=True, ser_json_inf_nan="constants")


WRITER = "std-det-writer"
"""Key in `catalog.OUTPUTS` of the format that a run belongs to."""
ANY_PORT = ("*", "0")
LAST_PORT = 65535
ANY_HOST = ("*", "0.0.0.0", "[::]")  # noqa: S104, they are compared, not bound


def checked_address(address: str) -> str:
    """The address, if it can be one of ZeroMQ. Raises `ValueError`."""
    if not address.startswith(("tcp://", "ipc://", "inproc://")):
        raise ValueError(f"{address!r} is no ZeroMQ address; write it as tcp://HOST:PORT")
    if address.startswith("tcp://"):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        if not host or not (port in ANY_PORT or (port.isdecimal() and int(port) <= LAST_PORT)):
            raise ValueError(f"{address!r} has no port from 1 to {LAST_PORT}; write it as tcp://HOST:PORT")
    return address


class SourceConfig(Section):
    """One or several ZeroMQ endpoints of one detector.

    endpoints: addresses such as "tcp://detector:9999". socket: "pull" or "sub". bind: whether we bind and the detector
    connects. queue: messages that ZeroMQ may hold for us on each endpoint; small, so that pushing back reaches the
    sender. modules: whether each endpoint carries one part of every frame; otherwise each carries whole frames.
    let_go: whether we leave the detector while paused, so that frames wait there, or somebody else takes them;
    otherwise up to `queue` of them wait here. shared: whether other services pull from the same socket, so that each
    gets some of the frames.
    """

    endpoints: list[str] = Field(min_length=1)
    socket: Literal["pull", "sub"] = "pull"
    bind: bool = False
    queue: int = Field(default=8, ge=1)
    modules: bool = False
    let_go: bool = False
    shared: bool = False

    @field_validator("endpoints")
    @classmethod
    def _are_addresses(cls, endpoints: list[str]) -> list[str]:
        return [checked_address(endpoint) for endpoint in endpoints]

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if self.shared and (self.socket != "pull" or self.bind or len(self.endpoints) > 1):
            raise ValueError(
                "shared is for one endpoint that a detector pushes at and we connect to: socket: pull, bind: false"
            )
        return self


class WriterConfig(Section):
    """The one file that a std-det-writer behind an output is to write.

    output_file: its path on the writer's machine, in ASCII; one that is there is replaced. n_images: after so many no
    more are sent. run_id, detector_name, user_id: what the writer makes of them.
    """

    output_file: str = Field(pattern=r"^[ !#-\[\]-~]+$", max_length=140)
    run_id: int = Field(ge=0, lt=1 << 63)
    n_images: int = Field(ge=1, lt=1 << 53)
    detector_name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")
    user_id: int = Field(default=0, ge=0, lt=1 << 31)

    def run(self) -> Run:
        """The run, as its encoder wants it."""
        return Run(**self.model_dump())


class OutputConfig(Section):
    """One port of the fan-out: frames, as they came, to whoever is connected.

    connect: whether the client is bound at the address; otherwise this is. send: which frames, all unless given.
    overflow: what happens to frames that its clients don't take: "drop-newest" and "drop-oldest" drop and count one,
    "latest" keeps only the newest, "block" pushes back to the detector, "wait" does so while a client is connected, and
    drops while none is.
    queue, queue_bytes: how many wait in front of the socket, in frames and bytes.
    encoder: what it sends, a key of `catalog.OUTPUTS`; empty for what suits the detector: the standard format, or the
    one of spectra with scalars. Two of them are for older receivers of an Xspress3, which unpickle what they get.
    writer: the run of a std-det-writer, for the encoder of that name; until it is given, frames are dropped.
    """

    name: str = Field(default="stream", pattern=r"^[A-Za-z0-9_-]+$")
    address: str = "tcp://127.0.0.1:23000"
    kind: Literal["push", "pub"] = "push"
    connect: bool = False
    send: SendConfig | None = None
    overflow: Literal["drop-newest", "drop-oldest", "latest", "block", "wait"] = "drop-newest"
    queue: int = Field(default=100, ge=1)
    queue_bytes: int = Field(default=32 << 20, ge=1)
    encoder: str = ""
    writer: WriterConfig | None = None

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        return checked_address(address)

    @field_validator("encoder")
    @classmethod
    def _is_known(cls, encoder: str) -> str:
        if encoder and encoder not in OUTPUTS:
            raise ValueError(f"no such format; allowed: {', '.join(OUTPUTS)}, or empty for what suits the detector")
        return encoder

    @model_validator(mode="after")
    def _keeps_together_what_belongs_together(self) -> Self:
        if self.encoder and OUTPUTS[self.encoder].loose and self.kind == "push":
            raise ValueError(
                f"encoder {self.encoder} needs kind: pub; several receivers of a push would share a frame's messages"
            )
        if self.writer is not None and self.encoder != WRITER:
            raise ValueError(f"writer is for encoder: {WRITER} only")
        return self

    def takes_port_of(self, other: OutputConfig) -> bool:
        """Whether both are bound at the same port of this machine."""
        if self.connect or other.connect:
            return False
        mine, others = _host_and_port(self.address), _host_and_port(other.address)
        if mine[1] != others[1] or mine[1] in ANY_PORT:
            return False
        return mine[0] == others[0] or (
            self.address.startswith("tcp:") and not {mine[0], others[0]}.isdisjoint(ANY_HOST)
        )


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.partition("://")[2], port


def collisions(outputs: Sequence[OutputConfig]) -> list[str]:
    """Every two that can't be together, in words."""
    counts = Counter(output.name for output in outputs)
    faults = [f"{count} outputs are called {name!r}" for name, count in counts.items() if count > 1]
    return faults + [
        f"{one.name!r} and {other.name!r} are both bound at port {_host_and_port(one.address)[1]}"
        for one, other in combinations(outputs, 2)
        if one.takes_port_of(other)
    ]


def _do_not_collide(outputs: list[OutputConfig]) -> list[OutputConfig]:
    if faults := collisions(outputs):
        raise ValueError("; ".join(faults))
    return outputs


Outputs = Annotated[list[OutputConfig], AfterValidator(_do_not_collide)]
"""Those of one data plane."""
