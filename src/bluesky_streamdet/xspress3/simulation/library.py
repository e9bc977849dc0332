"""The simulated SDK: a library whose functions are called through ctypes, as those of the vendor's are.

Each is a C function made of `abi.FUNCTIONS`, so that integers are cut to their size, and wrong types refused, as by the
real ones. Behind them are the modules of calls.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.xspress3.abi import FUNCTIONS
from bluesky_streamdet.xspress3.constants import MAX_MESSAGE, ErrorCode
from bluesky_streamdet.xspress3.simulation.bench import Bench
from bluesky_streamdet.xspress3.simulation.channel_calls import ChannelCalls
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.detector import Detector
from bluesky_streamdet.xspress3.simulation.inputs import Inputs
from bluesky_streamdet.xspress3.simulation.reading import Reader
from bluesky_streamdet.xspress3.simulation.reading_calls import ReadingCalls
from bluesky_streamdet.xspress3.simulation.refusal import Refusal
from bluesky_streamdet.xspress3.simulation.run_calls import RunCalls
from bluesky_streamdet.xspress3.simulation.sample import Sample
from bluesky_streamdet.xspress3.simulation.setup_calls import SetupCalls
from bluesky_streamdet.xspress3.simulation.system import Surroundings
from bluesky_streamdet.xspress3.simulation.timeline import Ticker

MESSAGE = "xsp3_get_error_message"

WITHOUT_LINK = {"xsp3_close", "xsp3_config", "xsp3_config_init"}
"""What can be called when the hardware is gone: `xsp3_config` says so itself."""


class Truth(NamedTuple):
    """What there is to find out about a frame. rate: photons per second that came to each channel. expected: the
    probability of each raw bin for one of them that is counted.
    """

    rate: NDArray[np.float64]
    expected: NDArray[np.float64]


class SimulatedLibrary:
    """One simulated system and the SDK's functions for it, as attributes by their names. Usable from any thread.

    clock: seconds, never going back. inputs: pulses and levels at the trigger input. sample: what the beam falls on.
    Raises `ConfigError` for a configuration that names what does not exist, `MissingLibrary` without xraydb.
    """

    def __init__(self, config: SimulationConfig | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config if config is not None else SimulationConfig()
        ticker = Ticker(clock, self.config.clock_period)
        self.inputs = Inputs(ticker)
        self.sample = Sample(self.config.sample, ticker.now)
        self._lock = threading.RLock()
        self._message = ctypes.create_string_buffer(MAX_MESSAGE)
        self._calls: Counter[str] = Counter()
        self._failures: dict[str, tuple[int, Refusal]] = {}
        self._detector = Detector(self.config, self.sample.reference)
        self._bench = Bench(Surroundings(self.config, ticker, self.inputs, self.sample, self._detector))
        self._functions = self._made()
        for name, succeed in self.config.fail.items():
            self.fail(name, succeed)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        try:
            return self.__dict__["_functions"][name]
        except KeyError:
            raise AttributeError(f"the simulated SDK has no {name}") from None

    # What no SDK has

    def fail(self, name: str, succeed: int = 0, code: ErrorCode | None = None, text: str = "") -> None:
        """Let one call of an SDK function fail, after so many that don't. Raises `ConfigError` for what is none."""
        if name not in self._functions:
            raise ConfigError(f"The SDK has no function {name!r} that could fail.", "Write its whole name: xsp3_...")
        if code is None:
            opens = name in {"xsp3_config", "xsp3_config_init"}
            code = ErrorCode.ERR_DEV_NOT_FOUND if opens else ErrorCode.ERROR
        reason = text or ("device not found" if code == ErrorCode.ERR_DEV_NOT_FOUND else "it was asked to fail")
        with self._lock:
            self._failures[name] = (self._calls[name] + succeed, Refusal(code, f"{name}: {reason}"))

    def unplug(self) -> None:
        """Lose the connection to the hardware: all calls fail but those that close the system."""
        self._bench.linked = False

    def plug(self) -> None:
        """The connection is there again; the system is as it was."""
        self._bench.linked = True

    def truth(self, frame: int) -> Truth:
        """What a frame of the latest run looks at. Raises `ValueError` when it has not begun."""
        with self._lock:
            system = self._bench.opened
            if system is None or system.run is None or system.run.furthest(system.advance()) <= frame:
                raise ValueError(f"frame {frame} has not begun")
            composition = system.exposure(frame).composition
            return Truth(self._detector.rate(composition), self._detector.expected(composition))

    def contents(self, frame: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Spectra (channel, auxiliary, energy) and scalers (channel, 9) of a frame that has begun, as a reader has to
        find them, whether memory still holds it or not. Raises `ValueError` when it has not begun.
        """
        with self._lock:
            system = self._bench.opened
            if system is None or system.run is None or system.run.furthest(system.advance()) <= frame:
                raise ValueError(f"frame {frame} has not begun")
            reader = Reader(system)
            spectra = np.empty((1, *reader.shape), np.uint32)
            reader.spectra(reader.whole(range(frame, frame + 1)), spectra)
            return spectra[0], reader.scalers(range(frame, frame + 1))[0]

    # The functions

    def _made(self) -> Mapping[str, Callable[..., Any]]:
        groups = [kind(self._bench) for kind in (SetupCalls, ChannelCalls, RunCalls, ReadingCalls)]
        functions: dict[str, Callable[..., Any]] = {}
        for name, signature in FUNCTIONS.items():
            prototype = ctypes.CFUNCTYPE(signature.restype, *signature.argtypes)
            if name == MESSAGE:
                address = ctypes.addressof(self._message)
                functions[name] = prototype(lambda address=address: address)
                continue
            spelled = _spelled(name)
            method = next(getattr(group, spelled) for group in groups if hasattr(group, spelled))
            functions[name] = prototype(self._guarded(name, method))
        return functions

    def _guarded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        needs_link = name not in WITHOUT_LINK

        def call(*arguments: Any) -> Any:
            with self._lock:
                try:
                    if self._failures:
                        self._fail_if_due(name)
                    if needs_link and not self._bench.linked:
                        raise Refusal(ErrorCode.ERROR, f"{name}: the link is lost, card 0 does not answer")
                    result = method(*arguments)
                except Refusal as refusal:
                    self._message.value = refusal.text.encode(errors="replace")[: MAX_MESSAGE - 1]
                    return int(refusal.code)
                self._calls[name] += 1
                return result

        return call

    def _fail_if_due(self, name: str) -> None:
        due = self._failures.get(name)
        if due is not None and self._calls[name] >= due[0]:
            del self._failures[name]
            raise due[1]


def _spelled(name: str) -> str:
    """A method's name for an SDK function's: xsp3_getDeadtimeCorrectionFlags is get_deadtime_correction_flags."""
    return re.sub(r"(?<=[a-z])_?([A-Z])", r"_\1", name.removeprefix("xsp3_")).lower()
