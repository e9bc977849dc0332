"""An Xspress3 for Bluesky: what `StreamDetector` does, with channels, regions, dead time and the hardware's settings.

Import `Xspress3Detector` from `classic` or `asynchronous`; both read alike.
"""
