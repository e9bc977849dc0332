"""What the data plane has to know of one detector: where frames come from, where they go, how long to wait."""

from __future__ import annotations

from typing import Literal, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from bluesky_streamdet.catalog import CODECS, OUTPUTS
from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.series import Limits
from bluesky_streamdet.streaming.chain import Step
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.endpoints import Outputs, Section, SourceConfig
from bluesky_streamdet.streaming.files.config import FileConfig
from bluesky_streamdet.transforms import bslz4


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


class PlaneConfig(Section):
    """One detector's data plane, wherever its frames come from.

    crystfel: ports that CrystFEL's indexamajig takes frames from.
    monitor: address such as "tcp://127.0.0.1:9998" where anybody may ask for the latest frame; None for no such port.
    unarmed: what happens to a series that the detector starts and nobody armed: it is written, or forwarded and shown
    without a file, or counted only. paused: nothing is taken from the detector until somebody has it resumed.
    io_threads: of ZeroMQ, for all sockets together; one moves more than a GB/s.
    """

    detector: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    files: FileConfig = FileConfig()
    outputs: Outputs = []
    crystfel: list[CrystfelConfig] = []
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
    def shared(self) -> bool:
        """Whether other services get some of the frames."""
        return False

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
    def shared(self) -> bool:
        return self.source.shared

    @property
    def has_messages(self) -> bool:
        return not (self.source.modules or CODECS[self.codec].loose)

    @property
    def usual_output(self) -> str:
        return CODECS[self.codec].output
