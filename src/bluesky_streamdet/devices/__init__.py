"""Faces of a detector for Bluesky: classic ophyd and ophyd-async, over one acquisition.

Import `bluesky_streamdet.devices.classic.StreamDetector` or `bluesky_streamdet.devices.asynchronous.StreamDetector`.
"""
