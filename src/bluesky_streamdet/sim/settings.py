"""What a simulated detector is told when it is started, and how all of it is put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import msgspec

from bluesky_streamdet.catalog import DETECTORS, DetectorRow, endpoints_of
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.sim.control import ControlPort
from bluesky_streamdet.sim.detector import WITH_CHANNELS, SimulatedDetector
from bluesky_streamdet.sim.faults import Faults
from bluesky_streamdet.sim.modules import ModuleSender
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.streaming.sender import LINGER, Sender


class SimulatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One simulated detector.

    detector: key of `catalog.DETECTORS`, which says the wire format and the socket. endpoint: where it sends; port 0
    for any that is free; the detector's usual port on loopback when None. Further modules send on the ports that follow
    it. bind: whether receivers connect to it. control: endpoint of the control port, None for none. shape: (rows,
    columns). dtype, encoding, channels, seed: see `Pictures`; what is None is as the catalog says. linger: seconds that
    messages on their way may take when it ends.
    """

    detector: str = "eiger"
    endpoint: str | None = None
    bind: bool = True
    control: str | None = None
    shape: tuple[int, int] | None = None
    dtype: str | None = None
    encoding: str | None = None
    channels: int | None = None
    seed: int = 0
    faults: Faults = Faults()
    linger: float = LINGER


class Simulator(NamedTuple):
    """A simulated detector, and its control port if it has one."""

    detector: SimulatedDetector
    control: ControlPort | None

    @property
    def address(self) -> str:
        """Where it sends."""
        return self.detector.status().address


@contextmanager
def simulator(settings: SimulatorSettings) -> Iterator[Simulator]:
    """A simulated detector in this process, until the context ends.

    Raises `ConfigError` for settings that make no sense, `AddressTaken` for a port that is in use.
    """
    row = DETECTORS.get(settings.detector)
    if row is None:
        raise ConfigError(
            f"There is no detector {settings.detector!r}.",
            f"Known are {', '.join(DETECTORS)}; `streamdet detectors` describes them.",
        )
    # The ports first: that one is taken is said at once, not after seconds of making pictures.
    with _sender(settings, row) as sender:
        usual = row.picture
        shape, dtype = settings.shape or usual.shape, settings.dtype or usual.dtype
        if shape[0] % row.modules:
            raise ConfigError(f"{shape[0]} rows can't be shared by {row.modules} modules.")
        channels = settings.channels or usual.channels
        if channels > 1 and row.codec not in WITH_CHANNELS:
            raise ConfigError(f"{settings.detector} can't send {channels} channels.", "Take eiger-stream2.")
        pictures = Pictures(shape, dtype, settings.encoding or usual.encoding, settings.seed, channels=channels)
        with SimulatedDetector(sender, pictures, row.codec, settings.faults, row.modules) as detector:
            if settings.control is None:
                yield Simulator(detector, None)
                return
            with ControlPort(detector, settings.control) as control:
                yield Simulator(detector, control)


@contextmanager
def _sender(settings: SimulatorSettings, row: DetectorRow) -> Iterator[Sender | ModuleSender]:
    endpoint = settings.endpoint or f"tcp://127.0.0.1:{row.port}"
    kind = "pub" if row.socket == "sub" else "push"
    with ExitStack() as stack:
        senders = [
            stack.enter_context(Sender(one, kind, settings.bind, linger=settings.linger))
            for one in endpoints_of(endpoint, row.modules)
        ]
        yield senders[0] if row.modules == 1 else ModuleSender(senders)
