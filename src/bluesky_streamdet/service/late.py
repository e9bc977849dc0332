"""Parameters that come when their series has ended, and how they get into its file, whoever writes that meanwhile.

A file that takes another series is theirs who write it; until it is closed, what came lies beside the records, one JSON
file for each series, also when the service is started again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from bluesky_streamdet.core.errors import DeadlineExceeded, FileTaken, RequestRefused, StreamdetError, WriteFailed
from bluesky_streamdet.streaming.status import SeriesReport

log = logging.getLogger(__name__)

FOLDER = Path(".streamdet", "late")


class LateParameters:
    """Of the series of one detector. Lives in one event loop; `close` it whatever happens.

    report: the account of a series by its id. timeout: seconds that a client waits for its answer.
    """

    def __init__(self, directory: Path, detector: str, report: Callable[[str], SeriesReport], timeout: float) -> None:
        self._folder = directory / FOLDER
        self._detector = detector
        self._report = report
        self._timeout = timeout
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def add(self, report: SeriesReport, parameters: Mapping[str, Any]) -> None:
        """Write them into the file of a series that has ended, or keep them while another series is written into it.

        Raises `RequestRefused` where there is no file (any more) for them, `WriteFailed`, or `DeadlineExceeded`.
        """
        if report.file is None:
            raise RequestRefused(f"Series {report.id} was not written, so that there is no file for parameters.")
        task = self._begin(self._add(report, parameters))
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.shield(task)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The parameters of series {report.id} were not written within {self._timeout:g} s.",
                f"The disk of {report.file} may hang. They are written when it answers, if it does.",
            ) from error

    def retry(self) -> None:
        """Write what is kept, as a file may have been closed."""
        self._begin(self._retry())

    async def close(self) -> None:
        """Await what is under way, for a limited time."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="late parameters")
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.warning("%s", failure)

    async def _add(self, report: SeriesReport, parameters: Mapping[str, Any]) -> None:
        async with self._one_at_a_time:
            # Those that are kept came before these.
            kept = await asyncio.to_thread(_read, self._kept(report.id))
            await self._write(report, {**kept, **parameters})

    async def _retry(self) -> None:
        async with self._one_at_a_time:
            for file in await asyncio.to_thread(lambda: sorted(self._folder.glob(f"{self._detector}.*.json"))):
                try:
                    report = self._report(file.stem.removeprefix(f"{self._detector}."))
                    await self._write(report, await asyncio.to_thread(_read, file))
                except RequestRefused as error:
                    log.warning("the parameters in %s are set aside: %s", file, error)
                    await asyncio.to_thread(_set_aside, file)
                except StreamdetError as error:
                    log.warning("the parameters in %s can't be written now: %s", file, error)

    async def _write(self, report: SeriesReport, parameters: Mapping[str, Any]) -> None:
        assert report.file is not None
        kept = self._kept(report.id)
        dataset = report.data.dataset if report.data is not None else None
        try:
            await asyncio.to_thread(_put, Path(report.file), report.id, dataset, parameters)
        except FileTaken:
            log.info("the file %s is being written; parameters of series %s wait for its end", report.file, report.id)
            await asyncio.to_thread(_keep, kept, parameters)
        else:
            await asyncio.to_thread(partial(kept.unlink, missing_ok=True))

    def _kept(self, id: str) -> Path:
        return self._folder / f"{self._detector}.{id}.json"


def _put(path: Path, series: str, dataset: str | None, parameters: Mapping[str, Any]) -> None:
    # Imported when needed, as HDF5 is of no other use to the control plane.
    from bluesky_streamdet.streaming.files.mending.late import add_late

    add_late(path, series, dataset, parameters)


def _read(file: Path) -> dict[str, Any]:
    """What is kept; nothing where nothing is. Raises `RequestRefused` for what is no parameters, `WriteFailed`."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WriteFailed(f"Parameters that are kept in {file} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise RequestRefused(f"The file {file} holds no parameters: {error}.") from error
    if not isinstance(values, dict):
        raise RequestRefused(f"The file {file} holds no parameters.", "Remove it.")
    return values


def _set_aside(file: Path) -> None:
    """Try no more, but lose nothing: the file that they are for is not there, or is another series' now."""
    with suppress(OSError):
        file.rename(file.with_suffix(".refused"))


def _keep(file: Path, parameters: Mapping[str, Any]) -> None:
    """Raises `WriteFailed`."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(parameters, default=str), encoding="utf-8")
        os.replace(temporary, file)
    except OSError as error:
        raise WriteFailed(f"The parameters can't be kept in {file}: {error.strerror}.") from error
