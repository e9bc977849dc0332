"""Threads beside the loop that work on frames, and a socket that tells when one is done."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import zmq

log = logging.getLogger(__name__)

CLOSING = 10.0
"""Seconds that work which runs may take to end when all is closed."""

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """`size` threads, which start with the first job. work: called with each job in one of them; it must not raise.

    socket: readable when a job is done; `finished` has those then.
    """

    def __init__(
        self, size: int, context: zmq.Context[zmq.Socket[bytes]], work: Callable[[Job], None], name: str
    ) -> None:
        self.size = size
        self._context = context
        self._work = work
        self._name = name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: deque[Job] = deque()
        self._threads: list[threading.Thread] = []
        self.socket = context.socket(zmq.PULL)
        self.socket.linger = 0
        self.socket.rcvhwm = 1
        self._address = f"inproc://crew-{id(self)}"
        self.socket.bind(self._address)

    def put(self, job: Job) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._run, name=f"{self._name} {number}", daemon=True)
                for number in range(self.size)
            ]
            for thread in self._threads:
                thread.start()
        self._jobs.put(job)

    def finished(self) -> list[Job]:
        """The jobs that are done since the last call, in the order in which they were."""
        with suppress(zmq.Again):
            while self._threads:
                self.socket.recv(zmq.NOBLOCK)
        done = []
        while self._done:
            done.append(self._done.popleft())
        return done

    def close(self) -> None:
        """End the threads; a job that runs is waited for, what has not begun is left."""
        with suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + CLOSING
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.warning("%s has not ended within %g s; it is left behind", thread.name, CLOSING)
        self.socket.close()

    def _run(self) -> None:
        with self._context.socket(zmq.PUSH) as tell:
            tell.linger = 0
            tell.sndhwm = 1
            tell.connect(self._address)
            while (job := self._jobs.get()) is not None:
                self._work(job)
                self._done.append(job)
                # Where there is no room, the loop has not read of the last one yet; then it sees this one too.
                with suppress(zmq.Again):
                    tell.send(b"", zmq.NOBLOCK)
