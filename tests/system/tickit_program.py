"""tickit, for its own interpreter, but with streams that no other than their readers is connected to.

Its PUSH sockets are bound and connected to the same address, so that in about half of its starts every second message
goes to itself, and is lost.
"""

from __future__ import annotations

from typing import Any

import aiozmq
from tickit.cli import main

connected = aiozmq.create_zmq_stream


async def bound(kind: int, *, bind: str, connect: str) -> Any:
    assert bind == connect
    return await connected(kind, bind=bind)


aiozmq.create_zmq_stream = bound
main()
