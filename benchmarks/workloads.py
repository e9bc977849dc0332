"""What is sent: frames of a few detectors, the same bytes in every measurement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bluesky_streamdet.transforms import bslz4

BANK = 8
"""Different frames of a workload; frame `i` carries payload `i % BANK`."""


@dataclass(frozen=True)
class Workload:
    name: str
    shape: tuple[int, ...]
    dtype: str
    compression: str
    frames: int
    queue: int
    aim: float
    aim_with_client: float

    def payloads(self) -> list[bytes]:
        """The encoded frames of the bank, each different."""
        rng = np.random.default_rng(7)
        # Seven noisy bits a pixel: about as compressible as diffraction with background.
        images = [rng.integers(0, 140, self.shape, np.uint8).astype(self.dtype) for _ in range(BANK)]
        return [bslz4.encode(image) if self.compression == "bslz4" else image.tobytes() for image in images]

    def header_template(self) -> bytes:
        """The JSON header of a frame in the standard format, to be filled with message number and frame number."""
        shape = ",".join(map(str, self.shape))
        return (
            f'{{"htype":"image","msg_number":%d,"frame":%d,"shape":[{shape}],'
            f'"type":"{self.dtype}","compression":"{self.compression}"}}'
        ).encode()


WORKLOADS = {
    one.name: one
    for one in (
        Workload("eiger", (1065, 1030), "uint32", "bslz4", 3000, 16, 0.8, 0.35),
        Workload("camera", (2160, 2560), "uint16", "none", 300, 4, 0.75, 0.5),
        Workload("spectra", (8, 4096), "uint32", "none", 30_000, 64, 0.7, 0.35),
        Workload("spectra4", (4, 4096), "uint32", "none", 60_000, 64, 0.7, 0.35),
        Workload("small", (64, 64), "uint16", "none", 200_000, 200, 0.6, 0.2),
    )
}

LONG = Workload("long", (16, 32), "uint16", "none", 1_000_000, 200, 0.6, 0.2)
"""A million frames of 1 KiB."""
ALL = {**WORKLOADS, LONG.name: LONG}
