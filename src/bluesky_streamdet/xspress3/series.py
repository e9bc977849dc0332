"""One series of an Xspress3 from its start to its end, read as fast as the hardware has frames. It waits for nothing.

A series of several triggers with several frames each, which the hardware does not know, is one run of the hardware
for each trigger; its frames are numbered through.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import HardwareFailed, RequestRefused
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat
from bluesky_streamdet.xspress3.acquisition import ALL_WELL, Progress
from bluesky_streamdet.xspress3.constants import LOSSES, NUM_SCALERS, Generation
from bluesky_streamdet.xspress3.recent import Batch
from bluesky_streamdet.xspress3.records import RecordMaker
from bluesky_streamdet.xspress3.sdk import Xspress3
from bluesky_streamdet.xspress3.timing import Timing

BATCH = 64
BATCH_BYTES = 8 << 20
"""So many frames, or bytes of spectra, are read at once; the SDK's calls cost the same for one as for many."""
FEW = 16
"""Up to so many frames get memory of their own; for more, arrays are used again, as fresh memory costs more."""
IDLE_LOOKS = 2
"""Times in a row that the SDK has to say that it is idle, before all that it had is there."""
SLOW = "Take longer frames, or a faster disk or receiver: while a series runs, the status says who holds it up."
SETTLING = 1.0
"""Seconds after which nobody waits for that any more."""


class Overrun(HardwareFailed):
    """Frames were overwritten before they were read."""

    code = "overrun"


class Arrays:
    """Arrays of one shape that are used again when nobody looks at them any more."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._arrays: list[NDArray[np.uint32]] = []

    def get(self) -> NDArray[np.uint32]:
        """One that nobody uses; its contents are old."""
        for index in range(len(self._arrays)):
            # The list's reference, and the one that is handed to the question.
            if sys.getrefcount(self._arrays[index]) == 2:
                return self._arrays[index]
        self._arrays.append(np.empty(self._shape, np.uint32))
        return self._arrays[-1]


class HardwareSeries:
    """Frames of one series. Everything raises `HardwareFailed` when the SDK fails.

    id: of the series. bursts: how often `timing` is run, each at a trigger of its own; 1 but for several frames each of
    several software triggers.
    """

    def __init__(self, sdk: Xspress3, id: str, timing: Timing, bursts: int, maker: RecordMaker) -> None:
        self.id = id
        self.timing = timing
        self.expected = timing.total * bursts
        self.taken = self.triggers = 0
        self.stopping = False
        self._sdk = sdk
        self._bursts = bursts
        self._maker = maker
        self._offset = self._read = self._complete = 0
        self._idle_looks, self._stopped_at = 0, 0.0
        self._flags = ALL_WELL
        sdk.arm(timing)
        shape = sdk.frame_shape
        self.format = FrameFormat(shape, "<u4", RAW, shape, maker.scalars)
        self._most = max(1, min(BATCH, BATCH_BYTES // self.format.nbytes, sdk.capacity))
        self._arrays = Arrays((self._most, *shape))
        self._scalers = np.empty((self._most, sdk.channels, NUM_SCALERS), np.uint32)

    @property
    def acquired(self) -> int:
        """Frames that were complete when last looked at."""
        return self._offset + self._complete

    @property
    def losses(self) -> str:
        """What the SDK says has got lost on the way, in words; empty when nothing has."""
        flags = self._flags & LOSSES
        if not flags:
            return ""
        names = ", ".join(str(one.name) for one in flags)
        return f"the SDK reports {names}: data got lost between detector and computer, and counts may be too low"

    @property
    def started(self) -> bool:
        """Whether the first frame may have begun."""
        return self.timing.mode == "internal" or self.triggers > 0 or self.acquired > 0

    @property
    def ready_for_trigger(self) -> bool:
        """Whether a software trigger would start a frame now."""
        if self._next_burst_is_due:
            return self._burst_is_read
        return self._sdk.ready_for_trigger

    @property
    def _next_burst_is_due(self) -> bool:
        return not self.stopping and 0 < self.triggers < self._bursts

    @property
    def _burst_is_read(self) -> bool:
        return self._read >= self.timing.total

    def trigger(self) -> None:
        """Start the frames of one software trigger. Raises `RequestRefused` or `Busy` when none is awaited."""
        if self._next_burst_is_due:
            if not self._burst_is_read:
                raise RequestRefused(
                    f"The {self.timing.frames} frames of trigger {self.triggers} have not all come yet.",
                    "Wait until ready_for_trigger is true.",
                )
            self._offset += self.timing.total
            self._read = self._complete = 0
            self._sdk.arm(self.timing)
        self._sdk.trigger()
        self.triggers += 1

    def release(self) -> None:
        """End the frame that `trigger` began, in mode "software_timed". Raises `RequestRefused` when none runs."""
        self._sdk.release()

    def stop(self) -> None:
        """End it: nothing more begins. What there is, is still read."""
        if not self.stopping:
            self.stopping = True
            self._stopped_at = time.monotonic()
            self._sdk.stop()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        if self.taken >= self.expected:
            return True
        if not self.stopping or self._read < self._complete:
            return False
        self._idle_looks = 0 if self._sdk.is_busy() else self._idle_looks + 1
        return self._idle_looks >= IDLE_LOOKS or time.monotonic() - self._stopped_at > SETTLING

    def look(self) -> None:
        """See how far the hardware is, and read nothing. Raises `Overrun` when it overwrites what is to be read."""
        self._look()
        self._check_intact(self._read)

    def read(self) -> Batch | None:
        """The next frames, as many as are there and fit into a batch; None when there are none.

        Raises `Overrun` when some were overwritten before they were read.
        """
        if self._read >= self._complete:
            self._look()
        first, frames = self._read, min(self._complete - self._read, self._most, self.expected - self.taken)
        if frames <= 0:
            self._look_for_an_end()
            return None
        self._check_intact(first)
        try:
            batch = self._read_out(first, frames)
        finally:
            self._check_intact(first)
        self._sdk.acknowledge(first, frames)
        self._read += frames
        self.taken += frames
        return batch

    def _read_out(self, first: int, frames: int) -> Batch:
        out = self._arrays.get()[:frames] if frames > FEW else None
        spectra = self._sdk.read_spectra(first, frames, out)
        records = self._maker(self._sdk.read_scalers(first, frames, self._scalers[:frames]))
        return Batch(self.taken, spectra, records)

    def frames(self, batch: Batch) -> list[Frame]:
        """The frames of a batch; they look at its memory."""
        spectra = memoryview(batch.spectra).cast("B")
        records = memoryview(batch.records.view(np.uint8))
        size, record = self.format.nbytes, batch.records.itemsize
        received = time.time_ns()
        return [
            Frame(
                batch.first + index,
                None,
                self.id,
                self.format,
                (spectra[index * size : (index + 1) * size],),
                received,
                scalars=records[index * record : (index + 1) * record],
            )
            for index in range(len(batch.spectra))
        ]

    def _look(self) -> None:
        self._complete = max(self._complete, self._progress().complete)

    def _progress(self) -> Progress:
        progress = self._sdk.progress()
        self._flags |= progress.flags
        return progress

    def _check_intact(self, first: int) -> None:
        """Whether frame `first` is still in the memory. Raises `Overrun`; a Mini stops instead."""
        if self._sdk.generation is Generation.MINI:
            return
        kept_from = self._progress().furthest - self._sdk.capacity
        if kept_from > first:
            raise Overrun(
                f"Overrun: frames {self._offset + first} to {self._offset + kept_from - 1} were overwritten before "
                f"they were read; the detector keeps {self._sdk.capacity}.",
                SLOW,
            )

    def _look_for_an_end(self) -> None:
        """Nothing is there: look whether nothing will come, and whether the last frame waits for the stop."""
        if self.stopping:
            return
        if self._sdk.overrun().frames:
            raise Overrun(
                f"Overrun: the detector stopped after frame {self.acquired - 1}, as its memory of {self._sdk.capacity} "
                "frames was full.",
                SLOW,
            )
        if self.taken == self.expected - 1 and self._sdk.last_frame_is_over:
            # It counts as complete when the next begins, and none will.
            self.stop()
