"""The status: newer ones are known by their revision, and it says what runs, how fast, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import Status
from tests.wire.streams import Clock, Rig, Stream

Rigs = Callable[..., Rig]


def test_revisions_grow(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    revisions = [rig.reporter.status().revision]
    for message in stream.whole(range(3)):
        rig.send([message])
        rig.turn()
        revisions.append(rig.reporter.status().revision)

    assert revisions == sorted(set(revisions))


def test_a_series_from_arm_to_end(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    idle = rig.reporter.status()
    assert (idle.state, idle.series, idle.last_series, idle.error, idle.slow) == (State.IDLE, None, None, None, None)
    rig.pipeline.arm(ArmRequest(id="s1", expected_frames=3))
    armed = rig.reporter.status()
    assert armed.state is State.ARMED
    assert armed.series is not None
    assert (armed.series.id, armed.series.ledger.expected, armed.series.data) == ("s1", 3, None)
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    running = rig.reporter.status()
    assert running.state is State.RUNNING
    assert running.series is not None
    assert running.series.ledger.written == 1
    assert running.series.data is not None
    assert running.series.data.shape == (4, 6)
    rig.run([stream.frame(1), stream.frame(2)])
    ended = rig.reporter.status()
    assert (ended.state, ended.series) == (State.IDLE, None)
    assert ended.last_series == rig.last
    assert Status.model_validate_json(ended.model_dump_json()) == ended


def test_changes_are_told_at_once(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.run(stream.whole(range(3)))

    # At least the start, what became readable, and the end.
    assert rig.changes >= 2


def test_how_long_nothing_came(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock), Stream()
    assert rig.reporter.status().seconds_without_data is None
    rig.pipeline.arm(ArmRequest())
    clock.advance(7)
    assert rig.reporter.status().seconds_without_data == 7
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    assert rig.reporter.status().seconds_without_data == 0
    clock.advance(2.5)
    assert rig.reporter.status().seconds_without_data == 2.5
    rig.run([stream.end()])
    assert rig.reporter.status().seconds_without_data is None


def test_rates(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock), Stream()
    rig.send([stream.start(), *(stream.frame(number, shape=(100, 100)) for number in range(40))])
    rig.settle(40)
    assert rig.reporter.status().frames_per_second == 0, "the window is not over"
    clock.advance(2)
    status = rig.reporter.status()
    assert status.frames_per_second == 20
    assert status.megabytes_per_second == 20 * 0.02
    clock.advance(1)
    assert rig.reporter.status().frames_per_second == 0


def test_what_went_wrong_shows_until_the_next_series(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="gone/scan"))
    (rig.directory / "gone").rmdir()
    report = rig.run(stream.whole(range(3)))
    status = rig.reporter.status()
    assert status.state == "error"
    assert status.error is not None
    assert "gone/scan.h5 can't be created: No such file or directory" in status.error
    assert report.ledger.failed == {"write_failed": 3}
    assert report.file is None

    assert rig.run(stream.whole(range(3))).ledger.written == 3
    assert rig.reporter.status().state is State.IDLE
    assert rig.reporter.status().error is None


def test_frames_of_no_series_are_told(rigs: Rigs) -> None:
    rig, stream = rigs(unarmed="ignore"), Stream()
    rig.send(stream.whole(range(3)))
    rig.until(lambda: rig.reporter.status().between.received == 3)

    assert sum(rig.reporter.status().between.foreign.values()) == 3


def test_sources_and_outputs_are_told(rigs: Rigs) -> None:
    rig, stream = rigs(outputs=[{"name": "live", "address": "tcp://127.0.0.1:*"}]), Stream()
    rig.client()
    rig.run(stream.whole(range(3)))
    status = rig.reporter.status()

    (source,), (output,) = status.sources, status.outputs
    assert source.endpoint == rig.senders[0].address
    assert (source.connected, source.messages, source.reconnects) == (1, 5, 0)
    assert (output.name, output.kind, output.clients, output.seen, output.sent) == ("live", "push", 1, 3, 3)
    assert output.address == rig.pipeline.outputs[0].address
    assert status.resident_megabytes > 10
