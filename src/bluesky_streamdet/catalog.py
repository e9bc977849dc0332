"""Every detector that this package receives, one row each.

A detector that speaks a known format is one more row here. A new format is one more file in `codecs/` and one more line
in `CODECS`. A detector of another package registers by the entry point group `bluesky_streamdet.detectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from bluesky_streamdet.codecs import dectris_v1, stins
from bluesky_streamdet.codecs.codec import Decoder, Encoder


class Codec(NamedTuple):
    """Both directions of a wire format."""

    decoder: Callable[[], Decoder]
    encoder: Callable[[], Encoder]
    description: str


CODECS: dict[str, Codec] = {
    "stins": Codec(stins.Decoder, stins.Encoder, "standard format: JSON header and raw parts, numbered"),
    "dectris_v1": Codec(dectris_v1.Decoder, dectris_v1.Encoder, "DECTRIS stream, version 1"),
}


class DetectorRow(NamedTuple):
    """One detector: what it speaks, and where it usually sends."""

    description: str
    codec: str
    port: int
    socket: Literal["pull", "sub"] = "pull"


DETECTORS: dict[str, DetectorRow] = {
    "eiger": DetectorRow("DECTRIS EIGER and PILATUS3 by SIMPLON, stream version 1", "dectris_v1", 9999),
    "stins": DetectorRow("any detector that sends the standard format", "stins", 9999),
}
