"""The status of a data plane, made when it is wanted: what runs, how fast, who is slow."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.streaming.crystfel.responder import Responder
from bluesky_streamdet.streaming.fanout import Output
from bluesky_streamdet.streaming.pipeline import Pipeline
from bluesky_streamdet.streaming.status import LedgerReport, Status

RATE_WINDOW = 1.0
"""Seconds over which rates are taken."""
BUSY_WRITING = 0.7
"""A disk that takes this share of the loop's time is what limits the rate."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class StatusReporter:
    """Makes the status of one pipeline."""

    def __init__(self, pipeline: Pipeline, clock: Callable[[], float] = time.monotonic) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._revision = 0
        self._since = clock()
        self._counted = (0, 0, 0.0)
        self._rates = (0.0, 0.0, 0.0)

    def status(self) -> Status:
        """The state of everything, now."""
        pipeline = self._pipeline
        receiver, writer = pipeline.receiver, pipeline.writer
        self._revision += 1
        frames, megabytes, writing = self._measured_rates()
        failure = writer.failure if writer is not None else pipeline.failure
        error = pipeline.source.trouble or (str(failure) if failure is not None else None)
        failed = error is not None and receiver.state is State.IDLE
        return Status(
            detector=pipeline.config.detector,
            state="error" if failed else receiver.state,
            error=error,
            paused=pipeline.paused,
            revision=self._revision,
            series=writer.report() if writer is not None else None,
            last_series=pipeline.last,
            between=LedgerReport.model_validate(receiver.between.report()),
            sources=pipeline.source.report(),
            transforms=pipeline.source.work(),
            outputs=[output.report() for output in pipeline.outputs],
            crystfel=[one.report() for one in pipeline.crystfel],
            monitor=None if pipeline.monitor is None else pipeline.monitor.address,
            disk=writer.room.report() if writer is not None and writer.room is not None else None,
            slow=self._slow(writing),
            frames_per_second=round(frames, 2),
            megabytes_per_second=round(megabytes, 3),
            seconds_without_data=self._without_data(),
            resident_megabytes=resident_megabytes(),
            log_level=logging.getLevelName(logging.getLogger("bluesky_streamdet").getEffectiveLevel()),
        )

    def _without_data(self) -> float | None:
        receiver = self._pipeline.receiver
        if receiver.state is State.IDLE:
            return None
        return round(max(0.0, self._pipeline.now - receiver.last_data), 1)

    def _slow(self, writing: float) -> str | None:
        output = self._pipeline.blocked_by
        if isinstance(output, Output):
            who = "its client" if output.report().clients else "a client; nobody is connected"
            return f"output {output.config.name!r} waits for {who}"
        if isinstance(output, Responder):
            who = "workers of CrystFEL" + ("" if output.report().workers else "; none is connected")
            return f"{output.config.name!r} waits for {who}"
        writer = self._pipeline.writer
        if writing > BUSY_WRITING and writer is not None:
            return f"the disk that holds {writer.path}"
        work = self._pipeline.source.work()
        if work is not None and work.pushes_back:
            return f"the transforms ({', '.join(work.steps) or 'decoding'}), with {work.workers} workers"
        return None

    def _measured_rates(self) -> tuple[float, float, float]:
        """Frames/s, MB/s, and the share of time spent writing, over the last whole window."""
        pipeline, now = self._pipeline, self._clock()
        elapsed = now - self._since
        if elapsed >= RATE_WINDOW:
            counted = (pipeline.frames, pipeline.bytes, pipeline.writing)
            steps = [new - old for new, old in zip(counted, self._counted, strict=True)]
            self._rates = (steps[0] / elapsed, steps[1] / elapsed / 1e6, steps[2] / elapsed)
            self._since, self._counted = now, counted
        return self._rates


def resident_megabytes() -> float:
    """Memory of this process that is in RAM, in MB (10^6 bytes)."""
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(resident_pages * PAGE / 1e6, 1)
