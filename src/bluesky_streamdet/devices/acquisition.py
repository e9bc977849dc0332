"""One detector from arm to stop, in plain calls: what both faces of a device do, and nothing of Bluesky.

A *run* is what lies between stage and unstage. It fills one file, as long as all frames that were asked for are handed
out in documents. When frames are left over, because the plan was paused in the middle of a point, or a wait failed, the
next frames go into a new file, and the service cuts the old one to what was handed out. So the files hold, row by row,
what the documents say, for readers that only count rows too (Tiled is one).

The rules it keeps: nothing is announced before the service says that it can be read; each wait has a deadline; after
`close`, whatever happened, the next run works. Methods block, and may be called from any thread.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from bluesky_streamdet.core.errors import ConfigError, StreamdetError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.devices import failures
from bluesky_streamdet.devices.arming import arm, status_of
from bluesky_streamdet.devices.drivers import UNLIMITED, counts_triggers, follow, options_of
from bluesky_streamdet.devices.runfile import RunFile, expected_layout
from bluesky_streamdet.devices.runs import run_starts
from bluesky_streamdet.devices.setup import Setup
from bluesky_streamdet.devices.waiting import FrameWait
from bluesky_streamdet.devices.watch import Client, PendingFrames, SeriesWatch
from bluesky_streamdet.documents import FrameLayout, Named, ResourceDocuments
from bluesky_streamdet.streaming.messages import START, ArmRequest
from bluesky_streamdet.streaming.status import DatasetReport, LatestFrame, SeriesReport

log = logging.getLogger(__name__)

Shown = TypeVar("Shown")


class RunClosed(ConfigError):
    """Frames were asked for outside of a run: before it, or when the plan had ended it already."""


class Acquisition:
    """The runs of one device, one after the other. `file` is the newest, and stays to be read when the run is over."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.file: RunFile | None = None
        self._name = ""
        self._frames_per_event = 1
        self._client: Client | None = None
        self._lock = threading.RLock()
        self._interrupted = False
        self._described: FrameLayout | None = None
        self._last_data: DatasetReport | None = None
        self._listener: Callable[[], None] = lambda: None

    # A run.

    @property
    def is_open(self) -> bool:
        return self._client is not None

    def open(self, name: str, frames_per_event: int, listener: Callable[[], None] = lambda: None) -> None:
        """Arm the service for a run. `listener` is called, in any thread, when there is news of it.

        Raises `ServiceUnreachable`, `Busy`, `PathRefused` or `FileTaken`; then nothing has changed.
        """
        with self._lock:
            self._close_left_open()
            self._name, self._frames_per_event, self._listener = name, frames_per_event, listener
            self._interrupted = False
            self._described = None
            client = self.setup.connect(self.setup.url)
            try:
                last = status_of(client).last_series
                self._last_data = last.data if last is not None and last.data is not None else self._last_data
                self._last_data = self.setup.ready(client) or self._last_data
                self.file = self._new_file(client, 0)
            except BaseException:
                client.close()
                raise
            self._client = client

    def start(
        self, events: int, exposure: float, *, external: bool = False, step: bool = False, patience: float | None = None
    ) -> PendingFrames:
        """Have the detector take the frames of so many events, of `exposure` seconds each; do not wait for them.

        external: triggers come by cable; then the detector is armed only. step: one trigger of a step scan, of which
        more will follow, and each of which is read before the next. patience: seconds that a frame may take, if not the
        exposure and the margin.
        """
        if events < 1:
            raise ConfigError(f"{self._name} can't take frames for {events} events.", "Ask for at least one event.")
        if not 0 <= exposure < math.inf:  # Who waits for a frame of nan seconds waits for ever.
            raise ConfigError(
                f"{self._name} can't expose for {exposure:g} s.", "Set a number of seconds that is not negative."
            )
        with self._lock:
            file = self._file_for_more(handed_out=step)
            frames = events * self._frames_per_event
            # Each edge of a cable is one frame; a trigger of ours takes all of them.
            armed = (1 if external else frames, exposure, external, options_of(self.setup.driver))
            counted = external and counts_triggers(self.setup.driver)
            if (file.armed != armed or counted) and self.setup.driver.arms:
                # Arming anew starts a new series on the detector, with a header that ends the old one.
                file = self._next_file() if file.asked else file
                triggers = frames if counted else UNLIMITED
                follow(self.setup.driver, file.watch)
                self._steer(file, partial(self.setup.driver.arm, armed[0], triggers, exposure, external))
                file.armed = armed
            pending = self._pending(file, file.asked, file.asked + frames, exposure, patience)
            file.pending = [pending]
            file.asked += frames
            self._tell_of_run(file)
            if not external:
                self._steer(file, self.setup.driver.trigger)
            return pending

    @property
    def cut_short(self) -> bool:
        """Whether the plan was interrupted while frames were being taken, and nothing was asked for since."""
        return self._interrupted and self.file is not None and self.file.short

    def check_open(self) -> None:
        """Raises `RunClosed` outside of a run."""
        self._running()

    def settle(self) -> None:
        """Begin a new file if the old one has frames left over from an interruption."""
        with self._lock:
            self._file_for_more(handed_out=False)

    def until(self, frames: int, exposure: float, *, patience: float | None = None) -> PendingFrames:
        """Wait until the run has `frames` frames, as `frames_written` counts them, of those that were asked for."""
        with self._lock:
            file = self._running()
            self._tell_of_run(file)
            target = frames - file.events_before * self._frames_per_event
            pending = self._pending(file, min(file.written, target), target, exposure, patience)
            file.pending.append(pending)
            return pending

    def pause(self) -> None:
        """The plan is interrupted: hold the deadlines. The detector goes on with what it was asked for."""
        with self._lock:
            if self.file is not None:
                self._interrupted = True
                for one in self.file.pending:
                    one.wait.pause()
                self.file.watch.wake()

    def resume(self) -> None:
        with self._lock:
            if self.file is not None:
                for one in self.file.pending:
                    one.wait.resume(self.setup.clock())
                self.file.watch.wake()

    def close(self) -> None:
        """End the run: after all its frames if they are there, otherwise at once. Ends all waits without an error.

        Raises `FramesLost` when the service finds the series incomplete, unless a wait has said so already.
        """
        with self._lock:
            client, file = self._client, self.file
            if client is None or file is None:
                return
            failed, short = file.failed, file.short
            file.end_waits()
            try:
                report = self._end(client, file, abort=short)
            except StreamdetError as error:
                if not failed:
                    raise
                log.warning("detector %s: the end of a run that had failed: %s", self._name, error)
                return
            finally:
                self._client = None
                file.watch.close()
                client.close()
            if not failed and not short and report.outcome is not Outcome.COMPLETE:
                raise failures.incomplete(report)

    def abort_any(self) -> SeriesReport | None:
        """Abort whatever series the service has, whoever armed it; None when it has none."""
        client = self.setup.connect(self.setup.url)
        try:
            series = client.status().series
            return client.abort(series.id) if series is not None else None
        finally:
            client.close()

    # What there is to tell.

    @property
    def events(self) -> int:
        """Whole events of the run that can be read."""
        return self.file.events_before + self.file.events if self.file is not None else 0

    @property
    def frames_written(self) -> int:
        """Frames of the run that can be read, without those left over from an interruption."""
        file = self.file
        return file.events_before * self._frames_per_event + file.written if file is not None else 0

    @property
    def frames_missing(self) -> int:
        """Frames of the newest file's series that are known to be missing."""
        return self.file.report.ledger.missing if self.file is not None else 0

    def documents(self, events: int | None = None) -> list[Named]:
        """The documents of all events before `events` that were not handed out; without it, of all that can be read.

        Raises `ConfigError` when the frames are not as they were described.
        """
        with self._lock:
            file = self.file
            if file is None:
                return []
            self._tell_of_run(file)
            self._take_back_dropped(file)
            ready = file.events if events is None else min(file.events, events - file.events_before)
            return file.hand_out(ready, self.setup, self._name, self._described)

    def layout(self) -> FrameLayout:
        """What the frames of this run are, or will be, like.

        Raises `ConfigError` when nobody knows before the first.
        """
        if self._described is None:
            report = self._running().report
            self._described = expected_layout(report, self._last_data, self._frames_per_event, self.setup)
        return self._described

    @property
    def detector(self) -> str:
        """What the service calls the detector."""
        return self.file.report.detector if self.file is not None else self._name

    @property
    def source(self) -> str:
        """Where the data come from, for data keys."""
        return f"{self.setup.url}/{self.detector}"

    @property
    def last_datum(self) -> str:
        """The id of the newest event's datum, when documents are resource and datum."""
        documents = self.file.documents if self.file is not None else None
        if not isinstance(documents, ResourceDocuments):
            raise ConfigError(f"{self._name} has no frame to read yet.", "Trigger it first.")
        return documents.datum_ids[-1]

    def latest(self) -> LatestFrame | None:
        """The latest frame of this run; None when the service shows none."""
        file, frame = self.file, self._shown(lambda client: client.frame())
        own = file is not None and frame is not None and frame.header.series == file.report.id
        return frame if own else None

    def total(self) -> float:
        """Counts of the latest frame, without masked pixels; NaN when the service shows no frame of this run."""
        file, said = self.file, self._shown(lambda client: client.frame_total())
        own = file is not None and said is not None and said.series == file.report.id
        return said.total if said is not None and own else float("nan")

    def _shown(self, ask: Callable[[Client], Shown]) -> Shown | None:
        """What the service shows of its latest frame; None for nothing."""
        client = self._client
        try:
            return ask(client) if client is not None else None
        except StreamdetError as error:
            # The frame itself is in the file; the plan need not fail for a number in a table.
            log.warning("detector %s: no numbers of the latest frame: %s", self._name, error)
            return None

    def __repr__(self) -> str:
        file = self.file
        state = "staged" if self.is_open else "idle"
        if file is None:
            return f"{state}, nothing written yet"
        report = file.report
        verdict = f", {report.outcome}" if report.outcome is not None else ""
        account = f"{report.ledger.written} frames written, lost: {failures.in_words(report.ledger)}"
        return f"{state}, {failures.place(report)}, {account}{verdict}"

    # Files.

    def _tell_of_run(self, file: RunFile) -> None:
        """Have the file say of which run it is, which is opened after the device is staged, mostly."""
        start = run_starts.of(self._name) if self._client is not None and not file.knows_run else None
        if self._client is None or start is None:
            return
        file.knows_run = True
        try:
            self._client.set_parameters(file.report.id, {START: start})
        except StreamdetError as error:
            # The documents say it too; the plan need not fail for it.
            log.warning("detector %s: its file says nothing of the run: %s", self._name, error)

    def _running(self) -> RunFile:
        if self._client is None or self.file is None:
            raise RunClosed(f"{self._name or 'The detector'} is not staged.", "Stage it first, as every plan does.")
        return self.file

    @staticmethod
    def _steer(file: RunFile, command: Callable[[], None]) -> None:
        """Have the driver do something. Raises `HardwareFailed`, which names the file and what is in it."""
        try:
            command()
        except Exception as error:
            file.refused = True
            raise failures.not_taken(file.report, file.asked, error) from error

    def _file_for_more(self, *, handed_out: bool) -> RunFile:
        file = self._running()
        interrupted = self._interrupted
        self._take_back_dropped(file)
        return self._next_file() if file.leftover(handed_out=handed_out or interrupted) else file

    def _close_left_open(self) -> None:
        """End a run that nobody ended, such as one that RunEngine halted; its faults are no concern of the next."""
        try:
            self.close()
        except StreamdetError as error:
            log.warning("detector %s: the end of the run before: %s", self._name, error)

    def _take_back_dropped(self, file: RunFile) -> None:
        if self._interrupted:
            file.take_back()
            self._interrupted = False

    def _next_file(self) -> RunFile:
        """End the file, cut to what was handed out of it, and begin another."""
        client, old = self._client, self._running()
        assert client is not None
        if not self.setup.driver.arms and old.report.outcome is None and old.report.started_at is not None:
            raise failures.armed_by_others(old.report)
        old.end_waits()
        kept = old.announced * self._frames_per_event
        whole = kept == old.asked and old.report.ledger.unique <= kept
        closed = old.report.outcome is not None
        report = self._end(client, old, abort=not kept, keep=None if whole else kept)
        if whole and kept and report.outcome is not Outcome.COMPLETE:
            raise failures.incomplete(report)
        if closed and 0 < kept < report.ledger.written:
            raise failures.mixed_up(report, report.ledger.written - kept)
        old.watch.close()
        self.file = self._new_file(client, old.events_before + old.announced)
        return self.file

    def _new_file(self, client: Client, events_before: int) -> RunFile:
        choice = self.setup.path_provider(self._name)
        stream = self.setup.asset_docs == "stream"
        request = ArmRequest(
            directory=str(choice.directory_path),
            name=choice.filename,
            open_ended=True,
            frames_per_event=self._frames_per_event if stream else 1,
            frames_per_file=0,  # documents point at one file that grows
            metadata={"device": self._name},
        )
        watch = SeriesWatch(client, arm(client, request, self.setup, self._name))
        watch.listen(self._listener)
        return RunFile(watch, choice, self._frames_per_event, events_before)

    def _end(self, client: Client, file: RunFile, *, abort: bool, keep: int | None = None) -> SeriesReport:
        """End the series of a file on the detector and in the service, and wait until it is closed.

        Each is ended even if the other can't be: a service that stays armed refuses the next run.
        """
        ends = [self.setup.driver.disarm, partial(self._end_series, client, file, abort=abort, keep=keep)]
        if abort or keep is not None:
            # What becomes of its frames has to be known before the detector's own end closes the file.
            ends.reverse()
        with ExitStack() as stack:
            stack.callback(self._wait_until_closed, file)
            for end in reversed(ends):
                stack.callback(end)
        return file.report

    @staticmethod
    def _end_series(client: Client, file: RunFile, *, abort: bool, keep: int | None) -> None:
        report = file.report
        if report.outcome is not None:
            return
        if abort:
            client.abort(report.id)
        elif keep is not None:
            client.stop(report.id, keep_frames=keep)
        else:
            client.stop(report.id, None if report.ledger.unique > file.asked else file.asked or None)

    def _wait_until_closed(self, file: RunFile) -> None:
        clock, watch = self.setup.clock, file.watch
        deadline = clock() + self.setup.margin
        changes = watch.changes
        while file.report.outcome is None and watch.current(ask=True).outcome is None:
            if clock() >= deadline:
                raise failures.not_closed(file.report, self.setup.margin)
            watch.changed_since(changes, deadline - clock())
            changes = watch.changes

    def _pending(self, file: RunFile, base: int, target: int, exposure: float, patience: float | None) -> PendingFrames:
        clock = self.setup.clock
        wait = FrameWait(file.report, base, target, exposure, patience or exposure + self.setup.margin, clock())
        return PendingFrames(file.watch, wait, clock)
