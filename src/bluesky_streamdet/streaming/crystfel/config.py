"""What is configured of an endpoint for CrystFEL."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from bluesky_streamdet.codecs.crystfel import FLAG, SHORT, PixelType
from bluesky_streamdet.core.handout import Policy
from bluesky_streamdet.streaming.crystfel.peakconfig import PeaksConfig
from bluesky_streamdet.streaming.endpoints import Section, checked_address


class CrystfelConfig(Section):
    """One port that indexamajig is started with.

    mode: "request" gives each frame to one of the workers that ask (`--zmq-request`); "publish" gives all frames to all
    that listen (`--zmq-subscribe`), and `prefix` is what they subscribe to, empty for anything. policy: what happens to
    frames that nobody takes in time: "fresh" gives the newest first and drops the oldest; "complete" drops none, and
    pushes back to the detector. queue, queue_bytes: how many frames may wait, and how many bytes of them, as they came.
    format: "msgpack", or "hdf5" for pixels as they came. type: of pixels in "msgpack". flag: what masked and saturated
    pixels are among integers; among floats they are NaN. saturation: counts above which a pixel is saturated; left out,
    what the detector says. image: without it only headers and peaks are sent, for `--no-image-data`. photon_energy,
    distance: in eV and mm, where the detector does not say them. headers: names and values for `--copy-header`, in
    every message. threads: that decode and convert. peaks: what is looked for in each frame and sent with it, for
    `--peaks=msgpack`; left out, nothing. hits_only: whether frames of fewer peaks than `peaks.min_peaks` are left out.
    """

    name: str = Field(default="crystfel", pattern=r"^[A-Za-z0-9_-]+$")
    address: str = "tcp://*:23500"
    mode: Literal["request", "publish"] = "request"
    prefix: str = Field(default="", max_length=SHORT)
    policy: Policy = "fresh"
    queue: int = Field(default=100, ge=1)
    queue_bytes: int = Field(default=1 << 30, ge=1)
    format: Literal["msgpack", "hdf5"] = "msgpack"
    type: PixelType = "i4"
    flag: int = Field(default=FLAG, ge=-(1 << 31), lt=1 << 31)
    saturation: float | None = Field(default=None, gt=0)
    image: bool = True
    photon_energy: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    distance: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    headers: dict[str, int | float | str] = {}
    threads: int = Field(default=2, ge=1, le=64)
    peaks: PeaksConfig | None = None
    hits_only: bool = False

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        return checked_address(address)

    @model_validator(mode="after")
    def _keeps_together_what_belongs_together(self) -> Self:
        if self.prefix and self.mode != "publish":
            raise ValueError("prefix is for mode: publish; workers that ask get what comes")
        if not self.image and self.format == "hdf5":
            raise ValueError("image: false needs format: msgpack; a file without a picture can't be read")
        if self.hits_only and self.peaks is None:
            raise ValueError("hits_only needs peaks, by which hits are known; peaks: {} takes the usual limits")
        return self
