"""The fan-out in a process of one's own, without a service.

    from bluesky_streamdet import Outputs

    with Outputs([{"name": "live", "address": "tcp://*:9610", "kind": "pub", "send": {"every": 10}}]) as outputs:
        outputs.start({"count_time": 0.1}, frames=1000)
        for image in camera:
            outputs.send(image)
        outputs.end()

Settings are those of `outputs:` in the configuration of a service.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from bluesky_streamdet.codecs.codec import DTYPES
from bluesky_streamdet.core.errors import ConfigError, DeadlineExceeded
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.endpoints import Outputs as Configs
from bluesky_streamdet.streaming.ports import Ports
from bluesky_streamdet.streaming.status import OutputReport

REST = 1.0
"""Seconds in which clients may take what waits for them when all is closed."""
_CONFIGS: TypeAdapter[list[OutputConfig]] = TypeAdapter(Configs)


class Outputs:
    """Sends frames to any number of outputs, each with its own rule, format, queue and count. For one thread.

    outputs: settings of each, by the names of `OutputConfig`. io_threads: of ZeroMQ, for all together. Raises
    `ConfigError` or `AddressTaken`, which name all that is wrong.

    It has no thread of its own: what waits for a slow client leaves with the next call of any method.
    """

    def __init__(self, outputs: Sequence[OutputConfig | Mapping[str, Any]], io_threads: int = 1) -> None:
        configs = _checked(outputs)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads)
        try:
            self._ports = Ports(configs, self._context)
        except BaseException:
            self._context.term()
            raise
        self._next = 0
        self._runs = False

    def start(self, metadata: Mapping[str, Any] | None = None, *, name: str = "", frames: int | None = None) -> None:
        """Announce a series; one that runs is ended first. The numbers of its frames begin at 0.

        metadata: settings of the detector, by the names of `core.metadata`. name: of a file that receivers may write.
        frames: how many will come, None when nobody knows.
        """
        self.end()
        self._next, self._runs = 0, True
        self._ports.start(SeriesStart(filename=name or None, frames=frames, metadata=dict(metadata or {})))

    def send(
        self,
        frame: Frame | NDArray[Any],
        *,
        number: int | None = None,
        detail: Mapping[str, Any] | None = None,
        copy: bool = True,
        timeout: float = math.inf,
    ) -> None:
        """Send a frame: an array of one to four dimensions, of integers or floats, or a `Frame` as decoders make them.

        number: of the frame, one more than the last if left out. detail: numbers that come with it, for formats and
        rules that have a place for them. copy: False for an array that nobody changes any more. timeout: seconds to
        wait for clients of outputs that block. Raises `ValueError`, or `DeadlineExceeded`; then it was not sent.
        """
        if not isinstance(frame, Frame):
            frame = _frame_of(frame, self._next if number is None else number, dict(detail or {}) or None, copy=copy)
        self._make_room(timeout)
        if not self._runs:
            self.start()
        self._next = frame.number + 1
        self._ports.send([frame])
        self._ports.flush()

    def end(self) -> None:
        """Announce the end of the series, if one runs."""
        if self._runs:
            self._runs = False
            self._ports.end(SeriesEnd())

    def set(self, outputs: Sequence[OutputConfig | Mapping[str, Any]]) -> None:
        """Have these outputs and no others; those of the same name stream on. Raises as the constructor."""
        self._ports.set(_checked(outputs))

    def report(self) -> list[OutputReport]:
        """Of each output: its address, clients, and what was seen, skipped, sent and dropped."""
        self._ports.flush()
        return [output.report() for output in self._ports]

    def close(self) -> None:
        """End the series, let clients have what waits for them for a second, and close."""
        self.end()
        self._ports.send_rest(REST)
        self._ports.close(round(1000 * REST))
        self._context.term()

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_room(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while blocked := [output.config.name for output in self._ports if output.blocked]:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"Output {blocked[0]!r} has had no room for {timeout:g} s.",
                    "Start its client, or take another overflow rule than block.",
                )
            self._ports.wait_for_blocking()


def _checked(outputs: Sequence[OutputConfig | Mapping[str, Any]]) -> list[OutputConfig]:
    try:
        return _CONFIGS.validate_python(list(outputs))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise ConfigError("; ".join(faults)) from error


def _frame_of(array: NDArray[Any], number: int, detail: dict[str, Any] | None, *, copy: bool) -> Frame:
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<")
    if dtype.str not in DTYPES.values() or not 1 <= array.ndim <= 4 or not array.size:
        allowed = ", ".join(DTYPES)
        raise ValueError(f"a {array.dtype} array of shape {array.shape} is no frame; take 1 to 4 axes of {allowed}")
    pixels = np.array(array, dtype, order="C") if copy else np.ascontiguousarray(array, dtype)
    form = _format(array.shape, dtype.str, RAW, array.shape)
    return Frame(number, None, None, form, (pixels.data.cast("B"),), time.time_ns(), detail)


_format = lru_cache(maxsize=64)(FrameFormat)
"""Frames of a series share one."""
