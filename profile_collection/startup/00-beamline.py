"""A beamline to try things on: RE, db, two simulated detectors with their services, a motor, a stage, a live picture.

    ipython --profile-dir=profile_collection
    RE(count([eiger], 5))
    db[-1].primary.read()
    RE(raster([xspress3], stage, 20, 30, 0.01)); region_map(db[-1], "Fe")

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
from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.devices.xspress3.maps import region_map  # noqa: F401
from bluesky_streamdet.local import LocalBeamline
from bluesky_streamdet.plans import fly, raster  # noqa: F401

folder = os.environ.get("STREAMDET_FOLDER")
beamline = LocalBeamline(Path(folder) if folder else None)
atexit.register(beamline.close)

RE = RunEngine({})
db = beamline.db
RE.subscribe(beamline.writer())

eiger = StreamDetector(name="eiger", exposure=0.05, labels={"detectors"}, **beamline.device)
motor = SynAxis(name="motor", labels={"motors"})

# Its service starts when it is first wanted. The sample has a picture for a raster of 20 rows and 30 columns.
sample = {"picture": "shapes", "raster": {"rows": 20, "columns": 30}}
xspress3_system = LocalXspress3({"system": {"simulate": {"rate": 100_000, "sample": sample}}}, beamline.frames)
atexit.register(xspress3_system.close)
xspress3 = Xspress3Detector(
    name="xspress3",
    labels={"detectors"},
    # As "Ca Ka" and so on, whose table would take half a second to load.
    regions={"Ca": (3570, 3810), "Fe": (6260, 6550), "Cu": (7890, 8200), "Zn": (8470, 8790)},
    **xspress3_system.device,
)
stage = SimulatedStage(
    name="stage", give_triggers=xspress3_system.pulse, stop_triggers=xspress3_system.stop_pulses, labels={"motors"}
)

# In a window where there is one; otherwise the newest frame is always in this file.
live_image = LiveImage(save=None if os.environ.get("DISPLAY") else beamline.folder / "live.png")
RE.subscribe(live_image)

print(
    f"RE, db, eiger, xspress3, motor, stage are there. Live page: {beamline.service_url}. "
    "Try: RE(count([eiger], 5)); db[-1]"
)
