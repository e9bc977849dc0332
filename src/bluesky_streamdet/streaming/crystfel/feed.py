"""A responder in a thread of its own, for who has frames and no loop to turn."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import zmq

from bluesky_streamdet.core.events import Frame, SeriesStart
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.responder import Responder
from bluesky_streamdet.streaming.status import CrystfelReport

TURN = 0.25
"""Seconds between two looks whether the program still runs."""


class Feed:
    """Gives frames to CrystFEL, until `close`. Raises `AddressTaken` or `ConfigError` when it can't be bound.

    take: asked in the feed's thread for the next frame, whenever there is room; None when there is none yet, and then
    again after `wake`, or a while. pending: whether frames are known that have not been taken yet.
    """

    def __init__(
        self, config: CrystfelConfig, take: Callable[[], Frame | None], pending: Callable[[], bool], name: str
    ) -> None:
        self._take, self._pending = take, pending
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._responder = Responder(config, self._context)
        except BaseException:
            self._context.term()
            raise
        self.address = self._responder.address
        self._turned = threading.Condition()
        self._taking = False
        self._until: float | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._work, name=name)
        self._thread.start()

    def begin(self, start: SeriesStart, id: str, parameters: Mapping[str, Any]) -> None:
        """The frames that follow are of this series."""
        with self._turned:
            self._responder.name_series(id, parameters)
            self._responder.start(start)

    def wake(self) -> None:
        """There may be something to take."""
        os.eventfd_write(self._wake, 1)

    def report(self) -> CrystfelReport:
        """Who waits for what, and what became of the frames."""
        with self._turned:
            return self._responder.report()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until workers are done with all that there is. False when that took longer than so many seconds."""
        with self._turned:
            return self._turned.wait_for(self._all_done, timeout)

    def close(self, timeout: float = 0.0) -> None:
        """End, after workers have had so many seconds for what there is. May be called twice."""
        if self._context.closed:
            return
        self._until = time.monotonic() + timeout
        self.wake()
        self._thread.join()
        self._responder.close()
        self._context.term()
        os.close(self._wake)

    def _all_done(self) -> bool:
        return not (self._taking or self._pending()) and self._responder.handout.all_wait

    def _work(self) -> None:
        poller = zmq.Poller()
        for socket in self._responder.sockets:
            poller.register(socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while not self._is_over():
            self._taking = True
            frame = None if self._responder.blocked else self._take()
            with self._turned:
                self._taking = False
                if frame is not None:
                    self._responder.send([frame])
                else:
                    self._responder.flush()
                patience = min(TURN, self._responder.patience)
                self._turned.notify_all()
            if frame is None:
                poller.poll(math.ceil(1000 * patience))
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)

    def _is_over(self) -> bool:
        # A feed that was never closed must not keep a program from ending.
        if not threading.main_thread().is_alive():
            return True
        return self._until is not None and (self._all_done() or time.monotonic() >= self._until)
