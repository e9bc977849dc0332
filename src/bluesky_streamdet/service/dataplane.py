"""One run of the data plane's process, from its start to its end, and the link to it.

Each life has its own link: a process that died leaves no message behind for its successor. Ctrl-C at a terminal does
not reach it, as the control plane decides what that means.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence

from bluesky_streamdet.core.errors import DeadlineExceeded, ServiceUnreachable, StreamdetError
from bluesky_streamdet.streaming.config import PlaneConfig
from bluesky_streamdet.streaming.link import ControlEnd
from bluesky_streamdet.streaming.messages import Answer, Command, Quit
from bluesky_streamdet.streaming.problems import error_of
from bluesky_streamdet.streaming.status import Status

log = logging.getLogger(__name__)

LAST_LINES = 20
"""So much of what the process printed is kept, to say why it ended."""
SAID, LONGEST_LINE = 5, 300
"""Lines of it that go into the account of a series, and characters of each."""
LAST_WORDS = 0.3
"""Seconds for what an ended process said to arrive."""
KILL_SECONDS = 10.0
"""A killed process that waits for a disk ends only when that answers; nobody waits for it longer than this."""


def command_of(module: str) -> tuple[str, ...]:
    """How a data plane is started."""
    return (sys.executable, "-X", "faulthandler", "-m", module)


class DataPlaneDied(StreamdetError):
    """The data plane's process ended by itself."""

    code = "data_plane_died"


class NotRunning(ServiceUnreachable):
    """No data plane runs at this moment; one is being started."""

    code = "data_plane_down"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, "It is started again by itself; try again in a moment, or look at GET /api/v1/status."
        )


class DataPlaneProcess:
    """A data plane: `start`, `ready`, then `ask`, then `quit` or `kill`; `ended` is set when the process is no more.

    Whatever happens, `close` it.

    on_status: called in the event loop with each status. command: what to run.
    """

    def __init__(self, config: PlaneConfig, on_status: Callable[[Status], None], command: Sequence[str]) -> None:
        self.ended = asyncio.Event()
        self.last_words: deque[str] = deque(maxlen=LAST_LINES)
        self._config = config
        self._command = command
        self._on_status = on_status
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._link: ControlEnd | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Start the process and hand it its configuration. Returns the process id."""
        self._link = ControlEnd(self._take)
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            "--link",
            self._link.endpoint,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )
        self._tasks = [asyncio.create_task(self._forward_lines()), asyncio.create_task(self._await_end())]
        await self._configure()
        return self._process.pid

    async def ready(self, timeout: float) -> None:
        """Await its first status. Raises the error that the process met, `DataPlaneDied` or `DeadlineExceeded`."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._first)
        except TimeoutError as error:
            raise DeadlineExceeded(f"The data plane did not start within {timeout:g} s.", self._hint()) from error

    async def ask(self, command: Command, timeout: float) -> tuple[Answer, list[bytes]]:
        """Send a command; see `ControlEnd.ask`."""
        if self._link is None:
            raise NotRunning("The data plane has just ended.")
        return await self._link.ask(command, timeout)

    async def quit(self, timeout: float) -> bool:
        """Let it drain and end. True when it did so in time."""
        if self._link is None:
            return True
        asking = asyncio.create_task(self._link.ask(Quit(), timeout))
        try:
            async with asyncio.timeout(timeout):
                await self.ended.wait()
        except TimeoutError:
            return False
        finally:
            # Whether it has answered is of no interest; that it has ended is.
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        return True

    def kill_now(self) -> None:
        """End it, without waiting for its end."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def kill(self) -> bool:
        """End it at once. False when it does not end, as one that waits for a disk."""
        if self._process is None or self.ended.is_set():
            return True
        self.kill_now()
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await self.ended.wait()
        except TimeoutError:
            log.warning("the data plane was killed and does not end; it waits for a disk, most likely")
            return False
        return True

    async def close(self) -> None:
        """Kill it if it still lives, take what it said last, and let go of everything."""
        await self.kill()
        if not self._first.done():
            self._first.set_exception(DataPlaneDied("The data plane was ended before it had started."))
        self._first.exception()  # Now somebody has looked at it.
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    @property
    def pid(self) -> int | None:
        """The number of the process; None when there is none, or none any more."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def exit_code(self) -> int | None:
        """Of the process; negative for the signal that killed it, None while it runs."""
        return self._process.returncode if self._process is not None else None

    def why_it_ended(self) -> str:
        """How the process ended, in words."""
        code = self.exit_code
        if code is None:
            return "the data plane does not run"
        if code < 0:
            return f"the data plane was killed by signal {-code} ({_signal_name(-code)})"
        last = next((line for line in reversed(self.last_words) if line.strip()), "")
        return f"the data plane ended with exit code {code}{f': {last.strip()}' if last else ''}"

    def what_it_said(self) -> str:
        """The end of what the process printed, to stand behind why it ended; empty when it printed nothing more."""
        lines = [line.strip() for line in self.last_words if line.strip()]
        if (self.exit_code or 0) >= 0:
            lines = lines[:-1]  # The last one is told with the exit code.
        said = " | ".join(line[:LONGEST_LINE] for line in lines[-SAID:])
        return f"; it had said: {said}" if said else ""

    async def _configure(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        stdin = self._process.stdin
        try:
            stdin.write(self._config.model_dump_json().encode())
            await stdin.drain()
            stdin.close()
            await stdin.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            log.debug("the data plane ended before it had read its configuration; its end says why")

    def _take(self, answer: Answer) -> None:
        if answer.problem is not None and not self._first.done():
            self._first.set_exception(error_of(answer.problem))
        if answer.status is not None:
            if not self._first.done():
                self._first.set_result(None)
            self._on_status(answer.status)

    async def _forward_lines(self) -> None:
        """What the process prints goes on to our own standard error, as if it had never been caught."""
        assert self._process is not None and self._process.stderr is not None
        while line := await _line(self._process.stderr):
            text = line.decode(errors="replace").rstrip("\n")
            self.last_words.append(text)
            sys.stderr.write(text + "\n")

    async def _await_end(self) -> None:
        assert self._process is not None
        await self._process.wait()
        # Its last lines say why it ended.
        await asyncio.wait(self._tasks[:1], timeout=LAST_WORDS)
        if not self._first.done():
            # A problem that it has sent may still be on its way; it says more than the exit code.
            await asyncio.wait([self._first], timeout=LAST_WORDS)
        if not self._first.done():
            self._first.set_exception(DataPlaneDied(f"At its start, {self.why_it_ended()}.", self._hint()))
        self.ended.set()

    def _hint(self) -> str:
        lines = [line for line in self.last_words if line.strip()][-3:]
        return f"It said: {' | '.join(lines)}" if lines else "It said nothing."


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, cut when it is longer than the stream can hold; empty at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as error:
        return await stream.readexactly(error.consumed)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
