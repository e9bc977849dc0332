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
from bluesky_streamdet.streaming.buffers import Buffers
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.image import file_image
from bluesky_streamdet.streaming.crystfel.peakwork import PeakWorkers
from bluesky_streamdet.streaming.messages import START
from bluesky_streamdet.transforms import pixels

SMALL = 128 << 10
"""Bytes of a frame as it came, not compressed, that is converted where it is rather than handed to a thread."""
ENERGIES = (ENERGY, "photon_energy")
"""Names of the photon energy, in eV."""


@dataclass
class Series:
    """What is the same for all frames of a series.

    id: ours. metadata: of the detector. parameters: of the run, its start document among them under `messages.START`.
    Photon energy (eV) and distance (`distance` in m, `detector_distance` in mm) are the first of configuration, run and
    detector that says them. finder: looks for the peaks of its frames. buffers: memory for messages.
    """

    config: CrystfelConfig
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    finder: PeakWorkers | None = None
    buffers: Buffers = field(default_factory=Buffers)

    def __post_init__(self) -> None:
        config, metadata = self.config, self.metadata
        run = self.parameters.get(START)
        run = run if isinstance(run, Mapping) else {}
        parameters = {**run, **{name: value for name, value in self.parameters.items() if name != START}}
        metres = crystfel.positive(parameters.get("distance"), metadata.get("distance"))
        special: dict[str, Header | None] = {
            SERIES: self.id or None,
            ENERGY: config.photon_energy
            or crystfel.positive(*(one.get(name) for one in (parameters, metadata) for name in ENERGIES)),
            DISTANCE: config.distance
            or crystfel.positive(parameters.get(DISTANCE), None if metres is None else metres * 1e3),
        }
        self.special = {name: value for name, value in special.items() if value is not None}
        self.headers = crystfel.headers_of({**metadata, **parameters, **config.headers})
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
        return headers | {names[name]: value for name, value in all_.items() if name in names}


class Item:
    """A frame that waits or is in work.

    peer: whom it is for, once that is known. begun, made: how far it is, as the loop knows. message: once it is made;
    problem: why it can't be. left_out: as it has too few peaks.
    """

    __slots__ = ("begun", "frame", "left_out", "made", "message", "nbytes", "peer", "problem", "series")

    def __init__(self, frame: Frame, series: Series) -> None:
        self.frame = frame
        self.series = series
        self.nbytes = payload_bytes(frame)
        self.peer: Hashable | None = None
        self.message: Buffer | None = None
        self.problem = ""
        self.left_out = False
        self.begun = self.made = False

    @property
    def small(self) -> bool:
        """Whether the loop itself may make it."""
        return self.nbytes <= SMALL and self.frame.format.encoding == RAW and self.series.finder is None

    def make(self) -> None:
        """Decode, look for peaks, and convert; may run in any thread, and raises nothing."""
        try:
            self.message = self._message()
        except StreamdetError as error:
            self.problem = f"{error.code}: {error}"
        except Exception as error:  # noqa: BLE001, whatever it is, the frame is counted and its worker gets another
            self.problem = f"{type(error).__name__}: {error}"

    def _message(self) -> Buffer | None:
        """None for a frame that is left out."""
        config, frame, finder = self.series.config, self.frame, self.series.finder
        image = pixels.decode(frame) if config.image or finder is not None else None
        headers = self.series.of(frame)
        peaks: PeakList | None = None
        if finder is not None:
            assert image is not None
            found = finder.find(image, self.series.metadata)
            # A frame that could not be looked at may be a hit.
            if config.hits_only and found.peaks is not None and not found.hit:
                self.left_out = True
                return None
            peaks = PeakList(*found.peaks[:3]) if found.peaks is not None else PeakList([], [], [])
        if config.format == "hdf5":
            assert image is not None
            return file_image(image, headers)
        return crystfel.message(
            image if config.image else None,
            headers,
            peaks,
            kind=config.type,
            flag=config.flag,
            saturation=self.series.saturation,
            allocate=self.series.buffers.allocate,
        )
