"""Sending, asking and answering on real sockets: addresses, deadlines, push-back, sizes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import zmq

from bluesky_streamdet.core.errors import (
    AddressTaken,
    Busy,
    ConfigError,
    DeadlineExceeded,
    MalformedMessage,
    ServiceUnreachable,
)
from bluesky_streamdet.streaming.listener import Listener
from bluesky_streamdet.streaming.requests import LARGEST, Requester, Responder
from bluesky_streamdet.streaming.sender import QUEUE, Sender

pytestmark = pytest.mark.wire

ANY = "tcp://127.0.0.1:0"
TIMEOUT = 10.0
SOON = 0.05


def received(listener: Listener, count: int) -> list[list[bytes]]:
    messages: list[list[bytes]] = []
    while len(messages) < count:
        new = listener.receive(TIMEOUT)
        assert new, f"{len(messages)} of {count} messages came"
        messages += [[bytes(part) for part in parts] for parts in new]
    return messages


@pytest.mark.parametrize(("kind", "socket"), [("push", "pull"), ("pub", "sub")])
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_messages_arrive_in_order(kind: Any, socket: Any, size: int) -> None:
    with Sender(ANY, kind) as sender, Listener(sender.address, socket) as listener:
        sender.wait_for_peer(TIMEOUT)
        messages = [[b"header", bytes([number]) * size] for number in range(12)]
        for parts in messages:
            sender.send(parts, TIMEOUT)
        assert received(listener, 12) == messages
        assert listener.connected


@pytest.mark.parametrize(("kind", "socket"), [("push", "pull"), ("pub", "sub")])
def test_the_receiver_may_be_the_one_that_is_bound(kind: Any, socket: Any) -> None:
    with Listener(ANY, socket, bind=True) as listener, Sender(listener.address, kind, bind=False) as sender:
        # A socket that is bound greets who has connected when it is next used.
        while not sender.has_peer(SOON):
            assert listener.receive(0) == []
        sender.send([b"message"], TIMEOUT)
        assert received(listener, 1) == [[b"message"]]


def test_a_send_without_receiver_fails_with_the_endpoint() -> None:
    with Sender(ANY) as sender:
        assert not sender.offer([b"message"])
        assert not sender.has_peer()
        with pytest.raises(DeadlineExceeded, match=rf"{sender.address} within 0.05 s.*receiver"):
            sender.send([b"message"], SOON)
        with pytest.raises(DeadlineExceeded, match="Nobody connected"):
            sender.wait_for_peer(SOON)


@pytest.mark.parametrize(("kind", "socket"), [("push", zmq.PULL), ("pub", zmq.SUB)])
def test_a_receiver_that_does_not_read_pushes_back_and_loses_nothing(kind: Any, socket: int) -> None:
    with Sender(ANY, kind) as sender, zmq.Context() as context, context.socket(socket) as receiver:
        receiver.rcvhwm = 1
        receiver.rcvtimeo = round(1000 * TIMEOUT)
        if socket == zmq.SUB:
            receiver.subscribe(b"")
        receiver.connect(sender.address)
        sender.wait_for_peer(TIMEOUT)
        sent = 0
        while sender.offer([b"%d" % sent, bytes(1 << 20)], SOON):
            sent += 1
            assert sent < 100 * QUEUE, "a sender has to feel a receiver that does not read"
        assert [receiver.recv_multipart()[0] for _ in range(sent)] == [b"%d" % number for number in range(sent)]
        sender.send([b"and on"], TIMEOUT)
        assert receiver.recv_multipart() == [b"and on"]


def test_a_publisher_knows_when_its_last_subscriber_has_gone() -> None:
    with Sender(ANY, "pub") as sender:
        with Listener(sender.address, "sub"):
            assert sender.has_peer(TIMEOUT)
        gone = threading.Event()
        while sender.has_peer() and not gone.wait(0.001):
            pass
        with pytest.raises(DeadlineExceeded, match="Nobody subscribed"):
            sender.wait_for_peer(SOON)


def test_a_taken_port_is_named() -> None:
    with Sender(ANY) as sender:
        with pytest.raises(AddressTaken, match=sender.address):
            Sender(sender.address)
        with pytest.raises(AddressTaken, match=sender.address):
            Listener(sender.address, bind=True)
        with pytest.raises(AddressTaken, match=sender.address):
            Responder(sender.address, lambda request: {})


@pytest.mark.parametrize("endpoint", ["tcp://nowhere", "nonsense", "ftp://127.0.0.1:1"])
def test_an_impossible_address_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=endpoint):
        Sender(endpoint)
    with pytest.raises(ConfigError, match=endpoint):
        Listener(endpoint, bind=True)


class Server:
    """A responder in a thread."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._responder = Responder(ANY, self._answer)
        self.address = self._responder.address
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            self._responder.turn(SOON)
        self._responder.close()

    def _answer(self, request: bytes) -> dict[str, Any]:
        asked = msgspec.json.decode(request)
        if asked == {"say": "busy"}:
            raise Busy("Another series runs.", "Wait.")
        return {"echo": asked}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop.set()
    server.thread.join()


@pytest.fixture
def requester(server: Server) -> Iterator[Requester]:
    with Requester(server.address, "echo", TIMEOUT) as requester:
        yield requester


def test_a_question_gets_its_answer(requester: Requester) -> None:
    for number in range(3):
        assert requester.ask({"number": number}) == {"ok": True, "echo": {"number": number}}


def test_an_error_comes_back_as_the_same_class(requester: Requester) -> None:
    with pytest.raises(Busy) as caught:
        requester.ask({"say": "busy"})
    assert (caught.value.message, caught.value.hint) == ("Another series runs.", "Wait.")
    assert requester.ask({"and": "on"})["ok"] is True


def test_nobody_there_is_said() -> None:
    with Responder(ANY, lambda request: {}) as responder:
        address = responder.address
    with Requester(address, "echo", SOON) as requester, pytest.raises(ServiceUnreachable, match=f"No echo .*{address}"):
        requester.ask({})


def test_an_answer_that_comes_too_late_does_not_spoil_the_next() -> None:
    with Responder(ANY, lambda request: {"echo": msgspec.json.decode(request)}) as responder:
        with Requester(responder.address, "echo", SOON) as requester:
            with pytest.raises(DeadlineExceeded, match="did not answer within"):
                requester.ask({"number": 1})
            answers: list[dict[str, Any]] = []
            asking = threading.Thread(target=lambda: answers.append(_asked_again(requester)))
            asking.start()
            while asking.is_alive():
                responder.turn(SOON)
            asking.join()
        assert answers[0]["echo"] == {"number": 2}


def _asked_again(requester: Requester) -> dict[str, Any]:
    """The answer to a second question; the first may have to be answered before it."""
    while True:
        try:
            return requester.ask({"number": 2})
        except DeadlineExceeded:
            continue


def test_several_parts_are_no_question(server: Server) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.rcvtimeo = round(1000 * TIMEOUT)
        socket.connect(server.address)
        socket.send_multipart([b"{}", b"{}"])
        answer = msgspec.json.decode(socket.recv())
    assert answer["ok"] is False
    assert answer["error"]["code"] == MalformedMessage.code


def test_a_question_that_is_too_large_is_not_read(server: Server) -> None:
    with (
        Requester(server.address, "echo", 4 * SOON) as requester,
        pytest.raises((DeadlineExceeded, ServiceUnreachable)),
    ):
        requester.ask({"large": "x" * 2 * LARGEST})


def test_an_answer_in_another_form_is_refused() -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.bind(ANY)
        address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        answering = threading.Thread(target=lambda: (socket.recv(), socket.send(b"hello")))
        answering.start()
        with Requester(address, "echo", TIMEOUT) as requester, pytest.raises(MalformedMessage, match="hello"):
            requester.ask({})
        answering.join()
