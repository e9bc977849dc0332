"""The writer as acquisition scripts have it: `from bluesky_streamdet import RemoteWriter`.

    with RemoteWriter(url="http://daq:8010") as writer:
        writer.configure("scan.h5", "data", n_frames=1000)
        writer.start()
        ...  # the camera is triggered
        print(writer.wait())

The verbs are those of the client of the PCO writer, with their meaning made right; docs/how-to/write-files-remotely.md
has the table. A wait ends at its deadline, when the series ends, or when the service is gone; Ctrl-C ends the waiting
and not the series.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from bluesky_streamdet.core.errors import Busy, ConfigError, DeadlineExceeded, NoSuchSeries, ServiceUnreachable
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.progress import Ticker
from bluesky_streamdet.service.remote.cameras import camera_of
from bluesky_streamdet.service.remote.following import Following, Show
from bluesky_streamdet.service.remote.readings import FLUSH, Readings
from bluesky_streamdet.service.remote.settings import WriterSettings, whole
from bluesky_streamdet.service.remote.state import (
    Inactive,
    Patience,
    WriterStatus,
    interrupted,
    is_failure,
    progress_message,
)
from bluesky_streamdet.service.remote.statistics import RunStatistics, statistics_of
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status

log = logging.getLogger(__name__)

PATIENCE = 3600.0
"""Seconds without a frame after which a wait gives up, unless it is told otherwise."""
LONGEST_FLUSH = 60.0
CHANGE = 30.0
"""Seconds that a service may take to arm or end a series: to start a process, or to kill one that hangs."""


class RemoteWriter(Readings):
    """The writer of a service, which may be on another machine. Nothing is sent before the first verb that asks.

    output_file to connection_address, user_id, max_frames_per_file, layout, parameters: see `WriterSettings`; they can
    be changed by `configure`. url: of the service, or of one camera of a supervisor (…/cameras/NAME); left out,
    `STREAMDET_URL`, or the usual one of this machine. flask_api_address is the older name of it; a writer_api_address
    is not needed, as a service has one address. cam, config_file, debug: see `cameras.camera_of`. api_key: left out,
    `STREAMDET_API_KEY` or that of a service on this machine. progress: whether waits show how far they are.
    timeout: seconds for a question. series: the id of one that another process has started, to go on with it.

    It means the series that it started; one that has started none means whatever series the service has. Verbs that ask
    the service raise `ServiceUnreachable` when none answers, and `Unauthorised` for a wrong key. Close it, or use it in
    a `with`.
    """

    def __init__(
        self,
        output_file: str | Path = "",
        dataset_name: str = "",
        n_frames: int = 0,
        connection_address: str | None = None,
        flask_api_address: str | None = None,
        writer_api_address: str | None = None,
        user_id: int | None = None,
        max_frames_per_file: int | None = None,
        config_file: str | Path = "",
        cam: str = "",
        debug: bool = False,
        *,
        url: str | None = None,
        api_key: str | None = None,
        layout: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        progress: bool = True,
        timeout: float = 5.0,
        series: str | None = None,
    ) -> None:
        camera = camera_of(url or flask_api_address, cam, config_file, debug)
        settings = WriterSettings().changed(
            output_file=output_file or None,
            dataset_name=dataset_name or None,
            n_frames=n_frames,
            connection_address=connection_address or camera.connection_address,
            user_id=user_id,
            max_frames_per_file=max_frames_per_file,
            layout=layout,
            parameters=parameters,
        )
        super().__init__(ServiceClient(camera.url, api_key, timeout, max(timeout, CHANGE)), settings, series)
        self._progress = progress

    def __repr__(self) -> str:
        return f"RemoteWriter(url={self.client.url!r}, output_file={self.settings.output_file!r})"

    def configure(
        self,
        output_file: str | Path | None = None,
        dataset_name: str | None = None,
        n_frames: int | None = None,
        connection_address: str | None = None,
        user_id: int | None = None,
        max_frames_per_file: int | None = None,
        verbose: bool = False,
        *,
        layout: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> WriterSettings:
        """Change what is given, for the next `start`; what runs stays as it is.

        Raises `ConfigError` or `PathRefused`, which name what is wrong; then nothing has changed.
        """
        self.settings = self.settings.changed(
            output_file=output_file,
            dataset_name=dataset_name,
            n_frames=n_frames,
            connection_address=connection_address,
            user_id=user_id,
            max_frames_per_file=max_frames_per_file,
            layout=layout,
            parameters=parameters,
        )
        self._configured_since = True
        _say(verbose, f"Configured: {self.settings}")
        return self.settings

    def get_configuration(self, verbose: bool = False) -> WriterSettings:
        """What the next series will be asked for."""
        _say(verbose, f"Configuration: {self.settings}")
        return self.settings

    def validate_configuration(self) -> bool:
        """Whether `start` has what it needs. What is wrong in itself was refused when it was given."""
        return bool(self.settings.output_file)

    def start(self, wait: bool = True, timeout: float = 10.0, verbose: bool = False) -> RunStatistics:
        """Have the service take a series: of the next frames, or of those that already wait.

        wait: until the camera is connected to the service, for `timeout` seconds; one that is not may still come, and
        is logged as a warning. Raises `ConfigError` when nothing is configured, `Busy`, `FileTaken`, `PathRefused`.
        """
        settings = self.settings
        if not settings.output_file:
            hint = 'Configure one: `streamdet writer configure scan.h5`, or configure("scan.h5") in Python.'
            raise ConfigError("There is no output file.", hint)
        self._starting = True
        try:
            status = self.client.status()
            if status.series is not None:
                raise Busy(f"Series {status.series.id} is {status.state} there.", "Wait for its end, or stop it.")
            self._move_source(settings.connection_address)
            report = self._arm(settings.request(uuid4().hex[:12]))
        finally:
            self._starting = False
        self.series, self._started_with, self._configured_since = report.id, settings, False
        if wait:
            self._await_camera(report.id, timeout)
        _say(verbose, f"Series {report.id} goes into {report.file}.")
        return statistics_of(report, WriterStatus.RECEIVING, settings)

    def stop(self, wait: bool = True, timeout: float = 10.0, verbose: bool = False) -> RunStatistics | None:
        """End the series; what is on its way is written. None when none runs.

        wait: until its file is closed, for `timeout` seconds; then raises `DeadlineExceeded`, or `FramesLost` when the
        writer died or its file failed.
        """
        report = self._running()
        if report is None:
            _say(verbose, "Nothing runs.")
            return None
        self._asked[report.id] = WriterStatus.STOPPING
        report = self.client.stop(report.id)
        if wait:
            with self._shown(report) as show:
                report = Following(self.client, report.id, Patience(time.monotonic(), timeout), show=show).until()
        return self._concluded(report, verbose)

    def kill(self, verbose: bool = False) -> RunStatistics | None:
        """End the series now: what is not in the file yet is discarded and counted. None when none runs."""
        report = self._running()
        if report is None:
            _say(verbose, "Nothing runs.")
            return None
        self._asked[report.id] = WriterStatus.KILLING
        report = self.client.abort(report.id)
        return self._statistics(self.client.status(), report)

    def reset(self) -> WriterStatus:
        """Kill what runs, throw away what the camera still holds, and forget the series that this client started."""
        self.kill()
        self.flush_cam_stream(1000)
        self.series, self._started_with, self._configured_since = None, None, False
        self._asked.clear()
        return self.get_status()

    def wait(
        self, verbose: bool = False, *, timeout: float | None = None, inactivity_timeout: float | None = PATIENCE
    ) -> RunStatistics | None:
        """Wait for the end of the series, and return its figures; None when there is no series.

        timeout: seconds for all of it, None for no limit. inactivity_timeout: seconds without a frame, None to wait for
        ever. Ctrl-C ends the waiting, and the figures are those of then.
        Raises `DeadlineExceeded`; `FramesLost` when the writer died or its file failed; `ServiceUnreachable` when the
        service is gone. Frames that the camera did not send are in the figures: `success`, `n_lost_frames`, `reason`.
        """
        _, report = self._sight()
        if report is None:
            return None
        try:
            report = self._until(report, "the end", timeout, inactivity_timeout)
        except KeyboardInterrupt:
            log.warning("no longer waited for; series %s goes on", report.id)
            return self.get_statistics(verbose)
        return self._concluded(report, verbose)

    def wait_nframes(
        self,
        nframes: int,
        inactivity_timeout: float | None = PATIENCE,
        verbose: bool = False,
        *,
        timeout: float | None = None,
    ) -> bool | None:
        """Wait until `nframes` of the series can be read by others: True then; None when there is no series.

        False when the series ended with fewer, when no frame came for inactivity_timeout (s; None or a negative one
        waits for ever), or at Ctrl-C. timeout: seconds for all of it. Raises as `wait`, and `ConfigError`.
        """
        try:
            wanted = whole(nframes)
        except ValueError as error:
            raise ConfigError(f"nframes is {nframes!r}: {error}.") from None
        if inactivity_timeout is not None and inactivity_timeout < 0:
            inactivity_timeout = None
        _, report = self._sight()
        if report is None:
            return None
        try:
            report = self._until(
                report, f"{wanted} frames", timeout, inactivity_timeout, lambda now: now.ledger.written >= wanted
            )
        except Inactive as error:
            log.warning("%s", error)
            return False
        except KeyboardInterrupt:
            log.warning("no longer waited for; series %s goes on", report.id)
            return False
        if report.ledger.written < wanted and is_failure(report):
            raise interrupted(report)
        _say(verbose, f"{report.ledger.written} frames of series {report.id} are readable.")
        return report.ledger.written >= wanted

    def flush_cam_stream(
        self, timeout: float = 500, verbose: bool = False, *, longest: float | None = LONGEST_FLUSH
    ) -> int:
        """Throw away what the camera still holds, until `timeout` milliseconds without a frame; returns how many.

        The service takes them, as a series that writes nothing; so nobody else has to reach the camera. A timeout of 0
        or less goes on until Ctrl-C. longest: seconds after which a camera that sends on raises `DeadlineExceeded`;
        None waits for ever. Raises `Busy` while a series runs.
        """
        before = self.client.status()
        self._move_source(self.settings.connection_address)
        report = self._arm(ArmRequest(id=f"{FLUSH}{uuid4().hex[:12]}", save=False, open_ended=True))
        came = 0

        def count(status: Status, report: SeriesReport) -> int:
            nonlocal came
            # Frames that the service takes for leftovers of an earlier series belong to none.
            came = report.ledger.received + status.between.received - before.between.received
            return came

        endless = timeout <= 0
        patience = Patience(time.monotonic(), None if endless else longest, None if endless else timeout / 1000)
        try:
            Following(self.client, report.id, patience, "silence of the camera", measure=count).until()
        except Inactive:
            pass  # This is what it waits for.
        except KeyboardInterrupt:
            log.warning("the stream is no longer flushed")
        finally:
            self.client.abort(report.id)
        _say(verbose, f"{came} frames were thrown away.")
        return came

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Add metadata to the file of the series, while it runs or after it; values as in `configure`.

        Raises `ConfigError` when there is no series, `RequestRefused` for what a file can't keep.
        """
        _, report = self._sight()
        if report is None:
            raise ConfigError("There is no series whose parameters could be set.", "Give them to configure.")
        self.client.set_parameters(report.id, dict(parameters))

    def close(self) -> None:
        """Close the connection; the series goes on."""
        self.client.close()

    def __enter__(self) -> RemoteWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _move_source(self, address: str | None) -> None:
        """Have frames come from there, in the way in which they came before."""
        if address is None:
            return
        source = self.client.source()
        if address not in source.endpoints:
            self.client.set_source(source.model_copy(update={"endpoints": [address]}))

    def _arm(self, request: ArmRequest) -> SeriesReport:
        """Arm; where the answer got lost, look whether it was done."""
        try:
            return self.client.arm(request)
        except ServiceUnreachable as error:
            try:
                return self.client.series(str(request.id))
            except NoSuchSeries:
                raise error from None

    def _await_camera(self, id: str, timeout: float) -> None:
        try:
            status = self.client.wait(
                lambda now: _connected(now) or now.series is None or now.series.id != id, timeout, "the camera"
            )
        except DeadlineExceeded as error:
            log.warning("%s", error)
        else:
            log.debug("%s is %s", id, status.state)

    def _until(
        self,
        report: SeriesReport,
        what: str,
        timeout: float | None,
        inactivity: float | None,
        done: Callable[[SeriesReport], bool] = lambda report: False,
    ) -> SeriesReport:
        patience = Patience(time.monotonic(), timeout, inactivity)
        with self._shown(report) as show:
            return Following(self.client, report.id, patience, what, show).until(done)

    def _concluded(self, report: SeriesReport, verbose: bool) -> RunStatistics:
        """The figures of a series that has ended, or was told to."""
        if is_failure(report):
            raise interrupted(report)
        statistics = self._statistics(self.client.status(), report)
        _say(verbose, str(statistics))
        return statistics

    @contextmanager
    def _shown(self, report: SeriesReport) -> Iterator[Show]:
        """What shows how far a series is."""
        if not self._progress:
            yield lambda status, report: None
            return
        with Ticker(report.ledger.expected) as ticker:
            yield lambda status, report: ticker.show(
                report.ledger.written, lambda: progress_message(self._word(status, report), report)
            )


def _connected(status: Status) -> bool:
    return all(one.connected for one in status.sources)


def _say(verbose: bool, text: str) -> None:
    log.log(logging.INFO if verbose else logging.DEBUG, "%s", text)
