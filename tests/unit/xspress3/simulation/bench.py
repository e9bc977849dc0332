"""A simulated system in a test's hands: a clock that it turns, and the SDK's functions with their pointers written."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.abi import TFStatus
from bluesky_streamdet.xspress3.constants import GapMode, ItfgTrigger, RunFlags, TimeSource, TimeStatus
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.library import SimulatedLibrary

PERIOD = 12.5e-9
CIRCULAR = RunFlags.SCALERS | RunFlags.HIST | RunFlags.CIRCULAR_BUFFER
HIGHEST_32 = 0xFFFFFFFF


class Clock:
    """Seconds, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += seconds

    def tick(self, cycles: int) -> None:
        self.now += cycles * PERIOD


class Bench:
    """A system that is open, in the format of 4096 bins. Methods fail the test where the SDK says no."""

    def __init__(self, frames: int = 16384, cards: int = 1, flags: RunFlags = CIRCULAR, **config: Any) -> None:
        self.clock = Clock()
        self.library = SimulatedLibrary(SimulationConfig(cards=cards, **config), self.clock)
        self.path = self.library.xsp3_config(cards, frames, None, -1, None, -1, -1, None, -1, -1)
        assert self.path >= 0, self.message
        self.call("set_run_flags", int(flags))
        self.capacity = self.call("format_run", -1, 0, 0, 0, 0, 0, 12)

    def raw(self, name: str, *arguments: Any) -> Any:
        return getattr(self.library, f"xsp3_{name}")(self.path, *arguments)

    def call(self, name: str, *arguments: Any) -> Any:
        result = self.raw(name, *arguments)
        assert result >= 0, f"{name}: {self.message}"
        return result

    @property
    def message(self) -> str:
        return ctypes.string_at(self.library.xsp3_get_error_message()).decode()

    @property
    def channels(self) -> int:
        return self.call("get_num_chan")

    def generate(
        self,
        frames: int,
        cycles: int,
        trigger: ItfgTrigger = ItfgTrigger.BURST,
        gap: GapMode = GapMode.NS25,
        in_pause: int = 0,
        register: int = 0,
    ) -> None:
        """Set card 0 to internal frames; register: further bits of timing register A."""
        self.call("set_glob_timeA", 0, TimeSource.INTERNAL | register)
        self.call("itfg_setup2", 0, frames, cycles, trigger, gap, in_pause, 0, 0)

    def clear(self) -> None:
        self.call("histogram_clear", 0, self.channels, 0, self.capacity)

    def start(self) -> None:
        self.call("histogram_start", 0)

    def arm(self) -> None:
        self.call("histogram_arm", 0)

    def stop(self) -> None:
        self.call("histogram_stop", -1)

    def trigger(self) -> None:
        self.call("histogram_continue", 0)
        self.call("histogram_pause", 0)

    def burst(self, frames: int, cycles: int = 8000) -> None:
        """Take frames, of 0.1 ms unless told, and wait for them."""
        self.generate(frames, cycles)
        self.clear()
        self.start()
        self.clock.tick(frames * (cycles + 2))

    @property
    def progress(self) -> int:
        return self.call("scaler_check_progress")

    def details(self) -> tuple[int, int, int]:
        """Complete frames, frames begun, error flags."""
        flags, furthest = ctypes.c_int(), ctypes.c_int64()
        complete = self.call("scaler_check_progress_details", ctypes.byref(flags), 1, ctypes.byref(furthest))
        return complete, furthest.value, flags.value

    def status(self, card: int = 0) -> tuple[TimeStatus, int]:
        """Bits of the timing status, and the frame."""
        value = self.get("get_glob_time_statA", card)
        return TimeStatus(value & 0xF << 24), value & 0xFFFFFF

    def get(self, name: str, *arguments: Any, kind: Callable[[], Any] = ctypes.c_uint32) -> Any:
        """A function that writes one number."""
        value = kind()
        self.call(name, *arguments, ctypes.byref(value))
        return value.value

    def spectra(self, first: int, count: int) -> NDArray[np.uint32]:
        """Of shape (frames, channels, bins)."""
        out = np.zeros((count, self.channels, self.call("get_bins_per_mca")), np.uint32)
        self.call("histogram_read4d", words(out), 0, 0, 0, first & HIGHEST_32, out.shape[2], 1, out.shape[1], count)
        return out

    def scalers(self, first: int, count: int) -> NDArray[np.uint32]:
        """Of shape (frames, channels, 9)."""
        out = np.zeros((count, self.channels, 9), np.uint32)
        self.call("scaler_read", words(out), 0, 0, first & HIGHEST_32, 9, out.shape[1], count)
        return out

    def acknowledge(self, first: int, count: int) -> None:
        self.call("histogram_circ_ack", 0, first, self.channels, count)

    def frame_status(self, frame: int, channel: int = 0) -> TFStatus:
        status = TFStatus()
        self.call("histogram_get_tf_status_block", channel, frame, 1, ctypes.byref(status))
        return status

    def overrun(self, channel: int = -1) -> tuple[int, int]:
        """Frames lost, and the first of them."""
        first = ctypes.c_int64()
        return self.call("histogram_get_circ_overrun", channel, ctypes.byref(first)), first.value


def words(array: NDArray[np.uint32]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))


def doubles(array: NDArray[np.float64]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
