"""The command that is run when a series has been closed: to make a checksum, to archive the file, to tell somebody.

It runs beside everything else, and nothing waits for it but its own account: not the next series, and the end of the
service for a limited time only. There is no shell between: a name with spaces, or with a semicolon, is one argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence

from bluesky_streamdet.streaming.files.config import PLACE, FileConfig
from bluesky_streamdet.streaming.status import HookReport, SeriesReport

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Commands that run side by side; of those that hang, others are not behind at once."""
MOST_WAITING = 100
"""Closed series whose command waits for its turn; of more, it is not run."""
OUTPUT = 2000
"""So many bytes of the end of what a command says are kept."""
CHUNK = 1 << 16
FLOOD = 0.01
"""Seconds between looks at a command that says more than anybody reads."""
GRACE = 2.0
"""Seconds between asking a command to end, and ending it."""
LAST_WORDS = 0.3
"""Seconds for what an ended command said to arrive, where a child of its own still holds its output."""


class Hook:
    """Runs the command of `config` for each closed series. Lives in one event loop; `close` it whatever happens.

    note: called with a series when its command begins, and with what became of it.
    """

    def __init__(self, config: FileConfig, note: Callable[[SeriesReport], None]) -> None:
        self._config = config
        self._note = note
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, report: SeriesReport) -> None:
        """Begin with a series that has just been closed. One without a file has no command."""
        if not self._config.hook or report.file is None:
            return
        if len(self._tasks) >= MOST_WAITING + AT_ONCE:
            log.warning("the hook of series %s is not run: %d others wait", report.id, MOST_WAITING)
            self._note(_with(report, HookReport(output=f"It was not run, as those of {MOST_WAITING} series waited.")))
            return
        self._note(_with(report, HookReport(running=True)))
        task = asyncio.create_task(self._run(report), name=f"hook of {report.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def hurry(self) -> None:
        """End what runs, and begin nothing more."""
        self._hurry.set()

    async def close(self, timeout: float) -> None:
        """Let what runs come to its end, for `timeout` seconds; then end it, and say so."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        self.hurry()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, report: SeriesReport) -> None:
        async with self._turn:
            if self._hurry.is_set():
                result = HookReport(output="It was not run, as the service ended.")
            else:
                result = await self._carry_out(arguments_of(self._config.hook, report))
        if result.code != 0:
            why = "did not end by itself" if result.code is None else f"ended with exit code {result.code}"
            log.warning("the hook of series %s %s: %s", report.id, why, result.output)
        self._note(_with(report, result))

    async def _carry_out(self, arguments: Sequence[str]) -> HookReport:
        began = time.monotonic()
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                process_group=0,
                cwd=self._config.directory,
            )
        except (OSError, ValueError) as error:
            os.close(reading)
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return HookReport(output=f"{arguments[0]!r} can't be run: {why}.")
        finally:
            os.close(writing)
        said = _Output(reading)
        try:
            ended = await self._until_it_ends(process)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(said.all(), LAST_WORDS)
        finally:
            # Also what it has left behind, which nobody else would end.
            _signal(process.pid, signal.SIGKILL)
            said.close()
        code = process.returncode if not ended else None
        by_signal = f"It was ended by signal {-code}." if code is not None and code < 0 else ""
        text = "\n".join(one for one in (said.text, ended, by_signal) if one)
        return HookReport(code=code if not by_signal else None, seconds=round(time.monotonic() - began, 3), output=text)

    async def _until_it_ends(self, process: asyncio.subprocess.Process) -> str:
        """Await the end of a command. Returns why it had to be ended, empty when it did so by itself."""
        waiting = asyncio.create_task(process.wait())
        hurrying = asyncio.create_task(self._hurry.wait())
        limit = self._config.hook_seconds
        try:
            await asyncio.wait([waiting, hurrying], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return ""
            why = "the service ended" if hurrying.done() else f"it had not ended within {limit:g} s"
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(process.pid, number)
                await asyncio.wait([waiting], timeout=GRACE)
            return f"It was ended, as {why}."
        finally:
            waiting.cancel()
            hurrying.cancel()
            await asyncio.wait([waiting, hurrying])


def arguments_of(hook: Sequence[str], report: SeriesReport) -> list[str]:
    """The command for a series, each place filled in once: a file that is called {id} stays so."""
    values = {"file": report.file, "id": report.id, "detector": report.detector, "outcome": report.outcome}
    return [PLACE.sub(lambda found: str(values[found[1]]), one) for one in hook]


class _Output:
    """Keeps the end of what comes through a pipe, so that a command which says much neither waits nor fills memory."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._tail = b""
        self._readable = asyncio.Event()
        self._task = asyncio.create_task(self._read(), name="output of a hook")

    async def all(self) -> None:
        """Return when everything has been said."""
        await asyncio.shield(self._task)

    @property
    def text(self) -> str:
        """The end of it, without what a terminal would take for a command."""
        text = self._tail.decode(errors="replace").strip()
        return "".join(one for one in text if one.isprintable() or one in "\n\t")

    def close(self) -> None:
        self._task.cancel()
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._descriptor, self._readable.set)
        while True:
            await self._readable.wait()
            self._readable.clear()
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._descriptor, CHUNK)
                if not data:
                    loop.remove_reader(self._descriptor)
                    return
                self._tail = (self._tail + data)[-OUTPUT:]
                if len(data) == CHUNK:
                    loop.remove_reader(self._descriptor)
                    await asyncio.sleep(FLOOD)
                    loop.add_reader(self._descriptor, self._readable.set)


def _with(report: SeriesReport, result: HookReport) -> SeriesReport:
    return report.model_copy(update={"hook": result})


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
