"""Steers a detector by SIMPLON: its settings, arming, triggers, the end of a series.

The rules it keeps: a detector is triggered only when the header of its series has reached the service; what it does in
a series that nobody wants any more is ended at once; after `disarm`, whatever happened, it can be armed again.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from bluesky_streamdet.core.errors import DeadlineExceeded, HardwareFailed, RequestRefused, StreamdetError
from bluesky_streamdet.devices.eiger import settings as written
from bluesky_streamdet.devices.eiger.readings import read_all
from bluesky_streamdet.devices.eiger.settings import Settings
from bluesky_streamdet.devices.eiger.simplon import PendingCommand, Simplon
from bluesky_streamdet.devices.watch import Client, SeriesWatch
from bluesky_streamdet.documents import DATA
from bluesky_streamdet.streaming.status import DatasetReport, SeriesReport

log = logging.getLogger(__name__)

INITIALIZING = 240.0
"""Seconds that it may take; a cold detector takes minutes."""
ARMING = 120.0
"""Seconds that it may take; flat fields of a new energy are computed then."""
SETTLING = 10.0
"""Seconds that the end of a series may take."""
LOOK = 0.02
"""Seconds between two looks whether it has."""
IDLE, READY, NOT_INITIALIZED, ERROR = "idle", "ready", "na", "error"


class EigerDriver:
    """simplon: of its control unit. margin: seconds that the header, and the answer to a trigger, may take beyond what
    the frames take. initialize: whether a detector that was switched off and on is initialized without asking.
    numbered: whether the answer to arm is the number of the series in the stream.

    `settings` are those for the next arming; the detector is armed anew when they change. `readings` are those of the
    last `ready`.
    """

    arms = True
    counts = True

    def __init__(
        self,
        simplon: Simplon,
        settings: Settings,
        *,
        margin: float,
        initialize: bool = False,
        numbered: bool = True,
    ) -> None:
        self.simplon = simplon
        self.settings = settings
        self.exposure = 0.0
        self.readings: dict[str, Any] = {}
        self._margin = margin
        self._initialize = initialize
        self._numbered = numbered
        self._watch: SeriesWatch | None = None
        self._armed = False
        self._asked = 0
        self._frames = 0
        self._frame_time = 0.0
        self._pending: PendingCommand | None = None

    @property
    def options(self) -> object:
        return self.settings

    # The detector by itself.

    def initialize(self) -> None:
        """Initialize the detector, which takes minutes, and forgets its settings. Raises what it refuses."""
        self.simplon.command("initialize", INITIALIZING)

    def abort(self) -> None:
        """End whatever series the detector has, whoever armed it. Raises `DeadlineExceeded` when that takes long."""
        if self.simplon.state() not in (IDLE, NOT_INITIALIZED):
            self.simplon.command("abort")
            self._wait_for_idle()

    # A run.

    def ready(self, client: Client) -> DatasetReport:
        """Set up the detector with the settings and the exposure, and learn what its frames will be like.

        Raises `HardwareFailed`, `RequestRefused`, `ConfigError`, and `DeadlineExceeded` for a service that is not
        connected to the detector's stream.
        """
        self._make_idle()
        written.write_beam(self.simplon, self.settings)
        written.write_timing(self.simplon, self.settings, self.exposure)
        self._wait_until_connected(client)
        self.readings = read_all(self.simplon)
        channels = len(self.settings.thresholds)
        shape = (*((channels,) if channels > 1 else ()), self.readings["rows"], self.readings["columns"])
        bits = self.readings["bit_depth_image"]
        return DatasetReport(dataset=DATA, shape=shape, dtype=f"<u{bits // 8}", chunk_shape=())

    def follow(self, watch: SeriesWatch) -> None:
        """Take part in this series of the service from the next `arm` on."""
        self._watch = watch

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        """Set up everything, arm, and wait until the service has the header of the series."""
        self.disarm()
        self._make_idle()
        simplon, settings = self.simplon, self.settings
        watch = self._watch
        written.write_beam(simplon, settings)
        self._frame_time = written.write_timing(simplon, settings, exposure)
        written.write_series(simplon, settings, frames, triggers, external)
        written.write_stream(simplon, settings, {} if watch is None else _named(watch.report))
        if watch is not None and watch.current(ask=True).started_at is not None:
            raise self._left_over(watch.report)
        self.exposure = exposure
        self._frames = frames
        self._asked = frames * triggers if external else 0
        self._armed = True
        number = simplon.command("arm", ARMING)
        if watch is not None:
            self._wait_for_header(watch, number)

    def trigger(self) -> None:
        """Start the frames of one trigger. What goes wrong later is told to the wait for the frames."""
        if not self._armed:
            raise RequestRefused("The detector is not armed.", "Arm it before it is triggered.")
        self._end_pending()
        count_time = self.exposure if self.settings.software_mode == "inte" else None
        timeout = self._frames * self._frame_time + self._margin
        self._asked += self._frames
        self._pending = self.simplon.begin("trigger", count_time, timeout, self._tell)

    def disarm(self) -> None:
        """End the series, at once if frames of it are wanting. No error when none is armed."""
        if not self._armed:
            return
        self._armed = False
        try:
            complete = self._all_came
            if complete and self._pending is not None:
                # The answer comes behind the last frame.
                self._pending.wait(self._frame_time + SETTLING)
            if self.simplon.state() != IDLE:
                self.simplon.command("disarm" if complete else "abort")
                self._wait_for_idle()
        finally:
            if self._pending is not None:
                self._pending.give_up()
                self._pending = None

    @property
    def _all_came(self) -> bool:
        return self._watch is None or self._watch.report.ledger.unique >= self._asked

    def _end_pending(self) -> None:
        """Wait for the answer to the trigger before, as the detector takes no other until then."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        answered = pending.wait(self._frames * self._frame_time + SETTLING)
        pending.give_up()
        if not answered:
            raise DeadlineExceeded(
                f"The detector at {self.simplon.url} is still busy with the trigger before.", "Abort it, and run again."
            )

    def _tell(self, error: StreamdetError) -> None:
        log.warning("%s", error)
        if self._watch is not None:
            self._watch.fail(error)

    # Waits, each with its deadline.

    def _make_idle(self) -> None:
        """Raises `RequestRefused` when that is not ours to do, and `HardwareFailed` for a detector with an error."""
        simplon = self.simplon
        state = simplon.state()
        if state == NOT_INITIALIZED and self._initialize:
            log.info("the detector at %s is initialized, which may take minutes", simplon.url)
            self.initialize()
            state = simplon.state()
        if state == READY:
            log.warning("the detector at %s was armed by somebody; it is disarmed", simplon.url)
            simplon.command("disarm")
            self._wait_for_idle()
        elif state == NOT_INITIALIZED:
            raise RequestRefused(
                f"The detector at {simplon.url} is not initialized, as it was switched on meanwhile.",
                "Call the device's initialize(), which takes minutes; or make the device with initialize=True.",
            )
        elif state == ERROR:
            raise HardwareFailed(
                f"The detector at {simplon.url} reports errors: {simplon.value('detector/status/error')}.",
                "Look at its web page. Initializing it may help: the device's initialize().",
            )
        elif state != IDLE:
            raise RequestRefused(
                f"The detector at {simplon.url} is busy; its state is {state}.",
                "Wait for the end of that; if nobody wants it, the device's abort() ends it.",
            )

    def _wait_for_idle(self) -> None:
        deadline = time.monotonic() + SETTLING
        while (state := self.simplon.state()) != IDLE:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"The detector at {self.simplon.url} was told to end its series {SETTLING:g} s ago; it is {state}.",
                    "Look at its web page; initializing it may help.",
                )
            time.sleep(LOOK)

    def _wait_until_connected(self, client: Client) -> None:
        deadline = time.monotonic() + self._margin
        while lost := [one.endpoint for one in client.status().sources if not one.connected]:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"The service is not connected to the detector's stream at {', '.join(lost)}.",
                    "Is that the detector's address, and the port of the version of the stream? It is 9999 of version "
                    "1 and 31001 of version 2, mostly.",
                )
            time.sleep(LOOK)

    def _wait_for_header(self, watch: SeriesWatch, number: int | None) -> None:
        deadline = time.monotonic() + self._margin
        changes = watch.changes
        while watch.report.started_at is None and watch.current(ask=True).started_at is None:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"The header of the detector's series did not reach the service within {self._margin:g} s.",
                    f"Does the service receive stream version {self.settings.stream} of {self.simplon.url}, and "
                    "nobody else? `streamdet serve` takes eiger for version 1, eiger-stream2 for version 2.",
                )
            watch.changed_since(changes, deadline - time.monotonic())
            changes = watch.changes
        came = watch.report.stream_series
        if self._numbered and number is not None and came is not None and came.isdecimal() and int(came) != number:
            raise self._left_over(watch.report)

    def _left_over(self, report: SeriesReport) -> RequestRefused:
        return RequestRefused(
            f"The stream of the detector at {self.simplon.url} had something left over: series "
            f"{report.stream_series or 'without a name'} came before the one that was armed.",
            "The service has taken it out of the way.",
        )

    def __repr__(self) -> str:
        return f"EigerDriver({self.simplon.url!r})"


def _named(report: SeriesReport) -> dict[str, Any]:
    """What the header says of the service's series."""
    return {"filename": report.file or "", "series": report.id}
