"""Frames on their way to CrystFEL: what becomes of one until a worker has it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import Buffer

from bluesky_streamdet.codecs import crystfel
from bluesky_streamdet.codecs.crystfel import DISTANCE, ENERGY, EVENT, NUMBER, SERIES, TIME, Header, PeakList
from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.events import RAW, Frame, payload_bytes
from bluesky_streamdet.streaming.crystfel_config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel_image import file_image
from bluesky_streamdet.transforms import pixels

SMALL = 128 << 10
"""Bytes of a frame as it came, not compressed, that is converted where it is rather than handed to a thread."""
DISTANCES = ("distance", "detector_distance")
ENERGIES = ("photon_energy", "beam_energy")


@dataclass
class Series:
    """What is the same for all frames of a series. id: ours. metadata: of the detector. parameters: of the run."""

    config: CrystfelConfig
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config, metadata = self.config, self.metadata
        metres = crystfel.positive(*(metadata.get(name) for name in DISTANCES))
        special: dict[str, Header | None] = {
            SERIES: self.id or None,
            ENERGY: config.photon_energy or crystfel.positive(*(metadata.get(name) for name in ENERGIES)),
            DISTANCE: config.distance or (None if metres is None else metres * 1e3),
        }
        self.special = {name: value for name, value in special.items() if value is not None}
        self.headers = crystfel.headers_of({**metadata, **self.parameters, **config.headers})
        self.saturation = config.saturation or crystfel.positive(metadata.get("saturation_value"))

    def of(self, frame: Frame) -> dict[str, Header]:
        """The headers of one frame."""
        headers: dict[str, Header] = {
            NUMBER: frame.number,
            TIME: frame.received / 1e9,
            EVENT: f"{self.id}//{frame.number}",
            **self.special,
        }
        if not frame.detail:
            return headers | self.headers
        all_ = {**self.headers, **crystfel.headers_of(frame.detail)}
        names = crystfel.apart(tuple(all_))
        return headers | {names[name]: value for name, value in all_.items()}


class Item:
    """A frame that waits or is in work. peer: whom it is for, once that is known. message: once it is made, or why it
    can't be.
    """

    __slots__ = ("begun", "frame", "message", "nbytes", "peer", "problem", "series")

    def __init__(self, frame: Frame, series: Series) -> None:
        self.frame = frame
        self.series = series
        self.nbytes = payload_bytes(frame)
        self.peer: Hashable | None = None
        self.message: Buffer | None = None
        self.problem = ""
        self.begun = False

    @property
    def made(self) -> bool:
        return self.message is not None or bool(self.problem)

    @property
    def small(self) -> bool:
        return self.nbytes <= SMALL and self.frame.format.encoding == RAW

    def make(self) -> None:
        """Decode and convert; may run in any thread, and raises nothing."""
        try:
            self.message = self._message()
        except StreamdetError as error:
            self.problem = f"{error.code}: {error}"
        except Exception as error:  # noqa: BLE001, whatever it is, the frame is counted and its worker gets another
            self.problem = f"{type(error).__name__}: {error}"

    def _message(self) -> Buffer:
        config, frame = self.series.config, self.frame
        image = pixels.decode(frame) if config.image else None
        headers = self.series.of(frame)
        if config.format == "hdf5":
            assert image is not None
            return file_image(image, headers)
        peaks: PeakList | None = None
        saturation = self.series.saturation
        return crystfel.message(
            image, headers, peaks, kind=config.type, flag=config.flag, saturation=saturation
        )
