"""Two cameras at once, each with a writer of its own, steered by one script; the cameras are simulated.

    python examples/two_cameras.py [FOLDER]

With a supervisor (`streamdet supervise`), all writers have one address: RemoteWriter(url="http://daq:8010", cam="pco1")
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bluesky_streamdet import RemoteWriter
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.sim.client import SimulatedDetectorClient
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import SimulatorSettings

FRAMES = 30


def acquire(writers: Sequence[RemoteWriter], cameras: Sequence[SimulatedDetectorClient]) -> None:
    """Have both ready, start both, wait for both. Nothing of one waits for the other in between."""
    for number, writer in enumerate(writers, 1):
        writer.configure(f"pair/camera{number}.h5", n_frames=FRAMES, parameters={"camera": number})
        writer.start()
    for camera in cameras:
        camera.arm(FRAMES, exposure=0.02)
        camera.trigger()
    for writer in writers:
        result = writer.wait(timeout=60)
        print(f"{result.output_file}: {result.n_written_frames} frames, {result.writing_rate:.0f}/s")
        if not result.success:
            raise SystemExit(f"{result.output_file} is not complete: {result.reason}")


def main(folder: Path) -> None:
    with ExitStack() as stack:
        writers, cameras = [], []
        for name in ("pco1", "pco2"):
            settings = SimulatorSettings("pco", "tcp://127.0.0.1:0", shape=(64, 256))
            simulator = stack.enter_context(SimulatorProcess(settings))
            config = for_row("pco", simulator.address, folder)
            config.detector, config.unarmed = name, "ignore"
            config.rest.port, config.log_level = 0, "WARNING"
            service = stack.enter_context(ServiceProcess(config))
            cameras.append(stack.enter_context(simulator.client()))
            writers.append(stack.enter_context(RemoteWriter(url=service.url, api_key=service.api_key)))
        acquire(writers, cameras)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory(prefix="streamdet-") as temporary:
            main(Path(temporary))
