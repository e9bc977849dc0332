"""What the machine allows: each part of the path by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin
import zmq
from workloads import BANK, Workload

from bluesky_streamdet.streaming.files.chunks import frames_per_chunk
from bluesky_streamdet.streaming.files.layouts.layout import SHARED_CHUNK_FRAMES

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


def chunks(
    workload: Workload, folder: Path, *, most: int = SHARED_CHUNK_FRAMES, frames_per_file: int | None = None
) -> float:
    """Frames/s of direct chunk writes. most: raw frames that share a chunk. frames_per_file: None for one file."""
    payloads = workload.payloads()
    together = frames_per_chunk(len(payloads[0]), most=most) if workload.compression == "none" else 1
    blocks = [b"".join(payloads[(i + j) % BANK] for j in range(together)) for i in range(min(BANK, 4))]
    each = frames_per_file or workload.frames
    begin = time.perf_counter()
    for index, first in enumerate(range(0, workload.frames, each)):
        _write_chunks(folder / f"chunks{index}.h5", workload, min(each, workload.frames - first), together, blocks)
    elapsed = time.perf_counter() - begin
    for path in folder.glob("chunks*.h5"):
        path.unlink()
    return workload.frames / elapsed


def _write_chunks(path: Path, workload: Workload, frames: int, together: int, blocks: list[bytes]) -> None:
    """A file of nothing but frames. blocks: chunks, in turn."""
    filters = {} if workload.compression == "none" else hdf5plugin.Bitshuffle(cname="lz4")
    with h5py.File(path, "w", libver="latest") as file:
        shape = workload.shape
        data = file.create_dataset(
            "data", (0, *shape), workload.dtype, maxshape=(None, *shape), chunks=(together, *shape), **filters
        ).id
        zeros = (0,) * len(shape)
        for number in range(0, frames, together):
            if number % (256 * together) == 0:
                data.set_extent((min(number + 256 * together, frames), *shape))
            data.write_direct_chunk((number, *zeros), blocks[number // together % len(blocks)])


def plain_file(workload: Workload, folder: Path, ready: Callable[[], object] = lambda: None) -> float:
    """Frames/s of plain writes. ready: is called before the first of them."""
    payloads = workload.payloads()
    path = folder / "plain"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    ready()
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
