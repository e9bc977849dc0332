"""array-1.0 for std-det-writer, which takes the name of its file, and how many images it holds, from each header.

    {…as array-1.0…, "frame": k, "i_image": k, "n_images", "output_file", "run_id", "user_id", "detector_name",
     "status": 0, "image_attributes": {…, "image_number": k}, "original_frame"} + the pixels

k counts the images of a run from 0, as the writer wants it; "original_frame" is the number that the frame came with.
The writer opens its file at image 0, replacing one that is there, and closes it at a message whose "i_image" is
"n_images", which holds no image of its own. Sources: the stream repeater of the Paul Scherrer Institute, and
"sf_daq_buffer".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs.array10 import GigafrostEncoder
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Frame
from bluesky_streamdet.transforms import pixels

LARGEST_HEADER = 511
"""Bytes of a header that the writer has room for; it reads no more of it."""


@dataclass(frozen=True)
class Run:
    """What a writer is told of one file. output_file: its path on the writer's machine."""

    output_file: str
    run_id: int
    n_images: int
    detector_name: str
    user_id: int = 0


class Encoder(GigafrostEncoder):
    """Frames to the messages of one run. There is none without a run, after it, or for pixels that can't be decoded.

    Pixels that came compressed are decoded, as the writer takes all for raw. What a GigaFRoST says of an image is left
    out where the header would become longer than the writer reads. images: how many of the run have been counted; until
    one is, `frame` makes messages for the same place in the file.
    """

    def __init__(self, run: Run | None = None) -> None:
        super().__init__()
        self.images = 0
        self._run = run
        self._closed = run is None
        self._pixels: Buffer = b""
        self._shape: dict[str, Any] = {}

    @property
    def complete(self) -> bool:
        """Whether the run has all of its images."""
        return self._run is not None and self.images >= self._run.n_images

    @property
    def over(self) -> bool:
        """Whether no more images are wanted: there is no run, it is complete, or it was closed."""
        return self._closed or self.complete

    def frame(self, frame: Frame) -> Message:
        if self.over:
            return []
        form = frame.format
        if form.encoding == RAW:
            self._pixels = frame.parts[0] if len(frame.parts) == 1 else b"".join(frame.parts)
        else:
            try:
                self._pixels = np.ascontiguousarray(pixels.decode(frame)).data.cast("B")
            except MalformedMessage:
                return []
        self._shape = {"shape": form.shape, "type": np.dtype(form.dtype).name}
        return [self._header(frame.number, self._attributes(frame)), self._pixels]

    def count(self) -> None:
        """The message that was made last goes to the writer; it is the next image's turn."""
        self.images += 1

    def close(self) -> Message:
        """What makes the writer close its file; nothing when it has opened none, or was told already."""
        if self._closed or not self.images:
            return []
        assert self._run is not None
        self._closed = True
        # Its pixels are not looked at, but the writer waits for some.
        self.images = self._run.n_images
        message: Message = [self._header(None, {}), self._pixels]
        self._pixels = b""
        return message

    def _header(self, original: int | None, attributes: dict[str, Any]) -> bytes:
        assert self._run is not None
        image = self.images
        said = {
            "htype": ["array-1.0"],
            **self._shape,
            "frame": image,
            "endianess": "little",
            "source": self.source,
            "i_image": image,
            **asdict(self._run),
            "status": 0,
            "image_attributes": {**attributes, "image_number": image},
        }
        if original is not None:
            said["original_frame"] = original
        header = msgspec.json.encode(said)
        if len(header) > LARGEST_HEADER and attributes:
            return self._header(original, {})
        return header
