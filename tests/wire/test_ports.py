"""Outputs that are added, changed and removed while others stream on; a pipeline that is paused, and moved."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import zmq

from bluesky_streamdet.core.errors import AddressTaken, ConfigError, RequestRefused
from bluesky_streamdet.streaming import ports
from bluesky_streamdet.streaming.endpoints import OutputConfig, SourceConfig
from bluesky_streamdet.streaming.messages import SetOutputs
from bluesky_streamdet.streaming.sender import Sender
from tests.wire.streams import LOOPBACK, Client, Rig, Stream, until

pytestmark = pytest.mark.wire

Rigs = Callable[..., Rig]
LIVE: dict[str, Any] = {"codec": "array-1.0", "unarmed": "forward", "wait": {"gap_seconds": 0, "settle_seconds": 0}}


def output(name: str, address: str = LOOPBACK, **settings: Any) -> OutputConfig:
    return OutputConfig.model_validate({"name": name, "address": address, "encoder": "array-1.0", **settings})


def live(rigs: Rigs, *outputs: OutputConfig, **options: Any) -> tuple[Rig, Stream]:
    """A pipeline that forwards frames without headers at once."""
    return rigs(outputs=[one.model_dump() for one in outputs], **LIVE, **options), Stream("array-1.0")


def send(rig: Rig, stream: Stream, numbers: range, each: Callable[[], Any] = lambda: None) -> None:
    for number in numbers:
        rig.send([stream.frame(number)])
        each()


def taken(rig: Rig, client: Client, frames: int) -> list[int]:
    """The numbers of the next frames that a client gets."""
    return [client.next(lambda: rig.turn(0))[0]["frame"] for _ in range(frames)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def report(rig: Rig, name: str) -> Any:
    return next(one.report() for one in rig.pipeline.outputs if one.config.name == name)


def test_an_output_is_added_and_removed_while_another_streams_on(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("first"))
    first = rig.client()
    send(rig, stream, range(5))
    rig.until(lambda: report(rig, "first").seen == 5)
    rig.pipeline.set_outputs([output("second"), output("first")])
    assert [one.config.name for one in rig.pipeline.outputs] == ["second", "first"]
    second = rig.client(0)
    send(rig, stream, range(5, 10))
    assert taken(rig, second, 5) == list(range(5, 10))
    rig.pipeline.set_outputs([output("first")])
    send(rig, stream, range(10, 15))
    assert taken(rig, first, 15) == list(range(15))
    assert report(rig, "first").seen == report(rig, "first").sent == 15


def test_a_client_keeps_its_connection_when_its_rule_changes(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("only"))
    client = rig.client()
    send(rig, stream, range(4))
    assert taken(rig, client, 4) == [0, 1, 2, 3]
    rig.pipeline.set_outputs([output("only", send={"every": 4})])
    send(rig, stream, range(4, 13))
    assert taken(rig, client, 3) == [4, 8, 12]
    now = report(rig, "only")
    assert (now.clients, now.seen, now.sent, now.skipped) == (1, 13, 7, 6)


def test_what_waits_goes_in_the_format_it_was_queued_for(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("only", queue=1000, queue_bytes=1 << 30))
    client = rig.client(queue=1)
    frames = 200
    for number in range(frames):
        rig.send([stream.frame(number, shape=(200, 200))])
    rig.until(lambda: report(rig, "only").queued > 0 and report(rig, "only").seen == frames)
    rig.pipeline.set_outputs([output("only", encoder="stins", queue=1000, queue_bytes=1 << 30)])
    rig.send([stream.frame(frames)])
    headers = [client.next(lambda: rig.turn(0))[0] for _ in range(frames + 2)]
    assert [one["frame"] for one in headers[:frames]] == list(range(frames))
    assert {one["htype"] for one in headers[:frames]} == {"array-1.0"}
    assert [(one["htype"], one.get("frame")) for one in headers[frames:]] == [("header", None), ("image", frames)]


def test_ports_can_be_exchanged_and_kinds_changed(rigs: Rigs) -> None:
    one, other = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    rig, stream = live(rigs, output("a", one), output("b", other))
    rig.pipeline.set_outputs([output("a", other, kind="pub"), output("b", one)])
    assert [port.address for port in rig.pipeline.outputs] == [other, one]
    a, b = rig.client(0), rig.client(1)
    send(rig, stream, range(3))
    assert taken(rig, a, 3) == taken(rig, b, 3) == [0, 1, 2]


def test_all_taken_ports_are_named_and_nothing_changes(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("kept"), output("moved", f"tcp://127.0.0.1:{free_port()}"))
    kept, before = rig.client(), list(rig.pipeline.outputs)
    with zmq.Context() as context, context.socket(zmq.PUSH) as foreign:
        foreign.linger = 0
        held = [foreign.bind_to_random_port("tcp://127.0.0.1") for _ in range(2)]
        wanted = [output(name, f"tcp://127.0.0.1:{port}") for name, port in zip("xy", held, strict=True)]
        with pytest.raises(AddressTaken) as caught:
            rig.pipeline.set_outputs([output("new"), *wanted])
    assert all(f"{name!r}: The address" in str(caught.value) for name in "xy")
    assert all(str(port) in str(caught.value) for port in held)
    assert list(rig.pipeline.outputs) == before
    send(rig, stream, range(3))
    assert taken(rig, kept, 3) == [0, 1, 2]


def test_an_output_that_had_to_close_comes_back_when_another_fails(rigs: Rigs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FREEING", 0.3)
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    rig, stream = live(rigs, output("a", address))
    send(rig, stream, range(3))
    rig.until(lambda: report(rig, "a").seen == 3)
    with zmq.Context() as context, context.socket(zmq.PUSH) as foreign:
        # It is in the way of all addresses of the port, but not of the one that ours has.
        foreign.bind(f"tcp://127.0.0.2:{port}")
        with pytest.raises(AddressTaken, match=rf"'a': The address tcp://\*:{port} is in use"):
            rig.pipeline.set_outputs([output("a", f"tcp://*:{port}")])
    (a,) = rig.pipeline.outputs
    assert (a.address, a.seen, a.dropped) == (address, 3, {"nobody connected": 3})
    client = rig.client()
    send(rig, stream, range(3, 5))
    assert taken(rig, client, 2) == [3, 4]


def test_an_impossible_address_changes_nothing(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("a"))
    client = rig.client()
    with pytest.raises(ConfigError, match="'b': Can't bind"):
        rig.pipeline.set_outputs([output("a", kind="pub"), output("b", "tcp://nowhere:9610")])
    send(rig, stream, range(2))
    assert taken(rig, client, 2) == [0, 1]


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ([output("a"), output("a")], "2 outputs are called 'a'"),
        ([output("a", "tcp://*:9610"), output("b", "tcp://127.0.0.1:9610")], "both bound at port 9610"),
    ],
)
def test_outputs_that_collide(outputs: list[OutputConfig], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        SetOutputs(outputs=outputs)


def test_two_may_connect_to_one_port() -> None:
    one, other = output("a", "tcp://host:1", connect=True), output("b", "tcp://host:1", connect=True)
    assert not one.takes_port_of(other)


# Pause and resume.


def test_nothing_is_taken_while_paused_and_nothing_is_lost(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("only"), paused=True)
    client = rig.client()
    assert rig.reporter.status().paused
    assert rig.senders[0].offer(stream.frame(0))
    assert client.take(lambda: rig.turn(0.05), 50) is None
    rig.pipeline.pause(False)
    assert taken(rig, client, 1) == [0]


def test_a_hundred_pauses_lose_no_frame_and_leave_no_thread(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("only", queue=10_000))
    client, threads = rig.client(), threading.active_count()
    number = 0
    for _ in range(100):
        for _ in range(20):
            rig.send([stream.frame(number)])
            number += 1
        rig.pipeline.pause(True)
        sent = 0
        while sent < 20 and rig.senders[0].offer(stream.frame(number)):
            number += 1
            sent += 1
        rig.turn(0)
        rig.pipeline.pause(False)
    assert taken(rig, client, number) == list(range(number))
    assert number > 2000
    assert threading.active_count() == threads


def test_frames_come_from_elsewhere_after_what_waits(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("only"))
    client = rig.client()
    rig.pipeline.pause(True)
    waiting = 0
    while waiting < 50 and rig.senders[0].offer(stream.frame(waiting), 0.05):
        waiting += 1
    with Sender(LOOPBACK, linger=0) as other:
        rig.pipeline.set_source(SourceConfig(endpoints=[other.address]))
        assert rig.pipeline.paused
        assert taken(rig, client, waiting) == list(range(waiting))
        other.send(stream.frame(1000), 5.0)
        assert client.take(lambda: rig.turn(0.05), 50) is None
        rig.pipeline.pause(False)
        assert taken(rig, client, 1) == [1000]
        (source,) = rig.pipeline.source.report()
        assert source.endpoint == other.address


def test_a_source_that_is_taken_is_refused(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("only"))
    client = rig.client()
    taken_address = rig.pipeline.outputs[0].address
    with pytest.raises(AddressTaken, match=taken_address):
        rig.pipeline.set_source(SourceConfig(endpoints=[taken_address], bind=True))
    send(rig, stream, range(2))
    assert taken(rig, client, 2) == [0, 1]


# Outputs for std-det-writer.

RUN = {"output_file": "/data/one.h5", "run_id": 7, "n_images": 3, "detector_name": "GF2", "user_id": 18600}


def writer(**run: Any) -> OutputConfig:
    return output("std-det-writer", encoder="std-det-writer", writer={**RUN, **run} if run or run == {} else None)


def test_a_run_is_numbered_from_0_and_closed(rigs: Rigs) -> None:
    rig, stream = live(rigs, writer())
    client = rig.client()
    send(rig, stream, range(375, 380))
    got = [client.next(lambda: rig.turn(0)) for _ in range(4)]
    headers = [header for header, _ in got]
    assert [header["i_image"] for header in headers] == [0, 1, 2, 3]
    assert [header["frame"] for header in headers] == [0, 1, 2, 3]
    assert [header["image_attributes"]["image_number"] for header in headers] == [0, 1, 2, 3]
    assert [header.get("original_frame") for header in headers] == [375, 376, 377, None]
    assert all({**header, **RUN, "status": 0} == header for header in headers)
    assert got[3][1] == got[2][1]
    rig.until(lambda: report(rig, "std-det-writer").seen == 5)
    now = report(rig, "std-det-writer")
    assert (now.sent, now.dropped) == (3, {"no run to write": 2})


def test_without_a_run_frames_are_dropped_and_counted(rigs: Rigs) -> None:
    rig, stream = live(rigs, output("std-det-writer", encoder="std-det-writer"))
    rig.client()
    send(rig, stream, range(3))
    rig.until(lambda: report(rig, "std-det-writer").dropped == {"no run to write": 3})


def test_a_run_that_is_taken_away_is_closed_before_the_next_begins(rigs: Rigs) -> None:
    rig, stream = live(rigs, writer(n_images=10))
    client = rig.client()
    send(rig, stream, range(2))
    rig.until(lambda: report(rig, "std-det-writer").sent == 2)
    rig.pipeline.set_outputs([writer(n_images=10, output_file="/data/two.h5")])
    send(rig, stream, range(2, 4))
    headers = [client.next(lambda: rig.turn(0))[0] for _ in range(5)]
    assert [(one["i_image"], one["output_file"]) for one in headers] == [
        *((image, "/data/one.h5") for image in (0, 1, 10)),
        *((image, "/data/two.h5") for image in (0, 1)),
    ]


def test_a_slow_writer_gets_all_of_its_run_in_order(rigs: Rigs) -> None:
    settings = {"queue": 1000, "queue_bytes": 1 << 30}
    rig, stream = live(rigs, writer(n_images=150).model_copy(update=settings))
    client = rig.client(queue=1)
    for number in range(200):
        rig.send([stream.frame(number, shape=(200, 200))])
    rig.until(lambda: report(rig, "std-det-writer").seen == 200)
    assert report(rig, "std-det-writer").queued
    rig.pipeline.set_outputs([output("std-det-writer", encoder="std-det-writer", **settings)])
    assert [client.next(lambda: rig.turn(0))[0]["i_image"] for _ in range(151)] == list(range(151))
    now = report(rig, "std-det-writer")
    assert (now.sent, now.queued, now.dropped) == (150, 0, {"no run to write": 50})


def test_drops_leave_no_hole_in_a_run(rigs: Rigs) -> None:
    rig, stream = live(rigs, writer(n_images=30).model_copy(update={"queue": 2, "overflow": "drop-oldest"}))
    client = rig.client(queue=1)
    for number in range(60):
        rig.send([stream.frame(number, shape=(1000, 1000))])
    rig.until(lambda: report(rig, "std-det-writer").seen == 60)
    assert report(rig, "std-det-writer").dropped["queue full"]
    got: list[int] = []
    more = iter(range(60, 1000))

    def step() -> None:
        rig.send([stream.frame(next(more))])
        if message := client.take(rig.turn):
            got.append(msgspec.json.decode(message[0])["i_image"])

    until(lambda: got and got[-1] == 30, step)
    assert got == list(range(31))


def test_a_run_belongs_to_its_encoder() -> None:
    with pytest.raises(ValueError, match="writer is for encoder: std-det-writer only"):
        output("one", writer=RUN)


def test_hardware_does_not_wait(rigs: Rigs) -> None:
    from bluesky_streamdet.streaming.pipeline import Pipeline
    from bluesky_streamdet.xspress3.config import Xspress3Plane
    from bluesky_streamdet.xspress3.streamer import Streamer

    config = Xspress3Plane.model_validate(
        {"detector": "x", "outputs": [], "monitor": None, "system": {"simulate": {"channels": 1}}}
    )
    with zmq.Context() as context:
        pipeline = Pipeline(config, context, open_intake=lambda config, _: Streamer(config))
        try:
            with pytest.raises(RequestRefused, match="does not wait"):
                pipeline.pause(True)
            assert not pipeline.paused
        finally:
            pipeline.close()
