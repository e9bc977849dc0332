"""A service that is started by another program; see `background`. People use `streamdet serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys


def main() -> int:
    # Before NumPy's friends start: threads that wait for work by turning would take the data plane's processor.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bluesky_streamdet.service.background import run

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
