"""Files of one series that are alike: what each holds before its first frame is made once, in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import h5py

from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.several.parts import INDEX


@dataclass
class Mould:
    """What such files begin with, once one of them has made it. places: where things are in them.

    To copy it takes a tenth of the time that it takes HDF5 to make some forty objects.
    """

    content: bytes | None = None
    places: Places | None = None

    def fill(self, make: Callable[[h5py.File], None], library: tuple[str, str]) -> None:
        """Have `make` put all into a file. library: the versions of HDF5 that it is for. Raises what h5py raises."""
        memory = io.BytesIO()
        with h5py.File(memory, "w", libver=library) as file:
            make(file)
            if INDEX in file.attrs:
                # A copy is none of the parts until it is said which: a crash must not leave two of them.
                file.attrs.modify(INDEX, 0)
        self.content = memory.getvalue()
