"""Single frames again, as a view, where the frames' dataset has an axis of events."""

from __future__ import annotations

import h5py

from bluesky_streamdet.streaming.files.layouts.layout import Layout, fill
from bluesky_streamdet.streaming.files.layouts.places import Places, words_of

EVENT_ATTRIBUTE = "frames_per_event"
"""Of the frames' dataset, where its second axis counts the frames of an event."""


def add_flat_view(file: h5py.File, layout: Layout, places: Places, event: int, rows: int) -> None:
    """A virtual dataset of `rows` single frames over one of events, for readers that know nothing of events."""
    data, path = file[places.frames], fill(layout.single_frames, words_of(layout, places))
    if path in file:
        del file[path]
    flat = h5py.VirtualLayout((rows, *data.shape[2:]), data.dtype)
    source = h5py.VirtualSource(".", places.frames, data.shape)
    whole, rest = divmod(rows, event)
    # HDF5 maps element by element, in their order, so that the shapes need not agree.
    if whole:
        flat[: whole * event] = source[:whole]
    if rest:
        flat[whole * event :] = source[whole, :rest]
    if rows:
        file.create_virtual_dataset(path, flat)
