"""Asks a monitor port all the time; prints when each frame was first seen, by the system's monotonic clock."""

from __future__ import annotations

import json
import sys
import time

import zmq


def main() -> None:
    address, frames = sys.argv[1], int(sys.argv[2])
    seen: dict[int, float] = {}
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.rcvtimeo = 60_000
        socket.connect(address)
        while frames - 1 not in seen:
            socket.send(b"frame")
            header, _ = socket.recv_multipart()
            now = time.monotonic()
            number = json.loads(header)["number"]
            if number >= 0:
                seen.setdefault(number, now)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
