"""A service that owns an Xspress3 and is started by another program. People use `streamdet xspress3 stream`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys


def main() -> int:
    # Before NumPy's friends start: threads that wait for work by turning would take the data plane's processor.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bluesky_streamdet.service.background import run
    from bluesky_streamdet.xspress3.config import Xspress3Config

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return asyncio.run(run(Xspress3Config))


if __name__ == "__main__":
    sys.exit(main())
