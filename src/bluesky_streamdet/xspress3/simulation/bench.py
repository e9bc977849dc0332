"""What the simulated library finds when it is called: the hardware on its bench, and the system that was opened."""

from __future__ import annotations

from bluesky_streamdet.xspress3.constants import MAX_CARDS, ErrorCode
from bluesky_streamdet.xspress3.simulation.refusal import Refusal, out_of_range
from bluesky_streamdet.xspress3.simulation.system import Surroundings, System

PATH = 0
"""The handle of the only system. Opening it again begins anew, and gives the same handle."""

DEFAULT_FRAMES = 16384
MOST_FRAMES = 1 << 24


class Bench:
    """One system's hardware, opened or not, and whether it is connected."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self.linked = True
        self._system: System | None = None

    def open(self, cards: int, num_tf: int, channels: int) -> int:
        """`xsp3_config`: the handle. Numbers below 1 stand for all there are. Raises `Refusal`."""
        config = self.surroundings.config
        if not self.linked:
            raise Refusal(ErrorCode.ERR_DEV_NOT_FOUND, "no card answers at 192.168.0.2: device not found")
        if cards > MAX_CARDS:
            raise out_of_range("ncards", cards, f"1 to {MAX_CARDS}")
        if cards > config.cards:
            text = f"card {config.cards} does not answer at 192.168.0.{config.cards + 2}: device not found"
            raise Refusal(ErrorCode.ERR_DEV_NOT_FOUND, text)
        opened = cards if cards > 0 else config.cards
        available = config.channels // config.cards * opened
        if channels > available:
            raise out_of_range("nchan", channels, f"1 to {available}")
        if num_tf > MOST_FRAMES:
            raise Refusal(ErrorCode.OUT_OF_MEMORY, f"there is no memory for {num_tf} frames")
        frames = num_tf if num_tf > 0 else DEFAULT_FRAMES
        self._system = System(self.surroundings, opened, frames, channels if channels > 0 else available)
        return PATH

    def close(self, path: int) -> None:
        """Raises `Refusal` for what is no handle, or no more."""
        self.system(path).stop(-1)
        self._system = None

    def system(self, path: int) -> System:
        """Raises `Refusal` for what is no handle."""
        if path != PATH or self._system is None:
            raise Refusal(ErrorCode.INVALID_PATH, f"path {path} is not open: call xsp3_config first")
        return self._system

    @property
    def opened(self) -> System | None:
        return self._system
