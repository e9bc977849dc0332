"""Which frames the histogram memory holds, and what is lost when nobody takes them. It holds no counts itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bluesky_streamdet.xspress3.constants import ErrorCode, ErrorFlag
from bluesky_streamdet.xspress3.simulation.refusal import Refusal, out_of_range, whole_range


class Lost(NamedTuple):
    """Frames that were overwritten before they were acknowledged. first: the number of the first; -1 for none."""

    frames: int
    first: int


class FrameMemory:
    """Slots for `capacity` frames of each channel, used in turn.

    circular: a frame goes to slot `number % capacity`; otherwise, nothing is recorded after the last slot. stops: as in
    a Mini, the run ends at the first frame whose slot has not been acknowledged; other generations overwrite it.
    """

    def __init__(self, channels: int, capacity: int, circular: bool, stops: bool) -> None:
        self.capacity = capacity
        self.circular = circular
        self.flags = ErrorFlag(0)
        self.end: int | None = None
        """Number of the first frame that has no place any more; None while all have."""
        self._stops = stops
        self._used = np.zeros((channels, capacity), np.bool_)
        self._begun = [0] * channels
        self._lost = np.zeros(channels, np.int64)
        self._first = np.full(channels, -1, np.int64)

    def fill(self, channels: range, begun: int) -> None:
        """`begun` frames of `channels` have begun by now."""
        if not channels:
            return
        first = self._begun[channels.start]
        if self.end is not None:
            begun = min(begun, self.end)
        if begun <= first:
            return
        if not self.circular and begun > self.capacity:
            begun = self.end = self.capacity
            self.flags |= ErrorFlag.HIST_FRAMES_OVERRUN
        while first < begun:
            # No further than one turn at once, and not across the end of the memory.
            slot = first % self.capacity
            count = min(begun - first, self.capacity - slot)
            count = self._take(channels, first, slot, count)
            first += count
            if self.end is not None and first >= self.end:
                break
        for channel in channels:
            self._begun[channel] = first

    def begun(self, channel: int) -> int:
        """Frames of a channel that have been given a slot."""
        return self._begun[channel]

    def held(self, channel: int, frame: int) -> int:
        """The frame that is found when `frame` is asked for: the newest of its slot, or -1 when it is empty.

        Raises `Refusal` beyond the end of a memory that is not circular.
        """
        if not self.circular and frame >= self.capacity:
            raise out_of_range("frame", frame, f"0 to {self.capacity - 1}, as the memory is not circular")
        newest = self._begun[channel] - 1
        found = newest - (newest - frame) % self.capacity
        return max(found, -1)

    def acknowledge(self, channels: range, frame: int, count: int) -> None:
        """Free the slots of some frames. Raises `Refusal` for frames that have not begun, and in a Mini, for those that
        have been acknowledged before.
        """
        whole_range("frames", frame, count, min(self._begun[channel] for channel in channels))
        slots = np.arange(frame, frame + min(count, self.capacity)) % self.capacity
        used = self._used[channels.start : channels.stop]
        if self._stops and not used[:, slots].all():
            raise Refusal(ErrorCode.ERROR, f"frames {frame} to {frame + count - 1} have been acknowledged before")
        used[:, slots] = False

    def is_used(self, channel: int, frame: int) -> bool:
        """Whether a frame is in memory and not acknowledged."""
        return bool(self._used[channel, frame % self.capacity])

    def lost(self, channel: int) -> Lost:
        """What a channel has lost; the worst of all channels for -1."""
        channel = int(self._lost.argmax()) if channel < 0 else channel
        return Lost(int(self._lost[channel]), int(self._first[channel]))

    def _take(self, channels: range, first: int, slot: int, count: int) -> int:
        """Give slots to frames; returns to how many."""
        used = self._used[channels.start : channels.stop, slot : slot + count]
        if used.any():
            self.flags |= ErrorFlag.CIRC_BUFF_OVERRUN | ErrorFlag.CIRC_BUFF_OVERRUN_SCALARS
            at = int(used.any(axis=0).argmax())
            lost = self._lost[channels.start : channels.stop]
            lost += used[:, at] if self._stops else used.sum(axis=1)
            noted = self._first[channels.start : channels.stop]
            fresh = used.any(axis=1) & (noted < 0)
            noted[fresh] = first + used.argmax(axis=1)[fresh] - self.capacity
            if self._stops:
                self.end = first + at
                self._used[channels.start : channels.stop, slot : slot + at] = True
                return at
        used[:] = True
        return count
