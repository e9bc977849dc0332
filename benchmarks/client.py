"""A client of the fan-out: takes every frame; says at the end how many there were, and how many out of order."""

from __future__ import annotations

import json
import sys

import zmq


def main() -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.rcvhwm = int(sys.argv[2])
        socket.connect(sys.argv[1])
        frames = disordered = 0
        while True:
            parts = socket.recv_multipart(copy=False)
            header = json.loads(parts[0].bytes)
            if header["htype"] == "series_end":
                break
            if header["htype"] == "image":
                disordered += header["frame"] != frames
                frames += 1
    print(json.dumps({"frames": frames, "disordered": disordered}), flush=True)


if __name__ == "__main__":
    main()
