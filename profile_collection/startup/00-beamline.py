"""A beamline to try things on: RE, db, a simulated detector with its service, a motor, a live picture.

    ipython --profile-dir=profile_collection
    RE(count([eiger], 5))
    db[-1].primary.read()

Frames and catalogue lie in $STREAMDET_FOLDER, or in a temporary folder that goes with the session.
"""

import atexit
import os
from pathlib import Path

from bluesky import RunEngine
from bluesky.callbacks import LiveTable  # noqa: F401
from bluesky.plans import count, grid_scan, scan  # noqa: F401
from ophyd.sim import SynAxis

from bluesky_streamdet.callbacks.image import LiveImage
from bluesky_streamdet.devices.classic import StreamDetector
from bluesky_streamdet.local import LocalBeamline
from bluesky_streamdet.plans import fly  # noqa: F401

folder = os.environ.get("STREAMDET_FOLDER")
beamline = LocalBeamline(Path(folder) if folder else None)
atexit.register(beamline.close)

RE = RunEngine({})
db = beamline.db
RE.subscribe(beamline.writer())

eiger = StreamDetector(name="eiger", exposure=0.05, labels={"detectors"}, **beamline.device)
motor = SynAxis(name="motor", labels={"motors"})

# In a window where there is one; otherwise the newest frame is always in this file.
live_image = LiveImage(save=None if os.environ.get("DISPLAY") else beamline.folder / "live.png")
RE.subscribe(live_image)

print(f"RE, db, eiger, motor are there. Live page: {beamline.service_url}. Try: RE(count([eiger], 5)); db[-1]")
