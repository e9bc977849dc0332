"""The fan-out: who is there gets every frame; who is slow or gone costs only their own, and each is counted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from bluesky_streamdet.codecs.stins import Decoder
from bluesky_streamdet.core.errors import AddressTaken
from bluesky_streamdet.core.events import BSLZ4, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.clients import SOCKET_QUEUE
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.fanout import Output
from bluesky_streamdet.transforms import pixels
from tests.unit.streaming.frames import frame, picture
from tests.wire.streams import LOOPBACK, Client, frame_numbers, payload, until

KINDS = ["push", "pub"]
LARGE = (200, 200)
"""A frame of 80 kB, so that few of them fill the kernel's buffers."""


class Outputs:
    """Makes outputs and clients, and closes them."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._made: list[Output | Client] = []

    def output(self, **options: Any) -> Output:
        output = Output(OutputConfig(address=LOOPBACK, **options), self.context)
        self._made.append(output)
        return output

    def client(self, output: Output, queue: int = 1000) -> Client:
        """A client that is connected, and known to be."""
        before = output.report().clients
        client = Client(self.context, output.address, output.config.kind, queue)
        self._made.append(client)
        until(lambda: output.report().clients > before, lambda: client.socket.poll(1), "the connection")
        return client

    def leave(self, output: Output, client: Client) -> None:
        """The client goes, and that is known."""
        before = output.report().clients
        client.close()
        until(lambda: output.report().clients < before, lambda: output.wait(1), "the end of the connection")

    def close(self) -> None:
        for one in self._made:
            one.close()
        self.context.term()


@pytest.fixture
def outputs() -> Iterator[Outputs]:
    outputs = Outputs()
    yield outputs
    outputs.close()


def accounted(output: Output) -> bool:
    report = output.report()
    return report.seen == report.sent + report.queued + sum(report.dropped.values())


def stepping(output: Output) -> Callable[[], None]:
    def step() -> None:
        output.flush()
        assert accounted(output)

    return step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "way", [{}, {"encoding": BSLZ4}, {"parts": 2}, {"shape": LARGE}, {"encoding": BSLZ4, "parts": 4}]
)
def test_a_client_gets_every_frame_as_it_came(outputs: Outputs, kind: str, way: dict[str, Any]) -> None:
    output = outputs.output(kind=kind)
    client = outputs.client(output)
    frames = [frame(number, **way) for number in range(5)]
    output.start(SeriesStart(filename="scan.h5", frames=5, metadata={"count_time": 0.1}))
    output.send(frames[:2])
    output.send(frames[2:])
    output.end(SeriesEnd())

    header, more = client.next(stepping(output))
    assert header == {"htype": "header", "msg_number": 0, "filename": "scan.h5"}
    assert b"count_time" in more[0]
    decoder = Decoder()
    for number, sent in enumerate(frames):
        header, parts = client.next(stepping(output))
        assert header["msg_number"] == number + 1
        assert payload(parts) == payload(sent.parts)
        (got,) = decoder.decode([msgspec.json.encode(header), *parts], 0)
        assert np.array_equal(pixels.decode(got), picture(number, sent.format.shape))  # type: ignore[arg-type]
    assert client.next(stepping(output))[0] == {"htype": "series_end", "msg_number": 6}
    assert output.report().sent == output.report().seen == 5


@pytest.mark.parametrize("kind", KINDS)
def test_frames_for_nobody_are_dropped_and_counted(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind)
    output.start(SeriesStart())
    output.send([frame(number) for number in range(10)])
    output.end(SeriesEnd())

    report = output.report()
    assert (report.seen, report.sent, report.queued, report.clients) == (10, 0, 0, 0)
    assert report.dropped == {"nobody connected": 10}


@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_in_the_middle_gets_the_header_first(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind)
    output.start(SeriesStart(filename="scan.h5"))
    output.send([frame(number) for number in range(3)])
    client = outputs.client(output)
    output.send([frame(number) for number in range(3, 6)])
    output.end(SeriesEnd())

    headers = client.rest(stepping(output))
    assert [one["htype"] for one in headers] == ["header", "image", "image", "image", "series_end"]
    assert headers[0]["filename"] == "scan.h5"
    assert [one["msg_number"] for one in headers] == [0, 1, 2, 3, 4]
    assert frame_numbers(headers) == [3, 4, 5]
    assert output.report().dropped == {"nobody connected": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_who_takes_the_place_of_another_gets_the_header_first(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind)
    first = outputs.client(output)
    output.start(SeriesStart(filename="scan.h5"))
    output.send([frame(0)])
    assert first.next(stepping(output))[0]["htype"] == "header"
    assert first.next(stepping(output))[0]["frame"] == 0
    outputs.leave(output, first)
    second = outputs.client(output)
    output.send([frame(2), frame(3)])
    output.end(SeriesEnd())

    headers = second.rest(stepping(output))
    assert headers[0]["htype"] == "header"
    assert frame_numbers(headers) == [2, 3]


def test_a_second_client_gets_no_header_in_the_middle(outputs: Outputs) -> None:
    """The first would take it for the start of another series."""
    output = outputs.output(kind="pub")
    first = outputs.client(output)
    output.start(SeriesStart())
    output.send([frame(0)])
    second = outputs.client(output)
    output.send([frame(1)])
    output.end(SeriesEnd())

    assert [one["htype"] for one in first.rest(stepping(output))] == ["header", "image", "image", "series_end"]
    assert [one["htype"] for one in second.rest(stepping(output))] == ["image", "series_end"]


@pytest.mark.parametrize("kind", KINDS)
def test_who_never_reads_costs_only_their_own_frames(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=20)
    outputs.client(output, queue=1)
    output.start(SeriesStart())
    for number in range(300):
        output.send([frame(number, LARGE)])
        assert accounted(output)

    report = output.report()
    assert 0 < report.queued <= 20
    assert report.queued_bytes == report.queued * 80_000
    assert report.dropped["queue full"] == 300 - report.queued - report.sent > 0


def test_the_queue_is_bounded_in_bytes(outputs: Outputs) -> None:
    output = outputs.output(queue=1000, queue_bytes=1_000_000)
    outputs.client(output, queue=1)
    output.start(SeriesStart())
    for number in range(300):
        output.send([frame(number, LARGE)])

    report = output.report()
    assert 0 < report.queued_bytes < 1_000_000 + 80_000
    assert report.dropped["queue full"] > 0
    assert accounted(output)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_client_gets_what_was_not_dropped_in_order(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=20)
    client = outputs.client(output, queue=1)
    output.start(SeriesStart())
    output.send([frame(number, LARGE) for number in range(300)])
    report = output.report()
    output.end(SeriesEnd())

    headers = client.rest(stepping(output))
    numbers = frame_numbers(headers)
    assert numbers == sorted(set(numbers))
    assert len(numbers) == report.sent + report.queued
    assert [one["msg_number"] for one in headers] == list(range(len(headers)))
    until(lambda: output.report().queued == 0, lambda: output.wait(1))
    assert accounted(output)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("overflow", "newest"), [("drop-newest", []), ("drop-oldest", [297, 298, 299]), ("latest", [299])]
)
def test_what_a_full_queue_keeps(outputs: Outputs, kind: str, overflow: str, newest: list[int]) -> None:
    output = outputs.output(kind=kind, queue=3, overflow=overflow)
    client = outputs.client(output, queue=1)
    output.start(SeriesStart())
    output.send([frame(number, LARGE) for number in range(300)])
    assert output.report().queued <= (1 if overflow == "latest" else 3)
    output.end(SeriesEnd())

    numbers = frame_numbers(client.rest(stepping(output)))
    assert numbers == sorted(set(numbers))
    assert numbers[-len(newest) :] == newest or not newest
    assert output.report().dropped == {"queue full": 300 - len(numbers)}
    assert accounted(output)


@pytest.mark.parametrize("kind", KINDS)
def test_who_never_reads_gets_no_more_than_some_announcements(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=5)
    outputs.client(output, queue=1)
    for _ in range(3000):
        output.start(SeriesStart(metadata={"filling": "x" * 5000}))
        output.send([frame(0, LARGE)])
        output.end(SeriesEnd())

    assert len(output._queue) <= 110
    assert accounted(output)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_blocks_drops_nothing(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=5, overflow="block")
    client = outputs.client(output, queue=1)
    output.start(SeriesStart())
    sent = 0
    while not output.blocked:
        output.send([frame(sent + index, LARGE) for index in range(64)])
        sent += 64
    output.end(SeriesEnd())

    headers = client.rest(stepping(output))
    assert frame_numbers(headers) == list(range(sent))
    until(lambda: not output.blocked, lambda: output.wait(1))
    assert output.report().dropped == {}


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_blocks_waits_for_a_client(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=3, overflow="block")
    output.start(SeriesStart(filename="scan.h5"))
    output.send([frame(number) for number in range(3)])
    output.flush()
    assert output.blocked
    assert output.report().queued == 3
    client = outputs.client(output)
    output.end(SeriesEnd())

    headers = client.rest(stepping(output))
    assert [one["htype"] for one in headers] == ["header", "image", "image", "image", "series_end"]
    assert headers[0]["filename"] == "scan.h5"
    assert not output.blocked


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_waits_does_so_for_a_client_that_is_there(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=5, overflow="wait")
    output.start(SeriesStart())
    output.send([frame(number) for number in range(10)])
    assert not output.blocked
    assert output.report().dropped == {"nobody connected": 10}
    client = outputs.client(output, queue=1)
    sent = 10
    while not output.blocked:
        output.send([frame(sent + index, LARGE) for index in range(64)])
        sent += 64
    output.end(SeriesEnd())

    assert frame_numbers(client.rest(stepping(output))) == list(range(10, sent))
    assert accounted(output)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_waits_gives_up_a_client_that_leaves(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=5, overflow="wait")
    client = outputs.client(output, queue=1)
    output.start(SeriesStart())
    while not output.blocked:
        output.send([frame(index, LARGE) for index in range(64)])
    outputs.leave(output, client)

    assert not output.blocked
    assert accounted(output)


@pytest.mark.parametrize("kind", KINDS)
def test_a_blocking_output_keeps_what_waits_for_the_next_client(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=3, overflow="block")
    first = outputs.client(output)
    output.start(SeriesStart())
    output.send([frame(0)])
    first.next(stepping(output))
    first.next(stepping(output))
    outputs.leave(output, first)
    output.send([frame(number) for number in range(1, 4)])
    assert output.blocked
    second = outputs.client(output)
    until(lambda: not output.blocked, stepping(output))
    output.end(SeriesEnd())

    headers = second.rest(stepping(output))
    assert [one["htype"] for one in headers] == ["header", "image", "image", "image", "series_end"]
    assert frame_numbers(headers) == [1, 2, 3]
    assert [one["msg_number"] for one in headers] == [2, 3, 4, 5, 6]


def test_waiting_for_a_client_takes_no_longer_than_asked(outputs: Outputs) -> None:
    for kind in KINDS:
        output = outputs.output(kind=kind, queue=1, overflow="block")
        output.send([frame(0)])
        output.wait(5)
        assert output.blocked


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_for_a_client_that_left_is_counted(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=20)
    client = outputs.client(output, queue=1)
    output.start(SeriesStart())
    output.send([frame(number, LARGE) for number in range(300)])
    report = output.report()
    assert report.queued > 0
    outputs.leave(output, client)
    output.flush()

    assert output.report().dropped == report.dropped | {"client left": report.queued}
    assert accounted(output)


@pytest.mark.parametrize("kind", KINDS)
def test_an_abort_drops_frames_but_not_the_end(outputs: Outputs, kind: str) -> None:
    output = outputs.output(kind=kind, queue=20)
    client = outputs.client(output, queue=1)
    output.start(SeriesStart())
    output.send([frame(number, LARGE) for number in range(300)])
    sent, queued = output.report().sent, output.report().queued
    output.discard()
    output.end(SeriesEnd())
    output.start(SeriesStart(filename="next.h5"))
    output.send([frame(0)])
    output.end(SeriesEnd())

    assert len(frame_numbers(client.rest(stepping(output)))) == sent
    headers = client.rest(stepping(output))
    assert [one["htype"] for one in headers] == ["header", "image", "series_end"]
    assert headers[0]["filename"] == "next.h5"
    assert output.report().dropped["aborted"] == queued > 0
    assert accounted(output)


def test_several_clients_of_a_push_share_the_frames(outputs: Outputs) -> None:
    output = outputs.output()
    clients = [outputs.client(output), outputs.client(output)]
    output.start(SeriesStart())
    output.send([frame(number) for number in range(20)])
    until(lambda: output.report().sent == 20, stepping(output))

    got: list[int] = []
    for client in clients:
        while (message := client.take(wait=200)) is not None:
            got += frame_numbers([msgspec.json.decode(message[0])])
    assert sorted(got) == list(range(20))


def test_a_subscription_counts_and_not_the_connection(outputs: Outputs) -> None:
    """What is published to nobody's subscription would count as sent."""
    output = outputs.output(kind="pub")
    deaf = outputs.context.socket(zmq.SUB)
    deaf.linger = 0
    monitor = deaf.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    deaf.connect(output.address)
    assert monitor.poll(10_000)
    deaf.disable_monitor()
    monitor.close()
    output.start(SeriesStart())
    output.send([frame(0)])
    assert output.report().dropped == {"nobody connected": 1}

    deaf.subscribe(b"")
    until(lambda: output.report().clients == 1, lambda: output.wait(1))
    output.send([frame(1)])
    assert output.report().sent == 1
    deaf.unsubscribe(b"")
    until(lambda: output.report().clients == 0, lambda: output.wait(1))
    deaf.close()


def test_whoever_only_knocks_is_no_harm(outputs: Outputs) -> None:
    output = outputs.output(queue=5)
    host, _, port = output.address.removeprefix("tcp://").rpartition(":")
    client = outputs.client(output)
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=5) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    until(lambda: output._clients._ever == 21, stepping(output))
    until(lambda: output.report().clients == 1, stepping(output))
    output.start(SeriesStart())
    output.send([frame(0)])
    output.end(SeriesEnd())

    assert frame_numbers(client.rest(stepping(output))) == [0]


def test_a_taken_port_is_named(outputs: Outputs) -> None:
    output = outputs.output()

    with pytest.raises(AddressTaken, match=output.address):
        Output(OutputConfig(address=output.address), outputs.context)


def test_large_tables_stay_out_of_the_header(outputs: Outputs) -> None:
    output = outputs.output()
    client = outputs.client(output)
    metadata = {"pixel_mask": np.zeros((100, 100)), "small": np.arange(3), "gain": np.float32(0.5)}
    output.start(SeriesStart(metadata=metadata))

    _, more = client.next(stepping(output))
    assert more == [b'{"small":[0,1,2],"gain":0.5}']


@pytest.mark.parametrize("value", ["\ud800", {"a": np.zeros(2)}, object()], ids=["surrogate", "array", "object"])
def test_settings_that_json_can_not_say_do_not_stop_the_frames(outputs: Outputs, value: Any) -> None:
    output = outputs.output()
    client = outputs.client(output)
    output.start(SeriesStart(filename="scan.h5", metadata={"bad": value}))
    output.send([frame(0)])
    output.end(SeriesEnd())

    headers = client.rest(stepping(output))
    assert headers[0]["filename"] == "scan.h5"
    assert frame_numbers(headers) == [0]


def test_the_socket_holds_few_messages(outputs: Outputs) -> None:
    """What it holds is counted as sent, and lost when the client dies."""
    assert outputs.output()._socket.sndhwm == SOCKET_QUEUE <= 16
