"""Series from arm to end, however they end: the next one always works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from bluesky_streamdet.core.errors import Busy, FileTaken, PathRefused
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.wire.streams import Clock, Rig, Stream, balanced, holds

Rigs = Callable[..., Rig]
CODECS = ["stins", "dectris_v1"]


def test_an_armed_series(rigs: Rigs, tmp_path: Path) -> None:
    rig, stream = rigs(), Stream()
    request = ArmRequest(
        id="run7", directory="p1/s1", name="{detector}-{id}", expected_frames=5, metadata={"sample": "LaB6"}
    )
    armed = rig.pipeline.arm(request)
    assert rig.state is State.ARMED
    assert armed.file == str(tmp_path / "data/p1/s1/eiger-run7.h5")
    assert armed.ledger.expected == 5
    # Without an end: the count is enough.
    report = rig.run([stream.start("ignored.h5"), *(stream.frame(number) for number in range(5))])

    assert report.id == "run7"
    assert report.file == armed.file
    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(5))
    assert report.armed_at is not None
    with h5py.File(str(report.file)) as file:
        assert file["/entry/instrument/eiger/collection/parameters/sample"].asstr()[()] == "LaB6"
        assert file["/entry/entry_identifier"].asstr()[()] == "run7"


def test_a_second_arm_is_refused_and_changes_nothing(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(id="first", name="first"))
    with pytest.raises(Busy, match="series first is armed"):
        rig.pipeline.arm(ArmRequest(id="second", name="second"))
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    with pytest.raises(Busy, match="series first is running"):
        rig.pipeline.arm(ArmRequest(id="second", name="second"))

    report = rig.run([stream.frame(1), stream.end()])
    assert (report.id, report.outcome) == ("first", Outcome.COMPLETE)
    rig.pipeline.arm(ArmRequest(id="second", name="second"))
    assert rig.run(stream.whole(range(3))).id == "second"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"name": "../outside"}, PathRefused),
        ({"directory": "/etc", "name": "x"}, PathRefused),
        ({"name": "{user}"}, PathRefused),
        ({"name": "taken"}, FileTaken),
    ],
)
def test_a_refused_arm_leaves_the_detector_ready(rigs: Rigs, request_: dict[str, Any], error: type[Exception]) -> None:
    rig, stream = rigs(), Stream()
    rig.directory.mkdir()
    (rig.directory / "taken.h5").touch()

    with pytest.raises(error):
        rig.pipeline.arm(ArmRequest(**request_))
    assert rig.state is State.IDLE
    assert rig.run(stream.whole(range(3))).outcome is Outcome.COMPLETE


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_that_falls_silent_ends_by_itself(rigs: Rigs, codec: str) -> None:
    clock = Clock()
    rig, stream = rigs(codec=codec, clock=clock, wait={"quiet_seconds": 30}), Stream(codec)
    rig.send([stream.start(), *(stream.frame(number) for number in range(5))])
    rig.settle(5)
    clock.advance(29)
    rig.turn()
    assert rig.state is State.RUNNING
    clock.advance(2)
    rig.turn()

    assert rig.state is State.IDLE
    assert rig.last.outcome is Outcome.COMPLETE
    assert "no data for 30 s and no end message" in rig.last.reason
    assert holds(rig.last, range(5))
    assert "no end message" in inspect(Path(str(rig.last.file))).verdict


def test_an_armed_series_falls_silent_only_when_asked(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock), Stream()
    for quiet in (None, 5.0):
        rig.pipeline.arm(ArmRequest(quiet_seconds=quiet))
        rig.send([stream.start(), stream.frame(0)])
        rig.settle(1)
        clock.advance(1000)
        rig.turn()
        assert (rig.state is State.RUNNING) == (quiet is None)
        if quiet is None:
            rig.run([stream.end()])


@pytest.mark.parametrize("codec", CODECS)
def test_stop_takes_what_is_on_its_way(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    rig.pipeline.arm(ArmRequest(open_ended=True))
    rig.send([stream.start(), *(stream.frame(number) for number in range(3))])
    rig.settle(3)
    for number in range(3, 10):
        assert rig.senders[0].offer(stream.frame(number), 5)
    rig.pipeline.stop()
    assert rig.state is State.FINISHING
    rig.until(lambda: rig.state is State.IDLE)

    assert rig.last.outcome is Outcome.COMPLETE
    assert rig.last.reason == "stopped by request"
    assert holds(rig.last, range(10))
    rig.pipeline.stop()
    assert holds(rig.run(stream.whole(range(2))), range(2))


def test_stop_with_fewer_than_expected_says_what_is_missing(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(expected_frames=10))
    rig.send([stream.start(), *(stream.frame(number) for number in range(4))])
    rig.settle(4)
    rig.pipeline.stop()
    rig.until(lambda: rig.state is State.IDLE)

    assert rig.last.outcome is Outcome.INCOMPLETE
    assert "6 of 10 frames are missing" in rig.last.reason
    assert holds(rig.last, range(4))


def test_stop_keeps_as_many_frames_as_asked(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(open_ended=True))
    rig.send([stream.start(), *(stream.frame(number) for number in range(10))])
    rig.settle(10)
    rig.pipeline.stop(keep=6)
    rig.until(lambda: rig.state is State.IDLE)

    assert holds(rig.last, range(6))
    assert rig.last.ledger.discarded == {"cut off by request": 4}
    assert balanced(rig.last.ledger)


@pytest.mark.parametrize("armed", [True, False])
def test_stop_before_the_first_frame(rigs: Rigs, armed: bool) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="never"))
    if not armed:
        rig.send([stream.start()])
        rig.until(lambda: rig.state is State.RUNNING)
    rig.pipeline.stop()
    rig.until(lambda: rig.state is State.IDLE)

    assert rig.last.file is None
    assert rig.last.ledger.received == 0
    rig.pipeline.arm(ArmRequest(name="never"))
    assert holds(rig.run(Stream().whole(range(3))), range(3))


@pytest.mark.parametrize("codec", CODECS)
def test_abort_discards_what_is_on_its_way(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    rig.send([stream.start(), *(stream.frame(number) for number in range(5))])
    rig.settle(5)
    for number in range(5, 10):
        assert rig.senders[0].offer(stream.frame(number), 5)
    rig.pipeline.abort()
    assert rig.state is State.IDLE
    assert rig.last.outcome is Outcome.ABORTED
    assert rig.last.reason.startswith("aborted by request")
    assert holds(rig.last, range(5))
    rig.pipeline.abort()
    # The detector goes on for a while, and then begins anew.
    rig.until(lambda: rig.pipeline.receiver.between.received == 5)
    assert sum(rig.pipeline.receiver.between.foreign.values()) == 5

    assert holds(rig.run(stream.whole(range(7))), range(7))


def test_abort_of_what_was_only_armed(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest())
    rig.pipeline.abort()

    assert rig.last.outcome is Outcome.ABORTED
    assert holds(rig.run(stream.whole(range(3))), range(3))


def test_a_series_can_be_ignored_that_nobody_armed(rigs: Rigs) -> None:
    rig, stream = rigs(unarmed="ignore"), Stream()
    rig.send(stream.whole(range(5)))
    rig.until(lambda: rig.pipeline.receiver.between.received == 5)
    assert rig.state is State.IDLE
    assert rig.pipeline.last is None
    assert not rig.directory.exists()

    rig.pipeline.arm(ArmRequest())
    assert holds(rig.run(stream.whole(range(4))), range(4))
