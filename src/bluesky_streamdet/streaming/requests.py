"""Questions and answers between two processes: small JSON objects over ZeroMQ REQ and REP.

An answer has "ok": true, or "ok": false and an "error" of code, message and hint, which the asking side raises again
as the same class. Every question has a deadline, and one that got no answer does not spoil the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
import zmq
from pydantic import ValidationError

from bluesky_streamdet.core.errors import DeadlineExceeded, MalformedMessage, ServiceUnreachable, StreamdetError
from bluesky_streamdet.streaming.problems import error_of, problem_of
from bluesky_streamdet.streaming.source import address_of, open_socket
from bluesky_streamdet.streaming.status import Problem

LARGEST = 1 << 20
"""Bytes of a question or an answer; who sends more is disconnected."""
LINGER = 1000
"""Milliseconds that the last answer may take to leave."""

Answerer = Callable[[bytes], dict[str, Any]]


class Responder:
    """The answering end, for one thread.

    endpoint: bound; such as "tcp://127.0.0.1:0", port 0 for any that is free. answer: what to say to a question, in
    JSON; a `StreamdetError` that it raises becomes the answer. Raises `AddressTaken` or `ConfigError`.
    """

    def __init__(self, endpoint: str, answer: Answerer) -> None:
        self._answer = answer
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.linger = LINGER
        self._socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        try:
            open_socket(self._socket, endpoint, bind=True)
        except BaseException:
            self.close()
            raise
        self.address = address_of(self._socket)

    def turn(self, timeout: float) -> bool:
        """Answer one question, if one comes within `timeout` seconds. False when none came."""
        if not self._socket.poll(round(1000 * timeout)):
            return False
        parts = self._socket.recv_multipart()
        try:
            if len(parts) != 1:
                raise MalformedMessage("wrong number of parts", f"{len(parts)} instead of one JSON object")
            reply = {"ok": True, **self._answer(parts[0])}
        except StreamdetError as error:
            reply = {"ok": False, "error": problem_of(error).model_dump()}
        self._socket.send(msgspec.json.encode(reply))
        return True

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Responder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Requester:
    """The asking end. Threads may share it; their questions wait for one another.

    what: who is asked, for messages. timeout: seconds to wait for an answer.
    """

    def __init__(self, endpoint: str, what: str, timeout: float = 5.0) -> None:
        self.endpoint = endpoint
        self._what = what
        self._timeout = timeout
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        # A question that got no answer may be followed by another, whose answer is told from a late one.
        self._socket.setsockopt(zmq.REQ_RELAXED, 1)
        self._socket.setsockopt(zmq.REQ_CORRELATE, 1)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.sndtimeo = self._socket.rcvtimeo = round(1000 * timeout)
        try:
            open_socket(self._socket, endpoint, bind=False)
        except BaseException:
            self.close()
            raise

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to `request`.

        Raises the error that it holds, `ServiceUnreachable` when nobody is there, or `DeadlineExceeded` when somebody
        is and does not answer.
        """
        with self._lock:
            reply = self._exchange(msgspec.json.encode(request))
        try:
            answer = msgspec.json.decode(reply, type=dict[str, Any])
            problem = None if answer.get("ok") is True else Problem.model_validate(answer.get("error"))
        except (msgspec.MsgspecError, ValidationError) as error:
            raise MalformedMessage(
                "answer of another form", f"{self._what} at {self.endpoint} said {reply[:100]!r}"
            ) from error
        if problem is not None:
            raise error_of(problem)
        return answer

    def _exchange(self, request: bytes) -> bytes:
        try:
            self._socket.send(request)
        except zmq.Again:
            raise ServiceUnreachable(
                f"No {self._what} answers at {self.endpoint}.", "Start it, or correct the address of its control port."
            ) from None
        try:
            return self._socket.recv()
        except zmq.Again:
            raise DeadlineExceeded(
                f"The {self._what} at {self.endpoint} did not answer within {self._timeout:g} s.",
                "It may be busy, or something else may listen there.",
            ) from None

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Requester:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
