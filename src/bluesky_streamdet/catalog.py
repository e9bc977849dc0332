"""Every detector that this package receives, one row each.

A detector that speaks a known format is one more row here. A new format is one more file in `codecs/` and one more line
in `CODECS`. A detector of another package registers by the entry point group `bluesky_streamdet.detectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from bluesky_streamdet.codecs import dectris_v1, stins, xspress3, xspress3_pickled
from bluesky_streamdet.codecs.codec import Decoder, Encoder


class Codec(NamedTuple):
    """Both directions of a wire format.

    output: key in `OUTPUTS` of what outputs send when nobody has chosen. by_choice: whether it has to be asked for, and
    is never taken because a message looks like it.
    """

    decoder: Callable[[], Decoder]
    encoder: Callable[[], Encoder]
    description: str
    output: str = "stins"
    by_choice: bool = False


CODECS: dict[str, Codec] = {
    "xspress3": Codec(
        xspress3.Decoder, xspress3.Encoder, "spectra with scalars: the standard format and a record of them", "xspress3"
    ),
    "xspress3-pickled": Codec(
        xspress3_pickled.Decoder,
        xspress3_pickled.Encoder,
        "the same, and the older dialects with pickled scalars",
        "xspress3",
        by_choice=True,
    ),
    "stins": Codec(stins.Decoder, stins.Encoder, "standard format: JSON header and raw parts, numbered"),
    "dectris_v1": Codec(dectris_v1.Decoder, dectris_v1.Encoder, "DECTRIS stream, version 1"),
}
"""In the order in which a message is tried of which nobody has said what it is."""


class OutputFormat(NamedTuple):
    """What an output may send. loose: each part of a message as a message of its own."""

    encoder: Callable[[], Encoder]
    description: str
    loose: bool = False


OUTPUTS: dict[str, OutputFormat] = {
    "stins": OutputFormat(stins.Encoder, "standard format; it has no place for scalars"),
    "xspress3": OutputFormat(xspress3.Encoder, CODECS["xspress3"].description),
    "xspress3-2024": OutputFormat(xspress3_pickled.Encoder, "for older receivers: pickled scalars, a message a frame"),
    "xspress3-2021": OutputFormat(
        lambda: xspress3_pickled.Encoder(loose=True),
        "for older receivers: pickled scalars, three messages a frame",
        True,
    ),
}
"""A receiver unpickles what the last two send, and has to trust who sends it; nothing here ever does."""


class Picture(NamedTuple):
    """What a detector's simulator sends when nobody has chosen: (rows, columns), pixel type, payload encoding.

    encoding: None for bslz4 where its library is installed.
    """

    shape: tuple[int, int] = (1065, 1030)
    dtype: str = "uint32"
    encoding: str | None = None


class DetectorRow(NamedTuple):
    """One detector: what it speaks, and where it usually sends.

    picture: of its simulator. transforms: what is done to its frames when nobody has chosen, by the names of
    `TRANSFORMS`. modules: how many sockets carry each a part of every frame, on ports that follow `port`.
    """

    description: str
    codec: str
    port: int
    socket: Literal["pull", "sub"] = "pull"
    picture: Picture = Picture()
    transforms: tuple[str, ...] = ()
    modules: int = 1


DETECTORS: dict[str, DetectorRow] = {
    "eiger": DetectorRow("DECTRIS EIGER and PILATUS3 by SIMPLON, stream version 1", "dectris_v1", 9999),
    "stins": DetectorRow("any detector that sends the standard format", "stins", 9999),
    "xspress3": DetectorRow("Xspress3, by `streamdet xspress3 stream`", "xspress3", 9999),
    "xspress3-legacy": DetectorRow(
        "Xspress3, by a streamer that pickles the scalars, and has to be trusted", "xspress3-pickled", 9999, "sub"
    ),
    "xspress3-stins": DetectorRow("Xspress3 spectra without scalars, in the standard format", "stins", 9999),
}
