"""What the data plane has to know of one detector: where frames come from, where they go, how long to wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from bluesky_streamdet.catalog import CODECS, OUTPUTS
from bluesky_streamdet.codecs.std_det_writer import Run
from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.series import Limits
from bluesky_streamdet.streaming.chain import Step
from bluesky_streamdet.streaming.sending import SendConfig
from bluesky_streamdet.transforms import bslz4


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


WRITER = "std-det-writer"
"""Key in `catalog.OUTPUTS` of the format that a run belongs to."""
ANY_PORT = ("*", "0")
ANY_HOST = ("*", "0.0.0.0", "[::]")  # noqa: S104, they are compared, not bound


def _checked_address(address: str) -> str:
    if not address.startswith(("tcp://", "ipc://", "inproc://")):
        raise ValueError(f"{address!r} is no ZeroMQ address; write it as tcp://HOST:PORT")
    return address


class SourceConfig(Section):
    """One or several ZeroMQ endpoints of one detector.

    endpoints: addresses such as "tcp://detector:9999". socket: "pull" or "sub". bind: whether we bind and the detector
    connects. queue: messages that ZeroMQ may hold for us on each endpoint; small, so that pushing back reaches the
    sender. modules: whether each endpoint carries one part of every frame; otherwise each carries whole frames.
    """

    endpoints: list[str] = Field(min_length=1)
    socket: Literal["pull", "sub"] = "pull"
    bind: bool = False
    queue: int = Field(default=8, ge=1)
    modules: bool = False

    @field_validator("endpoints")
    @classmethod
    def _are_addresses(cls, endpoints: list[str]) -> list[str]:
        return [_checked_address(endpoint) for endpoint in endpoints]


class WriterConfig(Section):
    """The one file that a std-det-writer behind an output is to write.

    output_file: its path on the writer's machine; one that is there is replaced. n_images: after so many no more are
    sent. run_id, detector_name, user_id: what the writer makes of them.
    """

    output_file: str = Field(pattern=r"^[^\x00-\x1f]+$", max_length=200)
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
        return _checked_address(address)

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


def _do_not_collide(outputs: Sequence[OutputConfig]) -> Sequence[OutputConfig]:
    """Raises `ValueError`, which names every two that can't be together."""
    counts = Counter(output.name for output in outputs)
    faults = [f"{count} outputs are called {name!r}" for name, count in counts.items() if count > 1]
    faults += [
        f"{one.name!r} and {other.name!r} are both bound at port {_host_and_port(one.address)[1]}"
        for one, other in combinations(outputs, 2)
        if one.takes_port_of(other)
    ]
    if faults:
        raise ValueError("; ".join(faults))
    return outputs


Outputs = Annotated[list[OutputConfig], AfterValidator(_do_not_collide)]
"""Those of one data plane."""


class WaitConfig(Section):
    """How long a series waits, in seconds, and with how much memory; see `core.series.Limits`.

    gap_bytes: for each endpoint. quiet_seconds: a series that the stream started ends after so long without data, and
    in a stream without headers frames that come later are no rest of the series before. start_seconds and
    stall_seconds are when the status begins to say that nothing comes.
    """

    gap_seconds: float = Field(default=1.0, ge=0)
    gap_bytes: int = Field(default=64 << 20, ge=0)
    finish_seconds: float = Field(default=2.0, ge=0)
    settle_seconds: float = Field(default=0.2, ge=0)
    quiet_seconds: float = Field(default=30.0, gt=0)

    def limits(self) -> Limits:
        return Limits(self.gap_seconds, self.gap_bytes, self.finish_seconds, self.settle_seconds, self.quiet_seconds)


class FileConfig(Section):
    """Where files go and how they are called.

    directory: no file is written outside of it. name: of series that nobody named; {detector}, {id} and {date} are
    filled in. stream_names: whether the stream may name its file (inside the directory all the same).
    replace: whether an existing file may be overwritten by a series that the stream started.
    flush_seconds: at most so long after a frame has been written can others read it.
    dataset: path at which readers of older files look for the frames, besides where they are; None for none.
    """

    directory: Path = Path("data")
    name: str = "{detector}_{id}"
    stream_names: bool = False
    replace: bool = False
    flush_seconds: float = Field(default=0.1, ge=0)
    dataset: str | None = Field(default=None, pattern=r"^(/[A-Za-z0-9_.-]+){2,}$")


class PlaneConfig(Section):
    """One detector's data plane, wherever its frames come from.

    monitor: address such as "tcp://127.0.0.1:9998" where anybody may ask for the latest frame; None for no such port.
    unarmed: what happens to a series that the detector starts and nobody armed: it is written, or forwarded and shown
    without a file, or counted only. paused: nothing is taken from the detector until somebody has it resumed.
    io_threads: of ZeroMQ, for all sockets together; one moves more than a GB/s.
    """

    detector: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    files: FileConfig = FileConfig()
    outputs: Outputs = []
    monitor: str | None = None
    wait: WaitConfig = WaitConfig()
    unarmed: Literal["write", "forward", "ignore"] = "write"
    paused: bool = False
    io_threads: int = Field(default=1, ge=1, le=16)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def limits(self) -> Limits:
        """How long, and with how much memory, a series waits."""
        return self.wait.limits()

    @property
    def announced(self) -> bool:
        """Whether a header announces each series."""
        return True

    @property
    def has_messages(self) -> bool:
        """Whether each frame comes in one message, which could be handed on."""
        return False

    @property
    def hands_messages_on(self) -> bool:
        """Whether an output sends messages as they came."""
        return any(one.encoder and OUTPUTS[one.encoder].verbatim for one in self.outputs)

    @model_validator(mode="after")
    def _hands_on_only_what_there_is(self) -> Self:
        if self.hands_messages_on and not self.has_messages:
            raise ValueError("encoder as-received is for detectors that send each frame as one message")
        return self

    @property
    def usual_output(self) -> str:
        """Key in `catalog.OUTPUTS` of what suits the detector: a format that has a place for all of its numbers."""
        return "xspress3"


class DataPlaneConfig(PlaneConfig):
    """The data plane of a detector that sends its frames.

    codec: key of `catalog.CODECS`. transforms: what is done to the pixels of each frame, in this order; see
    `streaming.chain`. compress: how frames leave; left out, as they came, but bslz4 (none where its library is not
    installed) where their pixels had to be decoded. workers: threads that do it.
    """

    codec: str
    source: SourceConfig
    transforms: list[Step] = []
    compress: Literal["bslz4", "none"] | None = None
    workers: int = Field(default=2, ge=1, le=64)

    @field_validator("compress")
    @classmethod
    def _is_installed(cls, compress: str | None) -> str | None:
        if compress == BSLZ4 and bslz4.usual() != BSLZ4:
            raise ValueError("it needs the library 'bitshuffle', which is not installed; allowed: none")
        return compress

    @property
    def limits(self) -> Limits:
        limits = self.wait.limits()
        # What comes by one endpoint waits for what comes by the others.
        return msgspec.structs.replace(limits, gap_bytes=limits.gap_bytes * len(self.source.endpoints))

    @property
    def announced(self) -> bool:
        return CODECS[self.codec].announced

    @property
    def has_messages(self) -> bool:
        return not (self.source.modules or CODECS[self.codec].loose)

    @property
    def usual_output(self) -> str:
        return CODECS[self.codec].output
