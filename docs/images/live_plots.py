"""Makes live-spectrum.png, live-map.png, live-waterfall.png and live-image.png: what the live plots have drawn at the
end of a raster with a simulated Xspress3, and of a scan with a simulated EIGER.

python docs/images/live_plots.py [FOLDER ROWS COLUMNS]
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bluesky import RunEngine
from bluesky.plans import scan
from ophyd.sim import SynAxis

from bluesky_streamdet.callbacks.image import LiveImage
from bluesky_streamdet.callbacks.livemap import LiveMap
from bluesky_streamdet.callbacks.rings import Rings
from bluesky_streamdet.callbacks.spectrum import LiveSpectrum
from bluesky_streamdet.callbacks.waterfall import LiveWaterfall
from bluesky_streamdet.devices.classic import StreamDetector
from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.devices.xspress3.classic import Xspress3Detector
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.local import LocalBeamline
from bluesky_streamdet.plans import raster
from bluesky_streamdet.sim.diffraction import BEAM_CENTRE, DISTANCE, WAVELENGTH
from bluesky_streamdet.sim.settings import SimulatorSettings

LINES = {"Ca": "Ca Ka", "Fe": "Fe Ka", "Cu": "Cu Ka", "Zn": "Zn Ka"}
SHAPE = (514, 1030)
PIXEL = 75e-6
RINGS = Rings(
    distance=DISTANCE * max(SHAPE) * PIXEL,
    wavelength=WAVELENGTH,
    pixel=PIXEL,
    beam=(BEAM_CENTRE[0] * SHAPE[0], BEAM_CENTRE[1] * SHAPE[1]),
)


def spectra(engine: RunEngine, scratch: Path, target: Path, rows: int, columns: int) -> None:
    """A raster of a sample with four elements, seen by three plots."""
    sample = {"picture": "shapes", "raster": {"rows": rows, "columns": columns, "snake": True}}
    values = {"system": {"simulate": {"channels": 4, "rate": 200_000, "sample": sample}}}
    plots = [
        LiveSpectrum(target / "live-spectrum.png", elements=["Ca", "Fe", "Cu", "Zn"]),
        LiveMap(list(LINES), target / "live-map.png"),
        LiveWaterfall(target / "live-waterfall.png", rows=rows * columns),
    ]
    with LocalXspress3(values, scratch) as local:
        xspress3 = Xspress3Detector(name="xspress3", regions=LINES, **local.device)
        stage = SimulatedStage(name="stage", give_triggers=local.pulse, stop_triggers=local.stop_pulses)
        engine(raster([xspress3], stage, rows, columns, 0.01, snake=True), plots)
        for plot in plots:
            plot.close()


def images(engine: RunEngine, scratch: Path, target: Path, points: int) -> None:
    """A scan with an area detector."""
    rois = {"spot": (322, 339, 525, 542), "another": (75, 92, 540, 557), "beside": (300, 340, 750, 790)}
    plot = LiveImage(target / "live-image.png", saturation=1000, rois=rois, rings=RINGS)
    with LocalBeamline(
        scratch, SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=SHAPE), catalog=False
    ) as beamline:
        eiger = StreamDetector(name="eiger", exposure=0.01, **beamline.device)
        engine(scan([eiger], SynAxis(name="motor"), -1, 1, points), plot)
        plot.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    target = Path(given[0]) if given else Path(__file__).parent
    rows, columns = (int(one) for one in given[1:] or (30, 40))
    RE = RunEngine()
    with TemporaryDirectory() as scratch:
        spectra(RE, Path(scratch) / "xspress3", target, rows, columns)
        images(RE, Path(scratch) / "eiger", target, rows)
    RE.loop.call_soon_threadsafe(RE.loop.stop)
