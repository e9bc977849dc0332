"""A session at a beamline: RE, db, detectors, motors, live plots and plans, as a YAML file says.

    ipython --profile-dir=profile_collection
    overview()
    RE(count([eiger], 5))
    db[-1].primary.read()
    RE(raster([xspress3], stage, 20, 30, 0.01)); maps(db[-1], ["Fe"])

The file is $STREAMDET_BEAMLINE, or beamline.yaml of this profile, which simulates everything. Frames and catalogue lie
in $STREAMDET_FOLDER or in the file's `folder`, otherwise in a temporary folder that goes with the session.
"""

from multiprocessing.util import Finalize
from pathlib import Path

from bluesky.callbacks import LiveTable  # noqa: F401
from bluesky.plans import count, grid_scan, list_scan, rel_scan, scan  # noqa: F401

from bluesky_streamdet.analysis import arrivals, images, ledgers, maps, numbers, spectra  # noqa: F401
from bluesky_streamdet.beamline import Beamline, find, read
from bluesky_streamdet.devices.xspress3.maps import region_map  # noqa: F401
from bluesky_streamdet.plans import (  # noqa: F401
    burst_scan,
    energy_scan,
    fly,
    raster,
    time_series,
    tomography,
)

beamline = Beamline(read(find(Path(__file__).parent.parent)))
Finalize(None, beamline.close, exitpriority=10)  # As atexit, but for a queue server's worker, too.
RE = beamline.RE  # A queue server looks for this name.
globals().update(beamline.namespace)

print(f"{beamline!r}. Try: RE(count([{next(iter(beamline.detectors), '')}], 5)); db[-1]")
