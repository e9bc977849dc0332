"""What message parts come in: the standard library's buffers, and ZeroMQ's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import zmq


def zmq_frame(part: bytes) -> Any:
    """pyzmq's own message part; its type stubs don't say that it is a buffer."""
    return zmq.Frame(part)


def zmq_memory(part: bytes) -> memoryview:
    """A view of ZeroMQ's memory, as the source hands it on."""
    return zmq.Frame(part).buffer


BUFFERS: Sequence[Callable[[bytes], Any]] = (bytes, bytearray, memoryview, zmq_frame, zmq_memory)
