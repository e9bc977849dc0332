"""A repeater that does nothing else: each message from one PULL to so many PUSH sockets, whose addresses it says."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

import zmq

from bluesky_streamdet.streaming.source import address_of

END = b'{"htype":"series_end"'


def main() -> None:
    address, outputs, queue = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with zmq.Context() as context, ExitStack() as stack:
        pull = stack.enter_context(context.socket(zmq.PULL))
        pull.rcvhwm = queue
        pushes = [stack.enter_context(context.socket(zmq.PUSH)) for _ in range(outputs)]
        for push in pushes:
            push.sndhwm = queue
            push.bind("tcp://127.0.0.1:*")
        print(json.dumps([address_of(push) for push in pushes]), flush=True)
        sys.stdin.readline()
        pull.connect(address)
        ended = False
        while not ended:
            parts = pull.recv_multipart(copy=False)
            ended = bytes(parts[0].buffer[: len(END)]) == END
            for push in pushes:
                push.send_multipart(parts, copy=False)
        # Until it was measured what it has used.
        sys.stdin.readline()


if __name__ == "__main__":
    main()
