"""What a writer elsewhere says of itself: the verbs that change nothing."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from bluesky_streamdet.core.errors import NoSuchSeries, ServiceUnreachable, Unauthorised
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.remote.settings import WriterSettings
from bluesky_streamdet.service.remote.state import (
    WriterStatus,
    is_failure,
    log_line,
    progress_message,
    series_in,
    status_of,
    unknown,
)
from bluesky_streamdet.service.remote.statistics import RunStatistics, statistics_of
from bluesky_streamdet.streaming.status import SeriesReport, Status

log = logging.getLogger(__name__)

FLUSH = "flush-"
"""How the ids of series begin that take what a camera still holds, and write nothing."""
LOG_LINES = 10


class Readings:
    """Reads the state of a service for one client, which means the series that it started; until then, whatever runs.

    Everything here raises `ServiceUnreachable` when no service answers, but for `is_connected` and `get_status`.
    """

    def __init__(self, client: ServiceClient, settings: WriterSettings, series: str | None = None) -> None:
        self.client = client
        self.settings = settings
        self.series = series
        """The id of the series that this client started last; None while it has started none."""
        self._started_with: WriterSettings | None = None
        """What the series was asked for."""
        self._asked: dict[str, WriterStatus] = {}
        self._starting = False
        self._configured_since = False

    def is_connected(self) -> bool:
        """Whether a service answers."""
        try:
            self.client.status()
        except ServiceUnreachable:
            return False
        except Unauthorised:
            return True
        return True

    def is_running(self) -> bool:
        """Whether the series is armed or runs."""
        return self._running() is not None

    def get_status(self, verbose: bool = False) -> WriterStatus:
        """What becomes of the series, or how far the configuration is; `UNKNOWN` when no service answers."""
        if self._starting:
            return WriterStatus.STARTING
        try:
            status, report = self._sight()
        except ServiceUnreachable as error:
            _say(verbose, str(error))
            return WriterStatus.UNKNOWN
        if report is None or (report.outcome is not None and self._configured_since):
            word = WriterStatus.CONFIGURED if self.settings.output_file else WriterStatus.UNCONFIGURED
        else:
            word = self._word(status, report)
        _say(verbose, f"The writer is {word}.")
        return word

    def get_status_writer(self, verbose: bool = False) -> WriterStatus:
        """What becomes of the series that the service has now, or had last, whoever started it."""
        status = self.client.status()
        report = status.series or self._last(status)
        word = self._word(status, report) if report is not None else WriterStatus.UNKNOWN
        _say(verbose, f"The service's writer is {word}.")
        return word

    def get_status_last_run(self, verbose: bool = False) -> WriterStatus:
        """How the last series ended; `UNKNOWN` when there was none."""
        statistics = self.get_statistics_last_run(verbose)
        return statistics.status if statistics is not None else WriterStatus.UNKNOWN

    def get_statistics(self, verbose: bool = False) -> RunStatistics | None:
        """Of the series that runs, otherwise of the last; None when there was none."""
        return self.get_statistics_writer(verbose) or self.get_statistics_last_run(verbose)

    def get_statistics_writer(self, verbose: bool = False) -> RunStatistics | None:
        """Of the series that runs; None while none does."""
        status, report = self._sight()
        if report is None or report.outcome is not None:
            return None
        _say(verbose, progress_message(self._word(status, report), report))
        return self._statistics(status, report)

    def get_statistics_last_run(self, verbose: bool = False) -> RunStatistics | None:
        """Of the series that this client started, once it has ended, otherwise of the service's last one."""
        status, report = self._sight()
        if report is None or report.outcome is None:
            report = self._last(status)
        if report is None:
            return None
        _say(verbose, log_line(report))
        return self._statistics(status, report)

    def get_progress_message(self) -> str:
        """Such as "Writer: receiving, #received:   12 (60.0%), #written:   10 (50.0%)"."""
        status, report = self._sight()
        return progress_message(self.get_status() if report is None else self._word(status, report), report)

    def get_written_frames(self) -> int | None:
        """How many frames of the series can be read by others; None when there is no series."""
        _, report = self._sight()
        return report.ledger.written if report is not None else None

    def get_server_error(self, verbose: bool = False) -> str:
        """What is wrong with the service, or was with the series; empty when nothing is."""
        status, report = self._sight()
        report = report or self._last(status)
        text = status.error or (report.reason if report is not None and is_failure(report) else "")
        _say(verbose, text or "Nothing is wrong.")
        return text

    def get_server_log(self, verbose: bool = False) -> str:
        """The last ten series of the service, a line each, the newest last."""
        text = "\n".join(log_line(one) for one in reversed(self.client.list_series()[:LOG_LINES]))
        _say(verbose, text)
        return text

    def get_server_uptime(self, verbose: bool = False) -> timedelta | None:
        """For how long the service has run; None when it is of a version that does not say it."""
        started = self.client.status().started_at
        uptime = datetime.now(UTC) - started if started is not None else None
        _say(verbose, f"The service has run for {uptime}.")
        return uptime

    def _sight(self) -> tuple[Status, SeriesReport | None]:
        """The service's state, and the series that is meant."""
        status = self.client.status()
        if self.series is None:
            return status, status.series
        report = series_in(status, self.series)
        try:
            return status, report if report is not None else self.client.series(self.series)
        except NoSuchSeries as error:
            raise unknown(self.series, None, self.client.url) from error

    def _running(self) -> SeriesReport | None:
        _, report = self._sight()
        return report if report is not None and report.outcome is None else None

    def _last(self, status: Status) -> SeriesReport | None:
        """The last series that ended and wrote, whoever started it."""
        last = status.last_series
        if last is None or not last.id.startswith(FLUSH):
            return last
        ended = (one for one in self.client.list_series() if one.outcome is not None)
        return next((one for one in ended if not one.id.startswith(FLUSH)), None)

    def _word(self, status: Status, report: SeriesReport) -> WriterStatus:
        return status_of(status, report, self._asked.get(report.id))

    def _statistics(self, status: Status, report: SeriesReport) -> RunStatistics:
        asked = self._started_with if report.id == self.series else None
        return statistics_of(report, self._word(status, report), asked)


def _say(verbose: bool, text: str) -> None:
    """Into the log, for whoever looks at it: at the level of news when asked to."""
    log.log(logging.INFO if verbose else logging.DEBUG, "%s", text)
