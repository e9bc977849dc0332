"""The frames of a simulated detector: cheap to make by the thousand, each different, each known exactly.

A few readouts of a turning crystal are made once and compressed. A frame is one of them with its number stamped on;
only the blocks of the compressed blob that hold the stamp are made anew. `Pictures.frame(number)` is what was sent,
for whoever compares.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.codecs.codec import DTYPES
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.events import BSLZ4, MONO12P, RAW, FrameFormat
from bluesky_streamdet.sim.diffraction import Crystal, Geometry, background, suitable_cell
from bluesky_streamdet.sim.panel import Panel
from bluesky_streamdet.sim.stamp import Stamp
from bluesky_streamdet.transforms import bslz4, mono12p, pixels

EIGER_1M = (1065, 1030)
STEP = math.radians(1.2)
"""What the crystal turns from one picture to the next."""
MOST_VARIANTS, FEWEST_VARIANTS = 12, 3
STAMPED = frozenset({RAW, BSLZ4})
"""Encodings in which a part can be changed for itself; pictures of others are encoded each time."""
BANK_PIXELS = 16_000_000
"""Of all readouts together, so that a large detector is ready in two seconds too."""


class Pictures:
    """The frames of one simulated detector; frame `number` is the same whenever it is asked for.

    shape: (rows, columns), at least 16 columns. dtype: name of an integer type, such as "uint32". encoding: a key of
    `pixels.ENCODERS`; None for the usual one. seed: another crystal for each. variants: how many readouts are made.
    channels: how many pictures make a frame; with more than one it is (channels, rows, columns), a part each.
    Raises `ConfigError` for a picture that can't be made.
    """

    def __init__(
        self,
        shape: tuple[int, int] = EIGER_1M,
        dtype: str = "uint32",
        encoding: str | None = None,
        seed: int = 0,
        variants: int | None = None,
        channels: int = 1,
    ) -> None:
        if dtype not in DTYPES or np.dtype(dtype).kind not in "iu":
            raise ConfigError(
                f"Pictures can't be of the type {dtype!r}.", "Take uint8, uint16, uint32 or another integer type."
            )
        if encoding is not None and encoding not in pixels.ENCODERS:
            raise ConfigError(
                f"Pictures can't be compressed by {encoding!r}.", f"Take {', '.join(sorted(pixels.ENCODERS))}."
            )
        if encoding == MONO12P and dtype != "uint16":
            raise ConfigError(f"Pictures of type {dtype} can't be packed as {MONO12P}.", "Take uint16.")
        try:
            self._stamp = Stamp(shape)
        except ValueError as error:
            raise ConfigError(f"Pictures of {shape[0]}x{shape[1]} pixels are too small: {error}.") from error
        kind = np.dtype(DTYPES[dtype])
        one = FrameFormat(shape, kind.str, encoding or bslz4.usual(), shape)
        self.channels = channels
        whole = (channels, *shape)
        self.format = one if channels == 1 else FrameFormat(whole, one.dtype, one.encoding, (1, *shape))
        self.geometry = Geometry(shape)
        random = np.random.default_rng(seed)
        self.panel = Panel(shape, kind, random, mono12p.MOST if encoding == MONO12P else int(np.iinfo(kind).max))
        count = variants or max(FEWEST_VARIANTS, min(MOST_VARIANTS, BANK_PIXELS // math.prod(shape)))
        self._bank = [_Variant(image, one, self._stamp.band) for image in self._readouts(count, random)]
        # The crystal swings to and fro, so that it never jumps.
        self._order = [*range(count), *range(count - 2, 0, -1)]

    def _readouts(self, count: int, random: np.random.Generator) -> list[NDArray[Any]]:
        still, crystal = background(self.geometry), Crystal(suitable_cell(self.geometry), random)
        shining = (crystal.spots(self.geometry, step * STEP, (step + 1) * STEP) for step in range(count))
        return [self.panel.readout(still + spots, random) for spots in shining]

    def frame(self, number: int) -> NDArray[Any]:
        """The pixels of frame `number`, as they are sent: of the format's shape and dtype."""
        images = [self._image(number, channel) for channel in range(self.channels)]
        return images[0] if self.channels == 1 else np.stack(images)

    def _image(self, number: int, channel: int) -> NDArray[Any]:
        image = self._variant(number + channel).image()
        self._stamp.write(image[self._stamp.band], number)
        return image

    def payload(self, number: int, channel: int = 0) -> bytes:
        """The pixels of one channel of frame `number`, encoded."""
        if self.format.encoding not in STAMPED:
            return pixels.ENCODERS[self.format.encoding](self._image(number, channel))
        variant = self._variant(number + channel)
        region = variant.region.copy()
        columns = self.format.shape[-1]
        band = region[variant.offset :][: (self._stamp.band.stop - self._stamp.band.start) * columns]
        self._stamp.write(band.reshape(-1, columns), number)
        return variant.with_region(region)

    def number_of(self, picture: NDArray[Any]) -> int:
        """Which frame `picture` is, by its stamp."""
        return self._stamp.read(picture.reshape(-1, *picture.shape[-2:])[0])

    def _variant(self, number: int) -> _Variant:
        return self._bank[self._order[number % len(self._order)]]


class _Variant:
    """One readout, encoded, and the part of it that a stamp changes.

    region: the pixels of the encoding's blocks that cover the rows `band`, flat; the band begins at its element
    `offset`.
    """

    def __init__(self, image: NDArray[Any], form: FrameFormat, band: slice) -> None:
        self._format = form
        columns = form.shape[1]
        flat = image.reshape(-1)
        first, last = band.start * columns, band.stop * columns
        if form.encoding == BSLZ4:
            self._blob = bslz4.encode(image)
            block = bslz4.HEADER.unpack_from(self._blob)[1] // image.itemsize
            begin, end = first // block * block, min(-(-last // block) * block, flat.size)
            # A blob's last pixels, fewer than 8, belong to no block.
            end = flat.size if flat.size - end < 8 else end
            self._begin, self._end = _bytes_of_blocks(self._blob, begin // block, end // block, whole=end == flat.size)
        else:
            self._blob = flat.tobytes()
            begin, end = first, last
            self._begin, self._end = begin * image.itemsize, end * image.itemsize
        self.region = flat[begin:end].copy()
        self.offset = first - begin

    def image(self) -> NDArray[Any]:
        """The pixels, (rows, columns), to be written to."""
        form = self._format
        if form.encoding == BSLZ4:
            return bslz4.decode(self._blob, form.shape, form.dtype)
        return np.frombuffer(self._blob, form.dtype).reshape(form.shape).copy()

    def with_region(self, region: NDArray[Any]) -> bytes:
        """The encoded readout with these pixels in place of its region's."""
        if self._format.encoding == BSLZ4:
            middle: Any = memoryview(bslz4.encode(region))[bslz4.HEADER.size :]
        else:
            middle = region.data.cast("B")
        whole = memoryview(self._blob)
        return b"".join((whole[: self._begin], middle, whole[self._end :]))


def _bytes_of_blocks(blob: bytes, first: int, last: int, *, whole: bool) -> tuple[int, int]:
    """Where blocks `first` to before `last` lie in a compressed blob; to its end when they are `whole` to the last."""
    places = [bslz4.HEADER.size]
    for _ in range(last):
        if places[-1] + 4 > len(blob):
            break
        places.append(places[-1] + 4 + int.from_bytes(blob[places[-1] : places[-1] + 4]))
    return places[first], len(blob) if whole else places[last]
