"""What the Tango device does, without Tango: it follows a streaming service, and has it arm, trigger, stop.

One thread looks at the service, more often while frames come, and tells a listener. Whoever needs to know now asks
`view`, which asks the service itself when what is known is older than they like. Each wait has a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from bluesky_streamdet.core.errors import (
    Busy,
    DeadlineExceeded,
    FileTaken,
    HardwareFailed,
    RequestRefused,
    ServiceUnreachable,
    StreamdetError,
)
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import LatestFrame, SeriesReport, Status
from bluesky_streamdet.xspress3.tango_settings import Settings
from bluesky_streamdet.xspress3.tango_state import View

log = logging.getLogger(__name__)

BUSY_PERIOD = 0.05
"""Seconds between two looks at the service while frames come."""
IDLE_PERIOD = 1.0
FRESH = 0.05
"""Seconds for which what is known is good enough for a client that asks."""
PATIENCE = 2.0
"""Seconds that a command waits for what should come at once; a Tango client gives up after 3."""
SETTLE = 0.5
"""Seconds that a series may take to end by itself when the hardware has stopped."""
MOST_NUMBERED = 10_000


class Client(Protocol):
    """What is asked of a service; `service.client.ServiceClient` is one."""

    url: str

    def status(self) -> Status: ...
    def arm(self, request: ArmRequest) -> SeriesReport: ...
    def stop(self, id: str, expected_frames: int | None = None, keep_frames: int | None = None) -> SeriesReport: ...
    def abort(self, id: str) -> SeriesReport: ...
    def frame(self) -> LatestFrame: ...
    def detector(self) -> dict[str, Any]: ...
    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]: ...
    def subscribe(self, callback: Callable[[Status | None], None]) -> Callable[[], None]: ...
    def close(self) -> None: ...


class Session:
    """One device and its service, from `open` to `close`. Thread-safe.

    connect: gives the client of the service, which it may have to start. heard: called with each new view, in a thread
    of the session or of a command. renew: whether what still runs is aborted, and the hardware opened anew, as Tango's
    Init wants it. known: what the hardware said of itself before.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        heard: Callable[[View], None],
        *,
        renew: bool = False,
        known: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._heard = heard
        self._renew = renew
        self._clock = clock
        self._client: Client | None = None
        self._view = View(opening=True, hardware=known or {})
        self._seen_at = clock()
        self._looks = 0
        self._looking = threading.RLock()
        self._telling = threading.Lock()
        self._opened = threading.Event()
        self._changed = threading.Condition()
        self._news = threading.Event()
        self._ending = threading.Event()
        self._commands = threading.Lock()
        self._latest: tuple[tuple[str, int], LatestFrame] | None = None
        self._thread = threading.Thread(target=self._run, name="streamdet tango session", daemon=True)

    def open(self, timeout: float) -> bool:
        """Start, and wait until the service has answered or failed. False when that takes longer than `timeout` s."""
        self._thread.start()
        with self._changed:
            return self._changed.wait_for(lambda: not self._view.opening, timeout)

    def close(self) -> None:
        """End the thread and the connection. What runs in the service goes on."""
        self._ending.set()
        self._news.set()
        if threading.current_thread() is not self._thread:
            # A service that is being started takes longer; the thread then ends by itself.
            self._thread.join(PATIENCE)

    # What is known.

    def view(self, max_age: float = FRESH) -> View:
        """What is known, and is not older than `max_age` seconds unless the service is in trouble."""
        if self._good(max_age):
            return self._view
        with self._looking:
            # Whoever asked meanwhile may have waited long for an answer; nobody waits as long again.
            return self._view if self._good(max_age) else self.look()

    def _good(self, max_age: float) -> bool:
        view = self._view
        return view.opening or bool(view.trouble) or self._clock() - self._seen_at <= max_age

    def look(self) -> View:
        """Ask the service how things are."""
        before = self._looks
        with self._looking:
            if self._looks > before + 1:
                return self._view  # Somebody else began to ask after us.
            view = self._asked()
            self._seen_at = self._clock()
            self._looks += 1
            self._take(view)
            return view

    def latest(self) -> LatestFrame | None:
        """The latest frame of the series that goes on or went on last; None before its first.

        Raises `ServiceUnreachable`.
        """
        which = self.view().latest
        if which is None:
            return None
        with self._looking:
            if self._latest is None or self._latest[0] != which:
                self._latest = which, self._ready().frame()
            return self._latest[1]

    # What can be done.

    def arm(self, settings: Settings) -> SeriesReport:
        """Begin a series; without a file name, that which another client has armed in the service, if one has.

        After a failure, nothing of ours is armed.
        Raises `Busy`, `ConfigError`, `PathRefused`, `FileTaken`, `HardwareFailed`, `ServiceUnreachable`.
        """
        timing = settings.timing()
        with self._command() as client:
            report = awaited = None if settings.file_name else self._awaited()
            if report is None:
                self._free_to_arm()
                report = self._expect(client, settings)
            else:
                timing |= {"save": True, "filename": ""}  # whether and where is theirs to say
            try:
                answer = client.instruct("arm", **timing)
            except BaseException:
                if awaited is None:
                    with contextlib.suppress(StreamdetError):
                        client.abort(report.id)
                raise
            self._mark(series=report.id, stopped=False)
            self._announce(answer, series=report)
            return report

    def stop(self) -> None:
        """End the series after the frames that are there; nothing to do when none runs.

        Returns when these are written, or sooner than a Tango client gives up, when the view is still busy.
        """
        with self._command() as client:
            if not self.look().busy:
                return
            self._mark(stopped=True)
            if self._view.acquiring:
                client.instruct("stop")
            if not self._until(lambda view: not view.acquiring):
                return
            self._finish(client)

    def abort(self) -> None:
        """End the series now, and discard what is not written yet."""
        with self._command() as client:
            self._abort(client)
            self._until(lambda view: not view.busy)

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the hardware do something else, and return what it says. Raises what that raises."""
        with self._command() as client:
            answer = client.instruct(command, **arguments)
            self._announce(answer)
            return answer

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """As `instruct`, for what changes nothing."""
        return self._ready().instruct(command, **arguments)

    def wait(self, predicate: Callable[[View], bool], timeout: float = PATIENCE) -> bool:
        """Wait for a view of which `predicate` is true. False when it has not come after `timeout` seconds."""
        return predicate(self.look()) or self._until(predicate, timeout)

    # The thread.

    def _run(self) -> None:
        try:
            client = self._connect()
        except Exception as error:  # The device has to say it, whatever it is.
            if not isinstance(error, StreamdetError):
                log.exception("the streaming service could not be started")
            self._take(replace(self._view, opening=False, trouble=str(error) or repr(error)))
            self._tell()
            return
        self._client = client
        unsubscribe = client.subscribe(lambda _: self._news.set())
        try:
            if self._renew and not self._ending.is_set():
                self._reset(client)
            self._opened.set()
            while not self._ending.is_set():
                self._news.clear()
                view = self.look()
                self._tell()
                # While frames come there is always news.
                (self._ending if view.busy else self._news).wait(BUSY_PERIOD if view.busy else IDLE_PERIOD)
        finally:
            self._client = None
            unsubscribe()
            client.close()

    def _reset(self, client: Client) -> None:
        try:
            self._abort(client)
            client.instruct("reset")
        except StreamdetError as error:
            # What is wrong shows when the service is asked how things are.
            log.warning("the detector could not be opened anew: %s", error)

    def _tell(self, view: View | None = None) -> None:
        with self._telling:
            if not self._ending.is_set():
                self._heard(view or self._view)

    def _announce(self, answer: dict[str, Any], **status: Any) -> None:
        """Tell how things were right after a command, as what follows may be over before anybody looks again."""
        view = self._view
        if "state" in answer and view.status is not None:
            hardware = {**view.hardware, **answer}
            self._tell(replace(view, hardware=hardware, status=view.status.model_copy(update=status)))

    def _asked(self) -> View:
        view = replace(self._view, opening=not self._opened.is_set())
        try:
            client = self._ready()
            # What a faulty system can't tell any more is as it was.
            hardware = {**view.hardware, **client.detector()}
            return replace(view, status=client.status(), hardware=hardware, trouble="", address=client.url)
        except StreamdetError as error:
            return replace(view, trouble=str(error))
        except ValueError as error:  # An answer that no service of ours gives.
            return replace(view, trouble=f"What the streaming service says is not understood: {error}")

    def _take(self, view: View) -> None:
        with self._changed:
            self._view = view
            self._changed.notify_all()

    def _mark(self, **changes: Any) -> None:
        with self._looking:
            self._take(replace(self._view, **changes))

    # Parts of commands.

    @contextlib.contextmanager
    def _command(self) -> Iterator[Client]:
        """One command at a time; what it has changed is known, and told, when it ends."""
        client = self._ready()
        if self._view.opening:
            raise Busy("The device is being initialised.", "Wait until the state is STANDBY.")
        if trouble := self.view().trouble:
            raise ServiceUnreachable(trouble)
        if not self._commands.acquire(timeout=PATIENCE):
            raise Busy("Another command is being carried out.", "Try again when it has ended.")
        try:
            yield client
        finally:
            self._commands.release()
            self._tell(self.look())
            self._news.set()

    def _ready(self) -> Client:
        client = self._client
        if client is not None:
            return client
        if self._view.opening:
            raise ServiceUnreachable("The streaming service is being started.", "Try again in some seconds.")
        raise ServiceUnreachable(self._view.trouble or "The device is being closed.", "Init tries again.")

    def _until(self, predicate: Callable[[View], bool], timeout: float = PATIENCE) -> bool:
        self._news.set()
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self._view) or bool(self._view.trouble), timeout)

    def _awaited(self) -> SeriesReport | None:
        """A series that another client has armed in the service, which waits for the detector; its file is theirs."""
        view = self.look()
        idle = view.hardware.get("state") == "idle" and not view.trouble
        armed = view.status is not None and view.status.state == State.ARMED
        return view.status.series if idle and armed and view.status is not None else None

    def _free_to_arm(self) -> None:
        view = self.look()
        if view.faulty:
            raise HardwareFailed(view.hardware.get("error") or "The detector reports a fault.", "Init opens it anew.")
        if view.acquiring:
            raise Busy(
                f"The detector is acquiring: {view.count('acquired')} of {view.hardware.get('expected')} frames.",
                "Wait for the rest, or Stop.",
            )
        if view.status is not None and view.status.state == State.ARMED and view.status.series is not None:
            raise Busy(
                f"Another client has armed series {view.status.series.id}.",
                "Abort it, or leave DestinationFileName empty to take the frames for it.",
            )
        # Clients that count frames arm the next series while the last frames of the old one are still being written.
        if view.busy and not self._until(lambda view: not view.busy):
            assert view.status is not None and view.status.series is not None
            raise Busy(f"Series {view.status.series.id} is still being written.", "Wait until the state is STANDBY.")

    @staticmethod
    def _expect(client: Client, settings: Settings) -> SeriesReport:
        """Have the service expect the series, with a file of a free name if the device may choose one."""
        for number in itertools.count():
            try:
                return client.arm(settings.request(number))
            except FileTaken as error:
                if not settings.number_taken or number >= MOST_NUMBERED:
                    raise FileTaken(
                        error.message, "Choose another DestinationFileName, or set DestinationFileOverwritable."
                    ) from error
        raise AssertionError("unreachable")

    def _finish(self, client: Client) -> None:
        """The hardware is done; see that its series ends too."""
        series = self._view.status.series if self._view.status is not None else None
        if series is None or self._until(lambda view: not view.busy, SETTLE):
            return
        client.stop(series.id)
        if not self._until(lambda view: not view.busy, SETTLE):
            log.info("series %s is still being written", series.id)

    def _abort(self, client: Client) -> None:
        view = self.look()
        self._mark(stopped=True)
        if view.status is not None and view.status.series is not None:
            client.abort(view.status.series.id)
        if self.look().acquiring:
            with contextlib.suppress(RequestRefused, HardwareFailed, DeadlineExceeded):
                client.instruct("stop")
