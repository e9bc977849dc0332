"""What the machine allows: each part of the path by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin
import zmq
from workloads import BANK, Workload

from bluesky_streamdet.streaming.files.chunks import frames_per_chunk

HERE = Path(__file__).parent


@contextmanager
def waiting_sender(workload: Workload) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A sender that waits for a line on its standard input, and its address; it does not outlive the context."""
    sender = subprocess.Popen(
        [sys.executable, HERE / "sender.py", workload.name, str(workload.frames)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sender.stdout is not None
    try:
        yield sender, sender.stdout.readline().strip()
        sender.wait(60)
    finally:
        sender.kill()
        sender.wait()


def let_go(sender: subprocess.Popen[str]) -> float:
    """Let the sender begin; returns when that was."""
    assert sender.stdin is not None
    sender.stdin.write("\n")
    sender.stdin.flush()
    return time.perf_counter()


def zeromq(workload: Workload) -> float:
    """Frames/s from process to process."""
    copy = workload.frames > 5000
    with waiting_sender(workload) as (sender, address), zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.rcvhwm = workload.queue
        socket.rcvtimeo = 60_000
        socket.connect(address)
        let_go(sender)
        socket.recv_multipart()
        begin = time.perf_counter()
        for _ in range(workload.frames):
            socket.recv_multipart(copy=copy)
        elapsed = time.perf_counter() - begin
        socket.recv_multipart()
    return workload.frames / elapsed


def chunks(workload: Workload, folder: Path) -> float:
    """Frames/s of direct chunk writes."""
    payloads = workload.payloads()
    raw = workload.compression == "none"
    together = frames_per_chunk(len(payloads[0])) if raw else 1
    blocks = [b"".join(payloads[(i + j) % BANK] for j in range(together)) for i in range(min(BANK, 4))]
    path = folder / "chunks.h5"
    filters = {} if raw else hdf5plugin.Bitshuffle(cname="lz4")
    with h5py.File(path, "w", libver="latest") as file:
        shape = workload.shape
        data = file.create_dataset(
            "data", (0, *shape), workload.dtype, maxshape=(None, *shape), chunks=(together, *shape), **filters
        ).id
        zeros = (0,) * len(shape)
        begin = time.perf_counter()
        for number in range(0, workload.frames, together):
            if number % (256 * together) == 0:
                data.set_extent((min(number + 256 * together, workload.frames), *shape))
            data.write_direct_chunk((number, *zeros), blocks[number // together % len(blocks)])
        file.flush()
        elapsed = time.perf_counter() - begin
    path.unlink()
    return workload.frames / elapsed


def plain_file(workload: Workload, folder: Path) -> float:
    """Frames/s of plain writes."""
    payloads = workload.payloads()
    path = folder / "plain"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    begin = time.perf_counter()
    for number in range(workload.frames):
        os.write(file, payloads[number % BANK])
    elapsed = time.perf_counter() - begin
    os.close(file)
    path.unlink()
    return workload.frames / elapsed


def warm(nbytes: int, folder: Path) -> None:
    """Touch as much memory as what follows will need, so that the host of a virtual machine has given it to us."""
    path = folder / "ballast"
    block = bytes(16 << 20)
    with open(path, "wb", buffering=0) as file:
        path.unlink()
        for _ in range(nbytes // len(block) + 1):
            file.write(block)
