"""Steering a simulated detector in another process by its control port."""

from __future__ import annotations

from types import TracebackType

import msgspec

from bluesky_streamdet.sim.commands import Arm, Command, DetectorStatus, Disarm, GetStatus, Quit, Restart, Trigger
from bluesky_streamdet.streaming.requests import Requester


class SimulatedDetectorClient:
    """One simulated detector, by the endpoint of its control port, such as "tcp://127.0.0.1:9998".

    Each method asks and waits for the answer, up to `timeout` seconds. They raise what the detector raises (`Busy`,
    `RequestRefused`), `ServiceUnreachable` when none is there, `DeadlineExceeded` when it does not answer.
    """

    def __init__(self, endpoint: str, timeout: float = 10.0) -> None:
        self.endpoint = endpoint
        self._requester = Requester(endpoint, "simulated detector", timeout)

    def arm(
        self,
        frames: int = 1,
        triggers: int = 1,
        exposure: float = 0.1,
        external: bool = False,
        period: float | None = None,
        pulse_period: float | None = None,
        filename: str = "",
    ) -> str:
        """Begin a series, see `commands.Arm`; returns its number."""
        job = Arm(frames, triggers, exposure, period, external, pulse_period, filename)
        return str(self._ask(job)["series"])

    def trigger(self) -> None:
        """Expose the frames of one trigger; does not wait for them."""
        self._ask(Trigger())

    def disarm(self) -> None:
        """End the series. Nothing happens when none is armed."""
        self._ask(Disarm())

    def restart(self) -> None:
        """Let it count series and messages anew, as after a power cycle."""
        self._ask(Restart())

    def status(self) -> DetectorStatus:
        return msgspec.convert(self._ask(GetStatus())["status"], DetectorStatus)

    def quit(self) -> None:
        """End the simulator."""
        self._ask(Quit())

    def close(self) -> None:
        """Close the connection; the detector goes on. May be called twice."""
        self._requester.close()

    def __enter__(self) -> SimulatedDetectorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, command: Command) -> dict[str, object]:
        return self._requester.ask(msgspec.to_builtins(command))
