"""Plans that need more than Bluesky ships, one of a kind in each file.

They work for both faces of our detectors and for other devices of the same protocols, can be listed by a queue server,
and shown by `summarize_plan`. Whatever ends them, detectors are disarmed, and what they changed for their time is put
back.
"""

from bluesky_streamdet.core.extras import extra

with extra("bluesky", "Plans"):
    from bluesky_streamdet.plans.bursts import burst_scan, bursts_wrapper
    from bluesky_streamdet.plans.energy import energies_of, energy_scan
    from bluesky_streamdet.plans.flying import announce_until_complete, fly
    from bluesky_streamdet.plans.metadata import RequiredMetadata
    from bluesky_streamdet.plans.raster import Grid, GridRow, raster
    from bluesky_streamdet.plans.recorded import RecordedValues
    from bluesky_streamdet.plans.series import time_series
    from bluesky_streamdet.plans.tomography import tomography

__all__ = [
    "Grid",
    "GridRow",
    "RecordedValues",
    "RequiredMetadata",
    "announce_until_complete",
    "burst_scan",
    "bursts_wrapper",
    "energies_of",
    "energy_scan",
    "fly",
    "raster",
    "time_series",
    "tomography",
]
