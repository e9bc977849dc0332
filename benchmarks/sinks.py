"""The clients of a repeater, all in one process: take every message until the end of the series at each of them."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

import zmq


def main() -> None:
    queue, addresses = int(sys.argv[1]), sys.argv[2:]
    with zmq.Context() as context, ExitStack() as stack:
        poller, frames, disordered = zmq.Poller(), {}, 0
        for address in addresses:
            pull = stack.enter_context(context.socket(zmq.PULL))
            pull.rcvhwm = queue
            pull.connect(address)
            poller.register(pull, zmq.POLLIN)
            frames[pull] = 0
        counts = []
        while frames:
            for pull, _ in poller.poll():
                header = json.loads(pull.recv_multipart(copy=False)[0].bytes)
                if header["htype"] == "series_end":
                    poller.unregister(pull)
                    counts.append(frames.pop(pull))
                elif header["htype"] == "image":
                    disordered += header["frame"] != frames[pull]
                    frames[pull] += 1
    print(json.dumps({"frames": counts, "disordered": disordered}), flush=True)


if __name__ == "__main__":
    main()
