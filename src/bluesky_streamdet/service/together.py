"""Several services that pull from one detector, as one: each writes its share of a series, and a master shows it whole.

with ServiceClient(url) as first, ServiceClient(other) as second:
    together = Together([first, second])
    together.arm(ArmRequest(name="scan"))
    ...  # the detector is triggered
    together.wait(1000, timeout=60)
    report = together.stop(expected=1000)
"""

from __future__ import annotations

import queue
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bluesky_streamdet.core.errors import DeadlineExceeded, RequestRefused, StreamdetError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.documents import reader_path
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.files.mending.recovering import recover
from bluesky_streamdet.streaming.files.several.naming import SUFFIXES, fill_in
from bluesky_streamdet.streaming.files.several.whole import write_together
from bluesky_streamdet.streaming.files.targets import new_id
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status

USUAL_NAME = "{detector}_{id}"
CLOSING = 30.0
"""Seconds that a service may take to close its files."""
_INDEX = re.compile(r"\{index[^}]*\}|%0?\d?d")


class Progress(NamedTuple):
    """How far the services are, together. running: how many of them have not ended their share."""

    received: int
    written: int
    running: int


class Together:
    """One series of several services, which pull from the same socket (`source.shared: true`).

    path_map: folders of the services' machines, and where they are on this one, which writes the master. Clients stay
    open. Raises what `ServiceClient` raises.
    """

    def __init__(self, clients: Sequence[ServiceClient], path_map: Mapping[str, str] | None = None) -> None:
        self.id = ""
        self._clients = list(clients)
        self._path_map = path_map
        self._request = ArmRequest()
        self._ids: list[str] = []

    def arm(self, request: ArmRequest) -> list[SeriesReport]:
        """Have each service expect its share; files and series are named as asked, and numbered.

        Each share goes on until `stop`, or its end in the stream. If one refuses, none stays armed.
        Raises `RequestRefused` for what a share can't be.
        """
        if request.replace or request.append or request.add or not request.save:
            raise RequestRefused("Shares of a series go into new files: none of replace, append, add and save: false.")
        self.id = request.id or new_id()
        self._request = request
        self._ids = []
        shares = []
        name = request.name or USUAL_NAME
        try:
            for number, client in enumerate(self._clients, 1):
                self._ids.append(f"{self.id}-{number}")
                own = {"id": self._ids[-1], "name": share_name(name, number), "expected_frames": None}
                shares.append(client.arm(request.model_copy(update={**own, "open_ended": True})))
        except StreamdetError:
            # The last one too: its answer may have got lost. Why it failed says more than what that one says now.
            with suppress(StreamdetError):
                self.abort()
            raise
        return shares

    def progress(self) -> Progress:
        """What has come so far."""
        return _progress(self._reports())

    def set_parameters(self, parameters: dict[str, Any]) -> None:
        """Add metadata to all shares."""
        self._have_all(lambda client, id: client.set_parameters(id, parameters))

    def wait(
        self,
        frames: int,
        timeout: float,
        quiet: float | None = None,
        show: Callable[[Progress], None] = lambda _: None,
    ) -> Progress:
        """Wait until all together have `frames`, or nothing has come for `quiet` seconds, or all shares have ended.

        show: is called with each change. Raises `DeadlineExceeded` after `timeout` seconds.
        """
        news: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
        deadline = time.monotonic() + timeout
        ends = [client.subscribe(news.put) for client in self._clients]
        try:
            seen, since = self.progress(), time.monotonic()
            while seen.received < frames and seen.running:
                show(seen)
                now = time.monotonic()
                if quiet is not None and seen.received and now - since >= quiet:
                    break
                if now >= deadline:
                    raise DeadlineExceeded(
                        f"Waited {timeout:g} s for {frames} frames of series {self.id}; {seen.received} have come to "
                        f"{len(self._clients)} services.",
                        "Stop it to have its account; triggers or frames may be lost.",
                    )
                self._sleep(news, min(deadline, since + quiet if quiet is not None else deadline) - now)
                before, seen = seen, self.progress()
                if seen.received != before.received:
                    since = time.monotonic()
        finally:
            for end in ends:
                end()
        show(seen)
        return seen

    def stop(self, expected: int | None = None) -> SeriesReport:
        """End all shares after what is on its way, and write the master; the account of the whole.

        expected: how many frames there should be. The file of a service that died is mended first. Where a service
        can't be asked, the others are stopped all the same; call it again when it is back.
        Raises `DeadlineExceeded`, `FileTaken`, `WriteFailed`, or what `recover` raises.
        """
        self._have_all(lambda client, id: client.stop(id))
        return self._whole(expected)

    def abort(self) -> None:
        """End all shares now; their files stay as they are."""
        self._have_all(lambda client, id: client.abort(id))

    def _have_all(self, act: Callable[[ServiceClient, str], object]) -> None:
        """Have each share that was asked for do it, also when one of them can't; then raise the first error."""
        errors = []
        for client, id in zip(self._clients, self._ids, strict=False):
            try:
                act(client, id)
            except StreamdetError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _whole(self, expected: int | None) -> SeriesReport:
        reports = []
        for client, id in zip(self._clients, self._ids, strict=True):
            client.wait(partial(_is_over, client, id), CLOSING, f"the end of series {id}")
            report = client.series(id)
            if report.file is not None:
                report = report.model_copy(update={"file": self._here(report.file)})
                if report.outcome is Outcome.INTERRUPTED:
                    # Only what was closed can be shown.
                    recover(Path(self._here(report.part) if report.part else str(report.file)), known=report)
            reports.append(report)
        with_files = [one for one in reports if one.file is not None]
        detector = reports[0].detector
        name = fill_in(self._request.name or USUAL_NAME, detector, self.id).numbered().whole
        folder = Path(str(with_files[0].file)).parent if with_files else Path()
        return write_together(folder / Path(name).name, reports, series=self.id, expected=expected)

    def _here(self, path: str) -> str:
        return reader_path(path, self._path_map)

    def _reports(self) -> list[SeriesReport]:
        return [client.series(id) for client, id in zip(self._clients, self._ids, strict=True)]

    @staticmethod
    def _sleep(news: queue.SimpleQueue[Status | None], seconds: float) -> None:
        """Until some service has news; all that came meanwhile is one."""
        try:
            news.get(timeout=max(0.0, seconds))
            while True:
                news.get_nowait()
        except queue.Empty:
            return


def share_name(name: str, number: int) -> str:
    """The name of a share's file: `number` behind the name, or before the place of the index of its files."""
    if place := _INDEX.search(name):
        return f"{name[: place.start()]}{number}_{name[place.start() :]}"
    suffix = next((one for one in SUFFIXES if name.endswith(one)), "")
    return f"{name.removesuffix(suffix)}_{number}{suffix}"


def _progress(reports: Sequence[SeriesReport]) -> Progress:
    return Progress(
        sum(one.ledger.unique for one in reports),
        sum(one.ledger.written for one in reports),
        sum(one.outcome is None for one in reports),
    )


def _is_over(client: ServiceClient, id: str, status: Status) -> bool:
    # That nothing runs is not enough: the file of a writer that died is being mended, and its account is to come.
    runs = status.series is not None and status.series.id == id
    return not runs and client.series(id).outcome is not None
