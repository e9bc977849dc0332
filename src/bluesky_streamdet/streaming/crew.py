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

MOST_STUCK = 64
"""Threads that have not come back, beyond which no others take their places."""

Job = TypeVar("Job")


class _Task(Generic[Job]):
    """A job on its way. begun: a thread has it. given_up: nobody waits for it."""

    __slots__ = ("begun", "done", "given_up", "job")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.begun = self.done = self.given_up = False


class Crew(Generic[Job]):
    """`size` threads, which start with the first job. work: called with each job in one of them; it must not raise.

    socket: readable when a job is done; `finished` has those then. name: of the threads.
    """

    def __init__(
        self, size: int, context: zmq.Context[zmq.Socket[bytes]], work: Callable[[Job], None], name: str
    ) -> None:
        self.size = size
        self._context = context
        self._work = work
        self._name = name
        self._jobs: queue.SimpleQueue[_Task[Job] | None] = queue.SimpleQueue()
        self._tasks: dict[int, _Task[Job]] = {}
        self._done: deque[Job] = deque()
        self._lock = threading.Lock()
        self._stuck = 0
        self._threads: list[threading.Thread] = []
        self.socket = context.socket(zmq.PULL)
        self.socket.linger = 0
        self.socket.rcvhwm = 1
        self._address = f"inproc://crew-{id(self)}"
        self.socket.bind(self._address)

    def put(self, job: Job) -> None:
        if not self._threads:
            for _ in range(self.size):
                self._start()
        task = self._tasks[id(job)] = _Task(job)
        self._jobs.put(task)

    def give_up(self, job: Job) -> bool:
        """Wait no longer for a job; another thread takes the place of one that it holds up. False when it is done."""
        with self._lock:
            task = self._tasks.get(id(job))
            if task is None or task.done:
                return False
            task.given_up = True
            del self._tasks[id(job)]
            if task.begun and self._stuck < MOST_STUCK:
                self._stuck += 1
                self._start()
            return True

    def finished(self) -> list[Job]:
        """The jobs that are done since the last call, in the order in which they were."""
        with suppress(zmq.Again):
            while self._threads:
                self.socket.recv(zmq.NOBLOCK)
        done = []
        while self._done:
            done.append(job := self._done.popleft())
            del self._tasks[id(job)]
        return done

    def close(self) -> None:
        """End the threads; a job that runs is waited for, what has not begun is left."""
        with suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._jobs.put(None)
        deadline = time.monotonic() + CLOSING
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.warning("%s has not ended within %g s; it is left behind", thread.name, CLOSING)
        self.socket.close()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name} {len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        with self._context.socket(zmq.PUSH) as tell:
            tell.linger = 0
            tell.sndhwm = 1
            tell.connect(self._address)
            while (task := self._jobs.get()) is not None:
                with self._lock:
                    if task.given_up:
                        continue
                    task.begun = True
                self._work(task.job)
                with self._lock:
                    if task.given_up:  # Another thread is in the place of this one.
                        self._stuck -= 1
                        self._threads.remove(threading.current_thread())
                        return
                    task.done = True
                    self._done.append(task.job)
                # Where there is no room, the loop has not read of the last one yet; then it sees this one too.
                with suppress(zmq.Again):
                    tell.send(b"", zmq.NOBLOCK)
