"""Peaks of frames, found by processes beside this one.

`PeakWorkers.find` is called by threads, and waits there until a process has looked at the frame; the pixels get to it
by memory that both share. So the loop that moves frames loses nothing to it but a copy of the pixels.
"""

from __future__ import annotations

import logging
import mmap
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.geometry import said
from bluesky_streamdet.core.hits import HitRate
from bluesky_streamdet.streaming.crystfel.peakconfig import PeaksConfig
from bluesky_streamdet.streaming.crystfel.peakprocess import Answer, Look, SetUp, read, write
from bluesky_streamdet.streaming.status import PeaksReport
from bluesky_streamdet.transforms.peaks import Peaks

log = logging.getLogger(__name__)

STARTING = 60.0
"""Seconds that a process may take to start, and to learn what frames are like."""
LOOKING = 20.0
"""Seconds that it may take for a frame."""
ENDING = 5.0
NOTHING: Mapping[str, Any] = {}


class Found(NamedTuple):
    """Peaks of a frame, None when they could not be looked for; and whether it is a hit."""

    peaks: Peaks | None
    hit: bool


class PeakWorkers:
    """Processes that look for peaks; each starts with the first frame that it gets. Raises `ConfigError` for a mask
    that can't be read.
    """

    def __init__(self, config: PeaksConfig) -> None:
        self.config = config
        self._own_mask = None if config.mask is None else _mask_in(config)
        self._crew = [_Worker() for _ in range(config.workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._crew:
            self._idle.put(worker)
        self._closed = False
        self._lock = threading.Lock()
        self._rate = HitRate()
        self._failed = self._restarts = 0
        self._complained = ""

    def find(self, image: NDArray[Any], about: Mapping[str, Any] = NOTHING) -> Found:
        """Look for the peaks of a frame, (rows, columns) or (modules, rows, columns), whose places in the array are
        those of modules one below another. Waits for a free process, and for that; may be called by several threads.

        about: what the header of its series says, by the names of `core.metadata`; the same object for all its frames.
        """
        if image.ndim not in {2, 3} or not image.size or image.dtype.kind not in "iuf":
            return self._counted(Answer(problem=f"{image.dtype} of shape {image.shape} is no picture"))
        worker = self._idle.get()
        try:
            if self._closed:
                return Found(None, False)
            answer = worker.find(image, about, self.config, self._own_mask)
        except _Died as death:
            if not self._closed:
                log.warning("a process that looks for peaks %s; the next frame starts another", death)
                with self._lock:
                    self._restarts += 1
            answer = Answer(problem="its process died")
        finally:
            self._idle.put(worker)
        return self._counted(answer)

    def report(self) -> PeaksReport:
        with self._lock:
            return PeaksReport(
                workers=sum(worker.alive for worker in self._crew),
                frames=self._rate.frames,
                hits=self._rate.hits,
                failed=self._failed,
                restarts=self._restarts,
                hit_rate=self._rate.total,
                recent_hit_rate=self._rate.recent,
            )

    def close(self) -> None:
        """End the processes; who waits for one gets no peaks."""
        self._closed = True
        for worker in self._crew:
            worker.kill()
        deadline = time.monotonic() + ENDING
        for _ in self._crew:
            with suppress(queue.Empty):
                self._idle.get(timeout=max(0.0, deadline - time.monotonic())).close()
        # Who waits for a process sees that there will be none.
        for worker in self._crew:
            self._idle.put(worker)

    def _counted(self, answer: Answer) -> Found:
        with self._lock:
            if answer.problem:
                self._failed += 1
                if answer.problem != self._complained and not self._closed:
                    log.warning("no peaks are looked for: %s", answer.problem)
                self._complained = answer.problem
                return Found(None, False)
            peaks = answer.peaks
            hit = len(peaks) >= self.config.min_peaks
            self._rate.add(hit)
            return Found(peaks, hit)


class _Died(Exception):
    """The process is gone; says how."""


class _Worker:
    """One process, and the memory that it shares with us. One thread at a time may use it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._memory = -1
        self._map: mmap.mmap | None = None
        self._knows: tuple[tuple[int, ...], Mapping[str, Any]] | None = None

    @property
    def alive(self) -> bool:
        process = self._process
        return process is not None and process.returncode is None

    def find(
        self, image: NDArray[Any], about: Mapping[str, Any], config: PeaksConfig, own_mask: NDArray[np.bool_] | None
    ) -> Answer:
        """Raises `_Died`; the next call starts another."""
        try:
            if self._process is None:
                self._start()
            if self._knows is None or self._knows[0] != image.shape or self._knows[1] is not about:
                answer = self._set_up(image, about, config, own_mask)
                if answer.problem:
                    return answer
                self._knows = image.shape, about
            self._share(image)
            return self._ask(Look(image.dtype.str), LOOKING)
        except (OSError, _Died) as error:
            process = self._process
            self.close()
            code = None if process is None else process.returncode
            raise _Died(str(error) if isinstance(error, _Died) else f"is gone, with code {code}") from error

    def kill(self) -> None:
        """End the process, whoever waits for it."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, and give the memory back."""
        process, self._process = self._process, None
        self._knows = None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()
            process.wait()
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _start(self) -> None:
        self._memory = os.memfd_create("peaks")
        self._process = subprocess.Popen(  # noqa: S603, our own module
            [sys.executable, "-m", "bluesky_streamdet.streaming.crystfel.peakprocess", str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._memory,),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def _set_up(
        self, image: NDArray[Any], about: Mapping[str, Any], config: PeaksConfig, own_mask: NDArray[np.bool_] | None
    ) -> Answer:
        """Tell it what frames are like."""
        slab = (image.size // image.shape[-1], image.shape[-1])
        mask = np.zeros(slab, np.bool_)
        for name, given in (("mask of the configuration", own_mask), ("pixel_mask", about.get("pixel_mask"))):
            if given is None:
                continue
            if np.size(given) != mask.size:
                return Answer(problem=f"the {name} of shape {np.shape(given)} does not fit frames of {image.shape}")
            mask |= np.asarray(given).reshape(slab) != 0
        if any_masked := bool(mask.any()):
            self._share(mask)
        return self._ask(SetUp(image.shape, config.search, said(about), config.beam, any_masked), STARTING)

    def _share(self, array: NDArray[Any]) -> None:
        if self._map is None or len(self._map) < array.nbytes:
            os.ftruncate(self._memory, array.nbytes)
            self._map = mmap.mmap(self._memory, array.nbytes)
        np.copyto(np.frombuffer(self._map, array.dtype, array.size).reshape(array.shape), array)

    def _ask(self, message: msgspec.Struct, seconds: float) -> Answer:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        write(process.stdin, message)  # pyright: ignore[reportArgumentType], a BufferedWriter
        out: BinaryIO = process.stdout  # pyright: ignore[reportAssignmentType]
        poll = select.poll()
        poll.register(out, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise _Died(f"has not answered within {seconds:g} s")
        body = read(out)
        if body is None:
            raise _Died(f"has ended, with code {process.wait()}")
        return msgspec.msgpack.decode(body, type=Answer)


def _mask_in(config: PeaksConfig) -> NDArray[np.bool_]:
    assert config.mask is not None
    try:
        return np.load(config.mask.expanduser(), allow_pickle=False) != 0
    except (OSError, ValueError) as error:
        raise ConfigError(f"The mask {config.mask} can't be read: {error}.", "Write it with numpy.save.") from error
