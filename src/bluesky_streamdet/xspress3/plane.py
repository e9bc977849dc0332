"""The data plane that owns an Xspress3, as a process; started by its control plane."""

from __future__ import annotations

import sys
from typing import Any

from bluesky_streamdet.streaming.process import main
from bluesky_streamdet.xspress3.config import Xspress3Plane
from bluesky_streamdet.xspress3.streamer import Streamer


def open_system(config: Xspress3Plane, _: Any) -> Streamer:
    """Open the SDK's system. Raises `HardwareFailed` or `ConfigError`."""
    return Streamer(config)


if __name__ == "__main__":
    sys.exit(main(Xspress3Plane, open_system))
