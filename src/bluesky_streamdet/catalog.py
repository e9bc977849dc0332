"""Every detector that this package receives, one row each.

A detector that speaks a known format is one more row here. A new format is one more file in `codecs/` and one more line
in `CODECS`. Other packages add theirs by entry points of the groups `bluesky_streamdet.detectors`, `….codecs` and
`….transforms`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from bluesky_streamdet.codecs import (
    array10,
    as_received,
    dectris_v1,
    dectris_v2,
    sls,
    std_det_writer,
    stins,
    xspress3,
    xspress3_pickled,
)
from bluesky_streamdet.codecs.codec import Decoder, Encoder
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.events import CBF, MONO12P, RAW
from bluesky_streamdet.registry import Registry
from bluesky_streamdet.transforms import flatfield, geometry, masks, modules, pixels, psi_eiger, tot


class Codec(NamedTuple):
    """Both directions of a wire format.

    output: key in `OUTPUTS` of what outputs send when nobody has chosen. by_choice: whether it has to be asked for, and
    is never taken because a message looks like it. announced: whether a header announces each series. loose: whether a
    frame may take several messages.
    """

    decoder: Callable[[], Decoder]
    encoder: Callable[[], Encoder]
    description: str
    output: str = "stins"
    by_choice: bool = False
    announced: bool = True
    loose: bool = False


CODECS = Registry(
    "codec",
    Codec,
    {
        "xspress3": Codec(
            xspress3.Decoder,
            xspress3.Encoder,
            "spectra with scalars: the standard format and a record of them",
            "xspress3",
        ),
        "xspress3-pickled": Codec(
            xspress3_pickled.Decoder,
            xspress3_pickled.Encoder,
            "the same, and the older dialects with pickled scalars",
            "xspress3",
            by_choice=True,
            loose=True,
        ),
        "stins": Codec(stins.Decoder, stins.Encoder, "standard format: JSON header and raw parts, numbered"),
        "stins-module": Codec(
            stins.ModuleDecoder, stins.ModuleEncoder, "standard format, from each of several modules", by_choice=True
        ),
        "sls": Codec(
            sls.Decoder,
            sls.Encoder,
            "receivers of the SLS detector software, from each of several modules",
            by_choice=True,
            announced=False,
        ),
        "dectris_v1": Codec(dectris_v1.Decoder, dectris_v1.Encoder, "DECTRIS stream, version 1"),
        "dectris_v2": Codec(dectris_v2.Decoder, dectris_v2.Encoder, "DECTRIS stream, version 2: CBOR, channels"),
        "array-1.0": Codec(
            array10.Decoder, array10.Encoder, "array-1.0 of the Paul Scherrer Institute: frames alone", announced=False
        ),
        "gigafrost": Codec(
            array10.Decoder,
            array10.GigafrostEncoder,
            "the same with the header of a GigaFRoST",
            by_choice=True,
            announced=False,
        ),
    },
)
"""In the order in which a message is tried of which nobody has said what it is."""


class OutputFormat(NamedTuple):
    """What an output may send.

    loose: each part of a message as a message of its own. verbatim: messages as they came, which events have to keep.
    """

    encoder: Callable[[], Encoder]
    description: str
    loose: bool = False
    verbatim: bool = False


OUTPUTS: dict[str, OutputFormat] = {
    "as-received": OutputFormat(as_received.Encoder, "each message as it came, byte by byte", verbatim=True),
    "stins": OutputFormat(stins.Encoder, "standard format; it has no place for scalars"),
    "dectris_v2": OutputFormat(dectris_v2.Encoder, "for readers of DECTRIS' stream version 2, which is CBOR"),
    "array-1.0": OutputFormat(array10.Encoder, "for readers at PSI: frames alone; most of them read only raw pixels"),
    "std-det-writer": OutputFormat(std_det_writer.Encoder, "array-1.0 for std-det-writer, which needs `writer` too"),
    "xspress3": OutputFormat(xspress3.Encoder, CODECS["xspress3"].description),
    "xspress3-2024": OutputFormat(xspress3_pickled.Encoder, "for older receivers: pickled scalars, a message a frame"),
    "xspress3-2021": OutputFormat(
        lambda: xspress3_pickled.Encoder(loose=True),
        "for older receivers: pickled scalars, three messages a frame",
        True,
    ),
}
"""A receiver unpickles what the last two send, and has to trust who sends it; nothing here ever does."""


class TransformRow(NamedTuple):
    """A step that changes pixels.

    function: takes an array and returns one; its other parameters are the configuration, by their names, annotations
    and defaults. geometric: whether it moves pixels, so that the header's tables of the same shape move with them.
    idle: tells of the same parameters whether they leave every picture as it is, so that nothing needs to be decoded.
    """

    function: Callable[..., Any]
    description: str
    geometric: bool = False
    idle: Callable[..., bool] = lambda **_: False


def _row_of(function: Callable[..., Any]) -> TransformRow:
    return TransformRow(function, (inspect.getdoc(function) or "").partition("\n")[0])


TRANSFORMS = Registry(
    "transform",
    TransformRow,
    {
        "tot": TransformRow(tot.tot, "time over threshold to energy, by a calibration of each pixel"),
        "flat_field": TransformRow(flatfield.flat_field, "divide by a picture without a sample"),
        "place_modules": TransformRow(modules.place_modules, "modules into one picture, with gaps", geometric=True),
        "psi_eiger": TransformRow(psi_eiger.psi_eiger, "two halves of an EIGER 500k into one picture", geometric=True),
        "rotate": TransformRow(geometry.rotate, "turn by quarter turns", geometric=True, idle=geometry.turns_nothing),
        "rotate_if_told": TransformRow(
            geometry.rotate_if_told,
            "turn by quarter turns, where the header says so",
            geometric=True,
            idle=geometry.turns_nothing,
        ),
        "crop": TransformRow(geometry.crop, "keep some rows and columns", geometric=True),
        "mask": TransformRow(masks.mask, "give pixels that nobody shall count a value of their own"),
        "downsample": TransformRow(pixels.downsample, "means of square blocks"),
    },
    _row_of,
)
"""What a chain may be made of. An entry point of another package may name a function, too."""


class Picture(NamedTuple):
    """What a detector's simulator sends when nobody has chosen: (rows, columns), pixel type, payload encoding.

    encoding: None for bslz4 where its library is installed. channels: pictures of each readout, as of several
    thresholds.
    """

    shape: tuple[int, int] = (1065, 1030)
    dtype: str = "uint32"
    encoding: str | None = None
    channels: int = 1


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


DETECTORS = Registry(
    "detector",
    DetectorRow,
    {
        "dhyana": DetectorRow(
            "Tucsen Dhyana, in the standard format", "stins", 9999, picture=Picture((2048, 2048), "uint16", RAW)
        ),
        "eiger": DetectorRow("DECTRIS EIGER and PILATUS3 by SIMPLON, stream version 1", "dectris_v1", 9999),
        "eiger-stream2": DetectorRow(
            "DECTRIS EIGER2, PILATUS4 and SELUN, stream version 2, of one or several thresholds", "dectris_v2", 31001
        ),
        "fastcam-nova": DetectorRow(
            "Photron Fastcam Nova, in the standard format", "stins", 9999, picture=Picture((1024, 1024), "uint16", RAW)
        ),
        "gigafrost": DetectorRow(
            "GigaFRoST of the Paul Scherrer Institute: array-1.0 with the camera's own times",
            "gigafrost",
            9980,
            picture=Picture((2016, 2016), "uint16", RAW),
        ),
        "jungfraujoch": DetectorRow(
            "JUNGFRAU and others by Jungfraujoch, its image stream",
            "dectris_v2",
            31001,
            picture=Picture((1066, 1030), "int32"),
        ),
        "jungfraujoch-preview": DetectorRow(
            "the same, its preview: some of the images, for eyes",
            "dectris_v2",
            2345,
            "sub",
            picture=Picture((1066, 1030), "int16", RAW),
        ),
        "lambda": DetectorRow(
            "X-Spectrum Lambda: four modules, each in the standard format on a port of its own",
            "stins-module",
            9010,
            picture=Picture((2064, 1556), "uint16", RAW),
            modules=4,
        ),
        "orca": DetectorRow(
            "Hamamatsu Orca Lightning: packed 12-bit pixels in the standard format",
            "stins",
            9999,
            picture=Picture((2592, 4608), "uint16", MONO12P),
        ),
        "pco": DetectorRow(
            "PCO cameras, by array-1.0", "array-1.0", 8080, picture=Picture((2160, 2560), "uint16", RAW)
        ),
        "picam": DetectorRow(
            "Teledyne PI-MTE3 (Picam), in the standard format",
            "stins",
            9999,
            picture=Picture((2048, 2048), "uint16", RAW),
        ),
        "pilatus": DetectorRow(
            "DECTRIS PILATUS by camserver: CBF images in the standard format",
            "stins",
            9999,
            picture=Picture((619, 487), "int32", CBF),
        ),
        "psi-eiger": DetectorRow(
            "EIGER 500k of the Paul Scherrer Institute: two halves, by a receiver each",
            "sls",
            30001,
            "sub",
            picture=Picture((512, 512), "uint16", RAW),
            modules=2,
        ),
        "rigaku": DetectorRow(
            "Rigaku, in the standard format", "stins", 9999, picture=Picture((512, 1024), "uint32", RAW)
        ),
        "stins": DetectorRow("any detector that sends the standard format", "stins", 9999),
        "ximea": DetectorRow(
            "Ximea, in the standard format", "stins", 9999, picture=Picture((2048, 2048), "uint16", RAW)
        ),
        "xspress3": DetectorRow("Xspress3, by `streamdet xspress3 stream`", "xspress3", 9999),
        "xspress3-legacy": DetectorRow(
            "Xspress3, by a streamer that pickles the scalars, and has to be trusted", "xspress3-pickled", 9999, "sub"
        ),
        "xspress3-stins": DetectorRow("Xspress3 spectra without scalars, in the standard format", "stins", 9999),
        "zyla": DetectorRow(
            "Andor Zyla, in the standard format", "stins", 9999, picture=Picture((2160, 2560), "uint16", RAW)
        ),
    },
)


def endpoints_of(endpoint: str, modules: int) -> list[str]:
    """The addresses of all modules, on ports that follow the first (0 stays any that is free). Raises `ConfigError`."""
    host, _, port = endpoint.rpartition(":")
    if modules > 1 and not port.isdecimal():
        raise ConfigError(f"{endpoint!r} names no port that those of other modules could follow.")
    if modules == 1:
        return [endpoint]
    first = int(port)
    return [f"{host}:{first + index if first else 0}" for index in range(modules)]
