"""A DECTRIS detector for Bluesky: what `StreamDetector` does, and the detector itself, steered by its SIMPLON API.

Import `EigerDetector` from `classic` or `asynchronous`; both read alike.
"""
