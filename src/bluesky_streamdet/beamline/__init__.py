"""A beamline made of one YAML file: what an IPython profile or a queue server's worker has in its namespace.

    beamline = Beamline(read("beamline.yaml"))
    globals().update(beamline.namespace)

The same code opens a simulation and the hardware; only the file differs.
"""

from bluesky_streamdet.core.extras import extra

with extra("demo", "Sessions"):
    from bluesky_streamdet.beamline.session import Beamline
    from bluesky_streamdet.beamline.settings import BeamlineConfig, find, read

__all__ = ["Beamline", "BeamlineConfig", "find", "read"]
