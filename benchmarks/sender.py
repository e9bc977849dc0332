"""The detector of a benchmark: a process that sends one series as fast as it is taken; prints its address."""

from __future__ import annotations

import sys
from dataclasses import replace

import zmq
from workloads import ALL, BANK, Workload

from bluesky_streamdet.streaming.source import address_of


def send_series(workload: Workload, socket: zmq.Socket[bytes]) -> None:
    payloads = workload.payloads()
    copy = len(payloads[0]) < 256 << 10
    sys.stdin.readline()
    socket.send(b'{"htype":"header","msg_number":0,"filename":""}')
    template = workload.header_template()
    for number in range(workload.frames):
        socket.send_multipart((template % (number + 1, number), payloads[number % BANK]), copy=copy)
    socket.send(b'{"htype":"series_end","msg_number":%d}' % (workload.frames + 1))


def main() -> None:
    workload = replace(ALL[sys.argv[1]], frames=int(sys.argv[2]))
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.sndhwm = workload.queue
        socket.bind("tcp://127.0.0.1:*")
        print(address_of(socket), flush=True)
        send_series(workload, socket)


if __name__ == "__main__":
    main()
