"""One HTTP request on a connection of its own, that another thread may give up while it waits for the answer.

A detector that is aborted need not answer the trigger that it was taking frames for; and who waits in a socket hears
of nothing else.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.client import HTTPConnection
from typing import Any

LARGEST = 1 << 20
"""Bytes of an answer that are read; no parameter that we ask for is as large."""


class Request:
    """connection: not connected yet, with the time-out of connecting. Used once."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.given_up = False

    def connect(self) -> None:
        """The host's name is looked up now. Raises `OSError`."""
        self._connection.connect()
        with self._lock:
            if self.given_up:
                self._connection.close()
                raise ConnectionAbortedError("given up")

    def exchange(self, method: str, path: str, body: Any, timeout: float) -> tuple[int, bytes]:
        """Status and content of the answer; body: becomes JSON. Raises `OSError`, or `HTTPException`.

        timeout: seconds that the answer may take; then it is a `TimeoutError`.
        """
        connection = self._connection
        try:
            connection.sock.settimeout(timeout)
            content = None if body is None else json.dumps(body).encode()
            headers = {"Connection": "close"} | ({} if body is None else {"Content-Type": "application/json"})
            connection.request(method, path, content, headers)
            with connection.getresponse() as response:
                return response.status, response.read(LARGEST)
        finally:
            with self._lock:
                connection.close()

    def give_up(self) -> None:
        """Have who waits for the answer wait no more."""
        with self._lock:
            self.given_up = True
            connected = self._connection.sock
            if connected is not None:
                with contextlib.suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
