"""Arming a service that may not be ready at once, as after a failed run, or when it has just been started again.

What passes by itself is waited for: the end of a series that is finishing, and a data plane that is started again. So
the scan after a failed one needs nothing of anybody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from bluesky_streamdet.core.errors import Busy
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.devices.setup import Setup
from bluesky_streamdet.devices.watch import Client
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status

log = logging.getLogger(__name__)

STARTING = 20.0
"""Seconds that a service may take to start a data plane again, with the pauses that it makes between its tries."""


def arm(client: Client, request: ArmRequest, setup: Setup, name: str) -> SeriesReport:
    """Arm the service for a series of the device `name`, within the device's margin.

    A series that nobody has armed is ended when the device's driver is what makes the detector send: the detector has
    gone on through a restart of the service. Its file stays. Raises `Busy` for one that somebody has armed,
    `ServiceUnreachable`, `PathRefused` or `FileTaken`.
    """
    deadline = time.monotonic() + setup.margin
    while True:
        try:
            return client.arm(request)
        except Busy as error:
            if not _passes(client, setup, name) or not _waited(client, lambda one: one.series is None, deadline):
                raise Busy(
                    f"{name} can't be staged: {error.message}",
                    f"Wait for its end; if nobody wants it, {name}.abort() ends it.",
                ) from error


def status_of(client: Client) -> Status:
    """The status of a service, once its data plane runs. Raises `ServiceUnreachable` when nobody answers."""
    status = client.status()
    if status.state == "error":
        _waited(client, lambda one: one.state != "error", time.monotonic() + STARTING)
        status = client.status()
    return status


def _passes(client: Client, setup: Setup, name: str) -> bool:
    """Whether the service's series ends without anybody's doing, or has been made to."""
    status = client.status()
    series = status.series
    if series is None or status.state == State.FINISHING:
        return True
    if series.armed_at is not None or not setup.driver.arms:
        return False
    log.warning("detector %s sent frames that nobody asked for, which are in %s; they are ended", name, series.file)
    setup.driver.disarm()
    client.stop(series.id)
    return True


def _waited(client: Client, wanted: Callable[[Status], bool], deadline: float) -> bool:
    """Wait for such a status. False when it has not come by the deadline."""
    came = threading.Event()

    def look(status: Status | None) -> None:
        if status is not None and wanted(status):
            came.set()

    unsubscribe = client.subscribe(look)
    try:
        return came.wait(deadline - time.monotonic())
    finally:
        unsubscribe()
