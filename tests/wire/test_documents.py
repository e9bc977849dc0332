"""Documents from one process to another, over real sockets: order, late joiners, gaps, strangers, and no waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
import zmq
from bluesky import RunEngine
from ophyd.sim import SynAxis

from bluesky_streamdet.core.errors import AddressTaken, ConfigError
from bluesky_streamdet.streaming import documents
from bluesky_streamdet.streaming.documents import DocumentPublisher, DocumentSubscriber
from tests.scripted import Documents, ScriptedService, detector

pytestmark = pytest.mark.wire
PATIENCE = 20.0


@pytest.fixture
def publisher() -> Iterator[DocumentPublisher]:
    with DocumentPublisher("tcp://127.0.0.1:0") as one:
        yield one


def until(subscriber: DocumentSubscriber, name: str, count: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """What comes until there were so many documents of a kind."""
    came: list[tuple[str, dict[str, Any]]] = []
    while sum(kind == name for kind, _ in came) < count:
        new = subscriber.receive(PATIENCE)
        assert new, f"{count} {name} never came, but {[kind for kind, _ in came]}"
        came += new
    return came


def joined(publisher: DocumentPublisher, subscriber: DocumentSubscriber) -> None:
    """Until the subscriber is known."""
    publisher("start", {"uid": "hello", "time": 0.0})
    until(subscriber, "start")
    publisher("stop", {"uid": "bye", "run_start": "hello", "time": 0.0, "exit_status": "success"})
    until(subscriber, "stop")


@pytest.mark.parametrize("face", ["classic", "async"])
def test_a_run_arrives_whole_and_in_order(
    RE: RunEngine, publisher: DocumentPublisher, tmp_path: Any, face: str
) -> None:
    sent = Documents()
    with DocumentSubscriber(publisher.address) as subscriber:
        joined(publisher, subscriber)
        assert publisher.subscribers == 1
        det = detector(face, ScriptedService(tmp_path))
        RE(bp.scan([det], SynAxis(name="motor"), 0, 1, 3), [publisher, sent], where=np.array([1.5, 2]))
        came = until(subscriber, "stop")
    assert [name for name, _ in came] == [name for name, _ in sent.all]
    assert came[0][1]["where"].tolist() == [1.5, 2]
    assert [document["uid"] for _, document in came] == [document["uid"] for _, document in sent.all]
    assert (subscriber.gaps, subscriber.refused, publisher.dropped) == (0, 0, 0)


def test_who_comes_late_gets_the_open_run(publisher: DocumentPublisher) -> None:
    publisher("start", {"uid": "one", "time": 0.0})
    publisher("descriptor", {"uid": "d", "run_start": "one", "time": 0.0, "data_keys": {}})
    with DocumentSubscriber(publisher.address) as late:
        came = until(late, "descriptor")
        assert [name for name, _ in came] == ["start", "descriptor"]
        publisher("stop", {"uid": "s", "run_start": "one", "time": 0.0, "exit_status": "success"})
        assert [name for name, _ in until(late, "stop")] == ["stop"]


def test_a_subscriber_may_be_there_first() -> None:
    with DocumentPublisher("tcp://127.0.0.1:0") as first:
        address = first.address
    with DocumentSubscriber(address) as subscriber:
        with DocumentPublisher(address) as publisher:
            joined(publisher, subscriber)
        # And the next publisher at the same place is another.
        with DocumentPublisher(address) as publisher:
            publisher("start", {"uid": "two", "time": 0.0})
            assert until(subscriber, "start")[-1][1]["uid"] == "two"
    assert subscriber.gaps == 0


def test_a_gap_is_filled_from_what_the_publisher_knows(publisher: DocumentPublisher) -> None:
    with DocumentSubscriber(publisher.address) as subscriber:
        joined(publisher, subscriber)
        publisher("start", {"uid": "one", "time": 0.0})
        publisher("descriptor", {"uid": "d", "run_start": "one", "time": 0.0, "data_keys": {}})
        until(subscriber, "descriptor")
        # As if three had been dropped on the way.
        for number in range(1, 4):
            publisher("event", event(number))
        assert subscriber._socket.poll(1000 * PATIENCE)
        left = 3
        while left:
            assert subscriber._socket.recv_multipart()[0] == b"d"
            left -= 1
        publisher("event", event(4))
        came = until(subscriber, "event", 4)
    assert [document["seq_num"] for _, document in came] == [1, 2, 3, 4]
    assert subscriber.gaps == 1


def event(number: int) -> dict[str, Any]:
    values: dict[str, Any] = {"data": {}, "timestamps": {}, "time": 0.0}
    return {"uid": f"e{number}", "descriptor": "d", "seq_num": number, **values}


def test_who_does_not_keep_up_holds_up_nobody_and_gets_the_rest_later() -> None:
    with (
        DocumentPublisher("tcp://127.0.0.1:0", queue=10) as publisher,
        DocumentSubscriber(publisher.address) as subscriber,
    ):
        joined(publisher, subscriber)
        publisher("start", {"uid": "one", "time": 0.0})
        publisher("descriptor", {"uid": "d", "run_start": "one", "time": 0.0, "data_keys": {}})
        for number in range(1, 301):
            publisher("event", {**event(number), "data": {"x": "y" * 100_000}})
        came = until(subscriber, "event", 300)
    assert [document["seq_num"] for name, document in came if name == "event"] == list(range(1, 301))
    assert subscriber.gaps > 0, "30 MB are more than sockets hold"


def test_many_documents_at_once_from_several_threads(publisher: DocumentPublisher) -> None:
    with DocumentSubscriber(publisher.address) as subscriber:
        joined(publisher, subscriber)
        publisher("start", {"uid": "one", "time": 0.0})
        publisher("descriptor", {"uid": "d", "run_start": "one", "time": 0.0, "data_keys": {}})

        def send(first: int) -> None:
            for number in range(first, first + 1000):
                publisher("event", event(number))

        threads = [threading.Thread(target=send, args=(1000 * one,)) for one in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        came = until(subscriber, "event", 3000)
    assert sorted(document["seq_num"] for name, document in came if name == "event") == list(range(3000))


def test_what_strangers_send_is_refused() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as stranger:
        port = stranger.bind_to_random_port("tcp://127.0.0.1")
        with DocumentSubscriber(f"tcp://127.0.0.1:{port}") as subscriber:
            while not subscriber.refused:
                stranger.send_multipart([b"d", b"\x80\x04cposix\nsystem\n"])
                stranger.send_multipart([b"d"])
                assert subscriber.receive(0.05) == []
        stranger.linger = 0


def test_a_document_that_can_not_be_sent_stops_nothing(publisher: DocumentPublisher) -> None:
    publisher("start", {"uid": "one", "time": 0.0, "huge": 2**70})
    assert publisher.dropped == 1


@pytest.mark.allow_error_log
def test_an_object_that_can_not_say_what_it_is_stops_nothing(publisher: DocumentPublisher) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("mute")

    publisher("start", {"uid": "one", "time": 0.0, "x": Mute()})
    assert publisher.dropped == 1


def test_too_much_to_hold_comes_with_the_next_replay(
    publisher: DocumentPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "HELD_BYTES", 1000)
    publisher("start", {"uid": "one", "time": 0.0})
    publisher("descriptor", {"uid": "d", "run_start": "one", "time": 0.0, "data_keys": {}})
    for number in range(1, 101):
        publisher("event", event(number))
    with DocumentSubscriber(publisher.address) as late:
        for number in range(101, 201):
            publisher("event", event(number))
        came = until(late, "event", 200)
    assert [document["seq_num"] for name, document in came if name == "event"] == list(range(1, 201))


def test_addresses() -> None:
    with DocumentPublisher("tcp://127.0.0.1:0") as publisher, pytest.raises(AddressTaken):
        DocumentPublisher(publisher.address)
    for kind in (DocumentPublisher, DocumentSubscriber):
        with pytest.raises(ConfigError):
            kind("127.0.0.1:5579")
    publisher("start", {"uid": "late", "time": 0.0})
    publisher.close()
