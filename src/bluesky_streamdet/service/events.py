"""The statuses of a service as they are pushed: one thread and one connection for all who subscribe."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pydantic import ValidationError
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from bluesky_streamdet.streaming.status import Status

log = logging.getLogger(__name__)

Callback = Callable[[Status | None], None]

SILENCE = 5.0
"""Seconds without a status, which comes once a second at least, after which the connection is given up."""
RETRY = (0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to connect; the last of them for all that follow."""
LARGEST_STATUS = 16 << 20


class StatusFeed:
    """Follows a service for as long as somebody subscribes, and connects anew when it is lost.

    url: of the events. key: finds the API key. timeout: seconds for an attempt to connect.
    """

    def __init__(self, url: str, key: Callable[[], str | None], timeout: float) -> None:
        self._url = url
        self._key = key
        self._timeout = timeout
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callback] = {}
        self._number = 0
        self._follower: _Follower | None = None
        self._ended: list[_Follower] = []

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have `callback` called from now on. Returns what ends that."""
        with self._lock:
            self._number = number = self._number + 1
            self._callbacks[number] = callback
            if self._follower is None:
                self._follower = _Follower(self._url, self._key, self._timeout, self._deliver)
        return lambda: self._unsubscribe(number)

    def close(self) -> None:
        """Forget all who subscribed, and wait for the thread to end."""
        with self._lock:
            self._callbacks.clear()
            followers = [*self._ended, *([self._follower] if self._follower is not None else [])]
            self._ended, self._follower = [], None
        for follower in followers:
            follower.end()
            if follower is not threading.current_thread():  # A callback may close its own feed.
                follower.join()

    def _unsubscribe(self, number: int) -> None:
        with self._lock:
            self._callbacks.pop(number, None)
            if self._callbacks or self._follower is None:
                return
            follower, self._follower = self._follower, None
            self._ended = [one for one in self._ended if one.is_alive()] + [follower]
        # Not waited for: a callback may be waiting for a lock that whoever unsubscribes holds.
        follower.end()

    def _deliver(self, status: Status | None) -> None:
        with self._lock:
            callbacks = list(self._callbacks.values())
        for callback in callbacks:
            try:
                callback(status)
            except Exception:
                # It is somebody else's, and the others want to hear the rest.
                log.exception("a callback for the status failed")


class _Follower(threading.Thread):
    """The thread, from the first subscription to the end of the last."""

    def __init__(
        self, url: str, key: Callable[[], str | None], timeout: float, deliver: Callable[[Status | None], None]
    ) -> None:
        super().__init__(name="streamdet status", daemon=True)
        self._url = url
        self._key = key
        self._timeout = timeout
        self._deliver = deliver
        self._ending = threading.Event()
        self._connection: ClientConnection | None = None
        self.start()

    def end(self) -> None:
        """Have the thread end soon."""
        self._ending.set()
        connection = self._connection
        if connection is not None:
            connection.close()

    def run(self) -> None:
        attempts = 0
        while not self._ending.is_set():
            try:
                self._follow()
            except (OSError, WebSocketException) as error:
                log.debug("%s is lost: %s", self._url, error)
            if self._ending.is_set():
                return
            if self._connection is not None:
                attempts, self._connection = 0, None
            if attempts == 0:
                self._deliver(None)
            self._ending.wait(RETRY[min(attempts, len(RETRY) - 1)])
            attempts += 1

    def _follow(self) -> None:
        key = self._key()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        with connect(
            self._url,
            additional_headers=headers,
            open_timeout=self._timeout,
            close_timeout=1,
            max_size=LARGEST_STATUS,
            compression=None,
            proxy=None,
        ) as connection:
            # Before the next look at `_ending`, which `end` sets before it looks for a connection to close.
            self._connection = connection
            while not self._ending.is_set():
                message = connection.recv(timeout=SILENCE)
                try:
                    status = Status.model_validate_json(message)
                except ValidationError as error:
                    log.warning("%s sends what is no status: %s", self._url, error)
                    return
                self._deliver(status)
