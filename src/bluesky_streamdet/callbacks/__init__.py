"""Bluesky callbacks that look at the frames themselves."""

from bluesky_streamdet.core.extras import extra

with extra("bluesky", "Callbacks"):
    import event_model as _  # noqa: F401
