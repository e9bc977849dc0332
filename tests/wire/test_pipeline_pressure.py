"""A slow disk and slow clients: they push back to the detector, are named, and are never taken for its silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.report import resident_megabytes
from tests.wire.streams import Clock, Rig, Stream, balanced, frame_numbers, holds

Rigs = Callable[..., Rig]
LOOPBACK = "tcp://127.0.0.1:*"
LARGE = (512, 1024)
"""A frame of 1 MiB."""


def stall(rig: Rig, clock: Clock, seconds: float) -> None:
    """From now on, each write and each flush takes so long."""
    writer = rig.pipeline.writer
    assert writer is not None
    assert writer._file is not None
    write, flush = writer._file.write, writer._file.flush

    def slow_write(frames: Any) -> None:
        clock.advance(seconds)
        write(frames)

    def slow_flush() -> int:
        clock.advance(seconds)
        return flush()

    writer._file.write, writer._file.flush = slow_write, slow_flush  # type: ignore[method-assign]


def offer_all(rig: Rig, message: Any, most: int = 10_000) -> int:
    """Send as long as there is room; how often there was."""
    return next((count for count in range(most) if not rig.senders[0].offer(message, 0.05)), most)


@pytest.mark.parametrize("codec", ["stins", "dectris_v1"])
def test_a_loop_that_stands_makes_the_sender_wait(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    rig.send([stream.start()])
    before = resident_megabytes()
    taken = offer_all(rig, stream.frame(0, shape=LARGE))

    # What ZeroMQ holds on both sides, and the kernel.
    assert taken < 16 + 16 + 20
    assert resident_megabytes() - before < 100


@pytest.mark.parametrize("codec", ["stins", "dectris_v1"])
def test_memory_is_bounded_when_the_sender_is_faster(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    rig.send([stream.start()])
    most = sent = 0
    largest: list[int] = []
    recorder_write = type(rig.pipeline)._deliver

    def deliver(action: Any) -> None:
        largest.append(len(action.frames))
        recorder_write(rig.pipeline, action)

    rig.pipeline._deliver = deliver  # type: ignore[method-assign]
    messages = [stream.frame(number, shape=LARGE) for number in range(150)]
    before = resident_megabytes()
    while sent < 150:
        while sent < 150 and rig.senders[0].offer(messages[sent]):
            sent += 1
        rig.turn(0)
        received = rig.ledger.received if rig.series is not None else 0
        most = max(most, sent - received)
    report = rig.run([stream.end()])

    assert holds(report, range(150), LARGE)
    assert most < 16 + 16 + 20
    assert resident_megabytes() - before < 120
    # A batch is bounded in bytes, whichever part of a message holds the pixels.
    assert max(largest) <= 16


def test_a_stalled_disk_is_not_the_detectors_silence(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock, wait={"quiet_seconds": 30, "finish_seconds": 2}), Stream()
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    stall(rig, clock, 100)
    for number in range(1, 6):
        rig.send([stream.frame(number)])
        rig.settle(number + 1)
        assert rig.state is State.RUNNING
    report = rig.run([stream.frame(6), stream.end()])

    assert report.outcome is Outcome.COMPLETE
    assert report.reason == ""
    assert holds(report, range(7))


def test_a_stalled_disk_does_not_cut_a_stop_short(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock, wait={"finish_seconds": 2, "settle_seconds": 0.2}), Stream()
    rig.pipeline.arm(ArmRequest(expected_frames=60))
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    stall(rig, clock, 100)
    rig.pipeline.stop()
    for number in range(1, 60):
        rig.send([stream.frame(number)])
        rig.turn()
    rig.until(lambda: rig.state is State.IDLE)

    assert rig.last.outcome is Outcome.COMPLETE
    assert holds(rig.last, range(60))


def test_a_slow_disk_is_named(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock), Stream()
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    assert rig.reporter.status().slow is None
    stall(rig, clock, 2)
    rig.send([stream.frame(1)])
    rig.settle(2)
    status = rig.reporter.status()

    assert rig.series is not None
    assert status.slow == f"the disk that holds {rig.series.file}"
    clock.advance(100)
    assert rig.reporter.status().slow is None


def test_a_client_that_blocks_pushes_back_and_is_named(rigs: Rigs) -> None:
    rig, stream = rigs(outputs=[{"name": "live", "address": LOOPBACK, "overflow": "block", "queue": 4}]), Stream()
    rig.send([stream.start()])
    assert rig.pipeline.blocked_by is None
    rig.send([stream.frame(number) for number in range(4)])
    rig.until(lambda: rig.pipeline.blocked_by is not None)
    assert rig.reporter.status().slow == "output 'live' waits for a client; nobody is connected"
    # No more is taken than a batch; the rest waits at the detector.
    message, taken = stream.frame(4, shape=LARGE), 0
    for _ in range(5):
        taken += offer_all(rig, message)
        rig.turn()
    assert taken < 16 + 16 + 20

    output = rig.pipeline.outputs[0]
    client = rig.client(connected=False)
    numbers: list[int] = []
    while len(numbers) < 4:
        header, _ = client.next(rig.turn)
        numbers += frame_numbers([header])
    assert numbers == [0, 1, 2, 3]
    rig.until(lambda: output.report().clients == 1)
    assert output.report().dropped == {}


def test_who_is_named_is_connected_and_does_not_read(rigs: Rigs) -> None:
    options = {"name": "live", "address": LOOPBACK, "overflow": "block", "queue": 4}
    rig, stream = rigs(outputs=[options]), Stream()
    rig.client(queue=1)
    rig.send([stream.start()])
    number = 0
    while rig.pipeline.blocked_by is None:
        if rig.senders[0].offer(stream.frame(number, shape=LARGE)):
            number += 1
        rig.turn(0)

    assert rig.reporter.status().slow == "output 'live' waits for its client"


def test_a_client_that_blocks_is_not_the_detectors_silence(rigs: Rigs) -> None:
    clock = Clock()
    outputs = [{"address": LOOPBACK, "overflow": "block", "queue": 4}]
    rig, stream = rigs(clock=clock, outputs=outputs, wait={"quiet_seconds": 30}), Stream()
    rig.send([stream.start(), *(stream.frame(number) for number in range(4))])
    rig.until(lambda: rig.pipeline.blocked_by is not None)
    output = rig.pipeline.outputs[0]
    wait = output.wait

    def long_wait(milliseconds: int) -> None:
        clock.advance(1000)
        wait(1)

    output.wait = long_wait  # type: ignore[method-assign]
    for _ in range(5):
        rig.turn()
        assert rig.state is State.RUNNING
    client = rig.client(connected=False)
    rig.send([stream.frame(4), stream.end()])
    headers = client.rest(rig.turn)

    assert frame_numbers(headers) == list(range(5))
    assert rig.last.outcome is Outcome.COMPLETE


@pytest.mark.parametrize("verb", ["stop", "abort"])
def test_a_client_that_blocks_can_not_hold_up_the_end(rigs: Rigs, verb: str) -> None:
    rig, stream = rigs(outputs=[{"address": LOOPBACK, "overflow": "block", "queue": 4}]), Stream()
    rig.send([stream.start(), *(stream.frame(number) for number in range(4))])
    rig.until(lambda: rig.pipeline.blocked_by is not None)
    getattr(rig.pipeline, verb)()
    rig.until(lambda: rig.state is State.IDLE)

    assert holds(rig.last, range(4))
    if verb == "abort":
        assert rig.pipeline.blocked_by is None
        assert rig.pipeline.outputs[0].report().dropped == {"aborted": 4}


def test_a_client_that_never_reads_holds_up_nobody(rigs: Rigs) -> None:
    rig, stream = rigs(outputs=[{"address": LOOPBACK, "queue": 4}, {"name": "other", "address": LOOPBACK}]), Stream()
    slow, good = rig.pipeline.outputs
    rig.client(queue=1)
    client = rig.client(1)
    messages = stream.whole(range(40), shape=LARGE)
    headers: list[dict[str, Any]] = []
    for message in messages:
        rig.send([message])
        if (got := client.take(rig.turn)) is not None:
            headers.append(msgspec.json.decode(got[0]))
    while not headers or headers[-1]["htype"] != "series_end":
        headers.append(client.next(rig.turn)[0])
    rig.until(lambda: rig.pipeline.last is not None)

    assert holds(rig.last, range(40), LARGE)
    assert rig.last.outcome is Outcome.COMPLETE
    assert good.report().sent == 40
    report = slow.report()
    assert report.dropped["queue full"] > 0
    assert report.seen == 40 == report.sent + report.queued + report.dropped["queue full"]


def test_an_abort_when_nothing_runs_takes_nothing_from_slow_clients(rigs: Rigs) -> None:
    rig, stream = rigs(outputs=[{"address": LOOPBACK}]), Stream()
    output = rig.pipeline.outputs[0]
    client = rig.client(queue=1)
    rig.run(stream.whole(range(40), shape=LARGE))
    queued = output.report().queued
    rig.pipeline.abort()

    assert output.report().queued == queued > 0
    assert len(frame_numbers(client.rest(rig.turn))) == 40


def test_clients_get_the_rest_when_the_service_ends(rigs: Rigs) -> None:
    rig, stream = rigs(outputs=[{"address": LOOPBACK}]), Stream()
    output = rig.pipeline.outputs[0]
    client = rig.client(queue=1)
    rig.run(stream.whole(range(40), shape=LARGE))
    assert output.report().queued > 0
    wait = output.wait
    got: list[Any] = []

    def waiting(milliseconds: int) -> None:
        got.append(client.take(wait=1))
        wait(1)

    output.wait = waiting  # type: ignore[method-assign]
    rig.pipeline.outputs.send_rest(20)

    assert output.report().queued == 0
    assert output.report().sent == 40


def test_who_never_reads_can_not_hold_up_the_services_end(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(outputs=[{"address": LOOPBACK}], clock=clock), Stream()
    output = rig.pipeline.outputs[0]
    rig.client(queue=1)
    rig.run(stream.whole(range(40), shape=LARGE))
    waits: list[int] = []

    def waiting(milliseconds: int) -> None:
        waits.append(milliseconds)
        clock.advance(0.3)

    output.wait = waiting  # type: ignore[method-assign]
    rig.pipeline.outputs.send_rest(1)

    assert len(waits) == 4
    assert output.report().queued > 0


def test_no_series_starts_by_itself_while_the_service_ends(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    rig.pipeline.accept_no_more()
    report = rig.run([stream.frame(1), stream.end()])
    assert holds(report, range(2))
    rig.send(stream.whole(range(3)))
    rig.until(lambda: rig.pipeline.receiver.between.received == 3)

    assert rig.pipeline.last is not None
    assert rig.pipeline.last.id == report.id


def test_frames_held_back_for_a_missing_one_are_bounded(rigs: Rigs) -> None:
    rig, stream = rigs(wait={"gap_bytes": 4 << 20, "gap_seconds": 1000}), Stream()
    rig.send([stream.start()])
    stream.frame(0, shape=LARGE)
    held = []
    for number in range(1, 20):
        rig.send([stream.frame(number, shape=LARGE)])
        rig.until(lambda number=number: rig.series is not None and rig.ledger.received == number)
        series = rig.pipeline.receiver.series
        assert series is not None
        held.append(series.frames.held_bytes)
    report = rig.run([stream.end()])

    assert max(held) <= 4 << 20
    assert holds(report, range(1, 20), LARGE)
    assert report.ledger.missing == 1
    assert balanced(report.ledger)
