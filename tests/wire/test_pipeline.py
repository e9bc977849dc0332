"""From the socket to the file: whatever a stream does, each frame is in the file or in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bluesky_streamdet.core.errors import AddressTaken, ConfigError
from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.sender import Sender
from tests.wire.streams import LOOPBACK, Clock, Rig, Stream, balanced, holds

Rigs = Callable[..., Rig]
CODECS = ["stins", "dectris_v1"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("way", [{}, {"encoding": BSLZ4}, {"shape": (300, 400)}])
def test_a_series_that_nobody_armed(rigs: Rigs, codec: str, way: dict[str, Any]) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)

    report = rig.run(stream.whole(range(100), **way))

    assert report.outcome is Outcome.COMPLETE
    assert balanced(report.ledger)
    assert holds(report, range(100), way.get("shape", (4, 6)))
    assert report.armed_at is None
    assert report.started_at is not None
    assert report.ended_at is not None
    assert report.data is not None
    assert report.data.shape == way.get("shape", (4, 6))
    assert inspect(Path(str(report.file))).complete


def test_frames_of_several_parts(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()

    report = rig.run(stream.whole(range(20), shape=(8, 6), parts=4, encoding=BSLZ4))

    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(20), (8, 6))


@pytest.mark.parametrize("codec", CODECS)
def test_series_after_series(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    files = set()
    for count in (3, 0, 1, 7):
        report = rig.run(stream.whole(range(count)))
        assert report.outcome is Outcome.COMPLETE
        assert report.ledger.written == count
        if count:
            assert holds(report, range(count))
            files.add(report.file)
        else:
            assert report.file is None
        assert rig.state is State.IDLE
    assert len(files) == 3
    assert rig.pipeline.receiver.between.received == 0


@pytest.mark.parametrize("codec", CODECS)
def test_several_endpoints_and_an_end_that_overtakes(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec, senders=3), Stream(codec)
    # The announced number makes known that frames are owed.
    settings = {"nimages": 60, "ntrigger": 1} if codec == "dectris_v1" else {"nframes": 60}
    rig.send([stream.start(metadata=settings)], 0)
    rig.until(lambda: rig.state is State.RUNNING)
    frames = [stream.frame(number) for number in range(60)]
    rig.send(frames[0::3], 0)
    rig.send([stream.end()], 0)
    rig.until(lambda: rig.state is State.FINISHING)
    rig.send(frames[1::3], 1)
    rig.send(frames[2::3], 2)
    rig.until(lambda: rig.pipeline.last is not None)

    assert rig.last.outcome is Outcome.COMPLETE
    assert holds(rig.last, range(60))
    assert [source.messages for source in rig.pipeline.source.report()] == [22, 20, 20]
    assert [source.connected for source in rig.pipeline.source.report()] == [1, 1, 1]


def test_a_subscription(rigs: Rigs) -> None:
    rig, stream = rigs(kind="pub"), Stream()

    assert holds(rig.run(stream.whole(range(50))), range(50))


def test_the_service_can_bind_and_the_detector_connect(rigs: Rigs) -> None:
    rig, stream = rigs(senders=0, source={"endpoints": [LOOPBACK, LOOPBACK], "bind": True}), Stream()
    addresses = [one.endpoint for one in rig.pipeline.source.report()]
    assert all(not address.endswith(("*", ":0")) for address in addresses)
    for address in addresses:
        with Sender(address, bind=False) as sender:
            rig.senders.append(sender)
            rig.until(sender.has_peer)
            last = rig.pipeline.last
            messages = stream.whole(range(10))
            rig.send(messages, -1)
            rig.until(lambda last=last: rig.pipeline.last is not last)
            rig.senders.clear()
        assert holds(rig.last, range(10))
    rig.until(lambda: not any(source.connected for source in rig.pipeline.source.report()))


def test_a_detector_that_restarts_is_connected_again(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    address = rig.senders[0].address
    assert holds(rig.run(stream.whole(range(5))), range(5))
    rig.senders.pop().close()
    rig.until(lambda: rig.pipeline.source.report()[0].connected == 0)
    rig.senders.append(Sender(address))
    rig.until(rig.senders[0].has_peer)

    # It counts its messages anew.
    assert holds(rig.run(Stream().whole(range(3))), range(3))
    (source,) = rig.pipeline.source.report()
    assert (source.connected, source.reconnects) == (1, 1)


@pytest.mark.parametrize(("sends", "takes"), [("pub", "pull"), ("push", "sub")])
def test_a_sender_of_another_kind_of_socket_is_told(rigs: Rigs, sends: Any, takes: str) -> None:
    with Sender(LOOPBACK, sends) as sender:
        rig = rigs(senders=0, source={"endpoints": [sender.address], "socket": takes})
        rig.until(lambda: rig.pipeline.source.report()[0].hung_up)


def test_taken_and_impossible_addresses_are_named(rigs: Rigs) -> None:
    taken = rigs().senders[0].address

    with pytest.raises(AddressTaken, match=taken):
        rigs(senders=0, source={"endpoints": [taken], "bind": True})
    with pytest.raises(AddressTaken, match=taken):
        rigs(outputs=[{"address": taken}])
    for address in ("tcp://127.0.0.1", "tcp://127.0.0.1:port"):
        with pytest.raises(ValidationError, match="write it as tcp://HOST:PORT"):
            rigs(senders=0, source={"endpoints": [address]})
        with pytest.raises(ValidationError, match="write it as tcp://HOST:PORT"):
            rigs(outputs=[{"address": address}])
    nowhere = "tcp://no-such-interface:5555"
    with pytest.raises(ConfigError, match=f"Can't bind to '{nowhere}'"):
        rigs(senders=0, source={"endpoints": [nowhere], "bind": True})
    with pytest.raises(ConfigError, match=f"Can't bind to '{nowhere}'"):
        rigs(outputs=[{"address": nowhere}])


@pytest.mark.parametrize("codec", CODECS)
def test_a_lost_header(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    messages = stream.whole(range(5))

    report = rig.run(messages[1:])

    assert holds(report, range(5))
    assert "the header was lost" in report.reason
    assert holds(rig.run(stream.whole(range(3))), range(3))


@pytest.mark.parametrize("codec", CODECS)
def test_a_detector_that_was_aborted_sends_no_end(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    rig.send([stream.start(), *(stream.frame(number) for number in range(5))])
    report = rig.run([stream.start()])
    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(5))
    assert "began before the end of this one" in report.reason

    assert holds(rig.run([*(stream.frame(number) for number in range(3)), stream.end()]), range(3))


@pytest.mark.parametrize("codec", CODECS)
def test_lost_frames_are_named(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    metadata = {"nimages": 20} if codec == "dectris_v1" else {"nframes": 20}
    messages = [stream.start(metadata=metadata), *(stream.frame(number) for number in range(20)), stream.end()]
    lost = {3, 4, 11}
    report = rig.run([one for index, one in enumerate(messages) if index - 1 not in lost])

    kept = [number for number in range(20) if number not in lost]
    assert report.outcome is Outcome.INCOMPLETE
    assert holds(report, kept)
    assert report.ledger.missing == 3
    assert report.ledger.missing_ranges == [(3, 4), (11, 11)]
    assert "3 of 20 frames are missing (numbers 3-4, 11)" in report.reason
    assert balanced(report.ledger)
    assert inspect(Path(str(report.file))).ledger == report.ledger
    assert rig.run(stream.whole(range(2))).outcome is Outcome.COMPLETE


@pytest.mark.parametrize("codec", CODECS)
def test_disorder_and_repetition(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    messages = stream.whole(range(20))
    order = [0, 2, 1, 3, 3, 6, 4, 5, 5, 2, *range(7, 22)]

    report = rig.run([messages[index] for index in order])
    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(20))
    assert report.ledger.duplicate == 3
    assert balanced(report.ledger)


def test_a_sender_that_restarts_in_the_middle(rigs: Rigs) -> None:
    rig, again = rigs(), Stream()
    rig.send(Stream().whole(range(100))[:51])
    rig.settle(50)

    assert holds(rig.run([again.start()]), range(50))
    assert holds(rig.run([*(again.frame(number) for number in range(5)), again.end()]), range(5))


def test_frames_of_another_kind_are_counted(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    messages = [stream.start(), stream.frame(0), stream.frame(1, shape=(5, 6)), stream.frame(2, dtype="<u4")]
    messages += [stream.frame(3, encoding=BSLZ4), stream.frame(4), stream.end()]

    report = rig.run(messages)
    assert holds(report, [0, 4])
    assert report.outcome is Outcome.INCOMPLETE
    assert report.ledger.failed == {"of another shape or type than the first frame": 3}
    assert balanced(report.ledger)
    assert holds(rig.run(stream.whole(range(3), shape=(5, 6))), range(3), (5, 6))


def test_what_came_is_announced_at_once_when_the_stream_pauses(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock, files={"flush_seconds": 5}), Stream()
    rig.send([stream.start(), stream.frame(0)])
    rig.until(lambda: rig.series is not None and rig.ledger.received == 1)
    changes = rig.changes
    clock.advance(0.1)
    rig.turn(0)

    assert rig.ledger.written == 1
    assert rig.changes >= changes


def test_what_came_is_announced_in_time_when_the_stream_does_not_pause(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock, files={"flush_seconds": 5}), Stream()
    rig.send([stream.start()])
    pauses = 0

    def flush_if_due(*, idle: bool) -> None:
        nonlocal pauses
        pauses += idle
        if not idle:
            flush(idle=False)

    flush = rig.pipeline._flush_if_due
    rig.pipeline._flush_if_due = flush_if_due  # type: ignore[method-assign]
    rig.send([stream.frame(0)])
    rig.until(lambda: rig.series is not None and rig.ledger.received == 1)
    clock.advance(4.9)
    rig.turn(0)
    assert rig.ledger.written == 0
    clock.advance(0.2)
    rig.turn(0)
    assert rig.ledger.written == 1


def test_malformed_messages_are_logged_once_a_series(rigs: Rigs, caplog: pytest.LogCaptureFixture) -> None:
    rig, stream = rigs(), Stream()
    with caplog.at_level(logging.WARNING, "bluesky_streamdet"):
        for _ in range(2):
            rig.run([stream.start(), *[[b"{"]] * 50, stream.frame(0), stream.end()])

    assert len([one for one in caplog.records if "malformed" in one.message]) == 2
