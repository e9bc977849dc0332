"""The link between the two planes: a pair of ZeroMQ sockets on this machine, for typed messages only.

The control plane binds it in a folder that only its owner may enter, and awaits. The data plane connects, and never
waits: when the control plane is slow, a newer status replaces the older ones, and answers are kept until there is
room.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq
import zmq.asyncio
from pydantic import ValidationError

from bluesky_streamdet.core.errors import DeadlineExceeded, ServiceUnreachable
from bluesky_streamdet.streaming.messages import Answer, Command, Request
from bluesky_streamdet.streaming.problems import error_of

log = logging.getLogger(__name__)

QUEUE = 100
"""Messages that ZeroMQ holds in each direction."""
KEPT_ANSWERS = 100
"""Answers that the data plane keeps for a control plane that does not read; more than one can ask at a time."""
LINGER = 1000
"""Milliseconds that the last messages of an ending data plane may take to leave."""
LAST_WORDS = 50
"""Milliseconds of silence after which nothing more of an ended data plane is on its way."""
LONGEST_IPC_PATH = 100
"""An ipc endpoint is a path in a fixed buffer of the operating system, of 107 characters on Linux."""


class ControlEnd:
    """The control plane's end, for one data plane process; needs a running event loop.

    on_answer: called in the loop with each answer that nobody asked for: a status, or why the start failed.
    """

    def __init__(self, on_answer: Callable[[Answer], None]) -> None:
        self._on_answer = on_answer
        self._folder = _private_folder()
        self.endpoint = f"ipc://{self._folder / 'link'}"
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.rcvhwm = self._socket.sndhwm = QUEUE
        self._socket.bind(self.endpoint)
        self._number = 0
        self._asked: dict[int, asyncio.Future[tuple[Answer, list[bytes]]]] = {}
        self._reader = asyncio.create_task(self._read(), name="link reader")

    async def ask(self, command: Command, timeout: float) -> tuple[Answer, list[bytes]]:
        """Send a command and await its answer, with the parts that follow it.

        timeout: seconds. Raises the data plane's own error, `DeadlineExceeded`, or `ServiceUnreachable` when it ends.
        """
        self._number = number = self._number + 1
        future: asyncio.Future[tuple[Answer, list[bytes]]] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        request = Request(number=number, command=command)
        try:
            # Not to be waited for: there is room, unless nobody has read a hundred requests.
            await self._socket.send(request.model_dump_json().encode(), zmq.NOBLOCK)
            async with asyncio.timeout(timeout):
                answer, parts = await future
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The data plane did not answer the request {command.kind!r} within {timeout:g} s.",
                "A disk that stalls holds it up. It may still carry the request out; see the status.",
            ) from error
        except zmq.Again as error:
            raise DeadlineExceeded(f"The data plane does not take the request {command.kind!r}.") from error
        finally:
            del self._asked[number]
        if answer.problem is not None:
            raise error_of(answer.problem)
        return answer, parts

    async def close(self) -> None:
        """Take what came last, and close. Who still waits for an answer gets `ServiceUnreachable`."""
        self._reader.cancel()
        await asyncio.wait([self._reader])
        while await self._socket.poll(LAST_WORDS):
            self._take(await self._socket.recv_multipart())
        self._socket.close()
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ServiceUnreachable("The data plane ended before it had answered."))

    async def _read(self) -> None:
        while True:
            self._take(await self._socket.recv_multipart())

    def _take(self, parts: list[bytes]) -> None:
        try:
            answer = Answer.model_validate_json(parts[0])
        except ValidationError as error:
            log.warning("the data plane sent what is no answer: %s", error)
            return
        if answer.number is None:
            self._on_answer(answer)
            return
        future = self._asked.get(answer.number)
        # Nobody waits for the answer any more when its deadline is over.
        if future is not None and not future.done():
            future.set_result((answer, parts[1:]))


class DataEnd:
    """The data plane's end. Not thread-safe; no method waits."""

    def __init__(self, endpoint: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.PAIR)
        self.socket.linger = LINGER
        self.socket.rcvhwm = self.socket.sndhwm = QUEUE
        self._answers: deque[list[object]] = deque(maxlen=KEPT_ANSWERS)
        self._status: list[object] | None = None
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError:
            self.close()
            raise

    def receive(self) -> Request | None:
        """The next request, None when none waits."""
        self._flush()
        try:
            return Request.model_validate_json(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return None
        except ValidationError as error:
            log.warning("the control plane sent what is no request: %s", error)
            return None

    def send(self, answer: Answer, parts: Sequence[object] = ()) -> None:
        """Send an answer, or, without a number, a status; `parts` follow it uncopied."""
        message = [answer.model_dump_json().encode(), *parts]
        if answer.number is None:
            self._status = message
        else:
            self._answers.append(message)
        self._flush()

    def close(self) -> None:
        """Send what there is room for, and close; the context's end waits up to `LINGER` ms for it to leave."""
        self._flush()
        self.socket.close()

    def _flush(self) -> None:
        while self._answers and self._try(self._answers[0]):
            self._answers.popleft()
        if self._status is not None and not self._answers and self._try(self._status):
            self._status = None

    def _try(self, message: list[object]) -> bool:
        try:
            self.socket.send_multipart(message, zmq.NOBLOCK, copy=False)  # type: ignore[arg-type]
        except zmq.Again:
            return False
        return True


def _private_folder() -> Path:
    """A new folder for the socket, mode 0700, in the usual place for temporary files unless its path is too long."""
    folder = tempfile.mkdtemp(prefix="streamdet-")
    if len(folder) > LONGEST_IPC_PATH:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="streamdet-", dir="/tmp")
    return Path(folder)
