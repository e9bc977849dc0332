"""Some of CrystFEL's workers in a process of their own, which does nothing else: each asks, takes, and asks again.

At the end of its input it says how many frames each of them got, and how long they were on their way.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from typing import Any

import zmq

TIME = b"timestamp\xcb"
"""What stands in a message before the time of its frame, a big-endian double."""
HEAD = 400
"""Bytes of a message in which that is."""


def work(address: str, workers: int) -> dict[str, list[float]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    poller = zmq.Poller()
    counts: dict[Any, int] = {}
    latencies: list[float] = []
    for _ in range(workers):
        socket = context.socket(zmq.REQ)
        socket.linger = 0
        socket.connect(address)
        socket.send(b"next")
        poller.register(socket, zmq.POLLIN)
        counts[socket] = 0
    poller.register(0, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if 0 in ready:
            context.destroy(linger=0)
            return {"counts": list(counts.values()), "latencies": latencies}
        for socket in ready:
            head = bytes(socket.recv(copy=False).buffer[:HEAD])
            where = head.find(TIME)
            if where >= 0:
                latencies.append(time.time() - struct.unpack_from(">d", head, where + len(TIME))[0])
            counts[socket] += 1
            socket.send(b"next")


if __name__ == "__main__":
    print(json.dumps(work(sys.argv[1], int(sys.argv[2]))), flush=True)
