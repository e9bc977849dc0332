"""Takes a series of an Xspress3 stream with dranspose, and saves what that makes of it; run by its own Python.

It takes the endpoint to subscribe to, and the file for the arrays.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import numpy as np
import zmq.asyncio
from dranspose.data.xspress3 import XspressEnd, XspressImage, XspressStart
from dranspose.ingesters.zmqsub_xspress3 import ZmqSubXspressIngester, ZmqSubXspressSettings
from dranspose.middlewares import xspress

UNUSED = {"ingester_url": "tcp://127.0.0.1:10000", "redis_url": "redis://127.0.0.1:1"}
"""What its other parts would need."""


async def taken(endpoint: str) -> list[Any]:
    """All packets of one series, as dranspose's ingester and parser have them."""
    settings = ZmqSubXspressSettings(ingester_streams=["xsp"], upstream_url=endpoint, **UNUSED)
    ingester = ZmqSubXspressIngester(settings)
    ingester.ctx = zmq.asyncio.Context()
    packets = []
    async for data in ingester.run_source("xsp"):
        with contextlib.redirect_stdout(None):
            packets.append(xspress.parse(data))
        if isinstance(packets[-1], XspressEnd):
            break
    await ingester.stop_source("xsp")
    ingester.ctx.term()
    return packets


def main() -> None:
    endpoint, path = sys.argv[1:]
    start, *images, end = asyncio.run(taken(endpoint))
    assert isinstance(start, XspressStart) and isinstance(end, XspressEnd)
    assert all(isinstance(one, XspressImage) for one in images)
    arrays = {
        "filename": np.array(start.filename),
        "frame": np.array([one.frame for one in images]),
        "exptime": np.array([one.exptime for one in images]),
        "data": np.array([one.data for one in images]),
    }
    for name in images[0].meta:
        arrays[name] = np.array([one.meta[name] for one in images])
    np.savez(path, **arrays)


if __name__ == "__main__":
    main()
