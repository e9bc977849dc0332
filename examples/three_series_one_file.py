"""Dark, flat and projections of a tomography into one file, one series after another, with a simulated PCO camera.

    python examples/three_series_one_file.py [FOLDER]

At a beamline, the service runs on the machine with the disks (`streamdet serve`), and the camera is a camera: then only
what is in `acquire` is left of this.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bluesky_streamdet import RemoteWriter
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.sim.client import SimulatedDetectorClient
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import SimulatorSettings

SERIES = {"data_dark": 5, "data_white": 5, "data": 20}


def acquire(url: str, key: str, camera: SimulatedDetectorClient) -> str:
    """One tomography; returns its file."""
    with RemoteWriter(url=url, api_key=key, layout="exchange") as writer:
        if writer.is_running():
            writer.stop()
        writer.flush_cam_stream(200)
        for name, frames in SERIES.items():
            writer.configure("tomo/scan.h5", name, frames, parameters={"purpose": name})
            writer.start()
            camera.arm(frames, exposure=0.01)
            camera.trigger()
            result = writer.wait(timeout=60)
            print(f"{name}: {result.n_written_frames} frames, {result.n_lost_frames} lost, in {result.dataset}")
            if not result.success:
                raise SystemExit(f"{name} is not complete: {result.reason}")
        return result.output_file


def main(folder: Path) -> None:
    settings = SimulatorSettings("pco", "tcp://127.0.0.1:0", shape=(64, 256))
    with SimulatorProcess(settings) as simulator, simulator.client() as camera:
        config = for_row("pco", simulator.address, folder)
        config.unarmed = "ignore"  # What the camera sends on its own goes into no file.
        config.rest.port, config.log_level = 0, "WARNING"
        with ServiceProcess(config) as service:
            print(acquire(service.url, service.api_key, camera))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory(prefix="streamdet-") as temporary:
            main(Path(temporary))
