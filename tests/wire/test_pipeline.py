"""From the socket to the file: whatever a stream does, each frame is in the file or in the ledger, and the next works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from bluesky_streamdet.core.errors import AddressTaken, Busy, ConfigError, FileTaken, NoSuchSeries, PathRefused
from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.inspect import inspect
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.sender import Sender
from tests.wire.streams import LOOPBACK, Clock, Rig, Stream, balanced, holds, numbers_of

Rigs = Callable[..., Rig]
CODECS = ["stins", "dectris_v1"]


@pytest.fixture
def rigs(tmp_path: Path) -> Iterator[Rigs]:
    """Makes pipelines, and closes them."""
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(tmp_path / "data", **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


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


def test_an_existing_file_is_replaced_when_asked(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    for count in (5, 2):
        rig.pipeline.arm(ArmRequest(name="same", replace=True))
        assert holds(rig.run(stream.whole(range(count))), range(count))


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
    addresses = rig.pipeline.source.addresses
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


def test_taken_and_impossible_addresses_are_named(rigs: Rigs) -> None:
    taken = rigs().senders[0].address

    with pytest.raises(AddressTaken, match=taken):
        rigs(senders=0, source={"endpoints": [taken], "bind": True})
    with pytest.raises(AddressTaken, match=taken):
        rigs(outputs=[{"address": taken}])
    for address in ("tcp://127.0.0.1", "tcp://127.0.0.1:port"):
        with pytest.raises(ConfigError, match="Write it as tcp://HOST:PORT"):
            rigs(senders=0, source={"endpoints": [address]})
        with pytest.raises(ConfigError, match="Write it as tcp://HOST:PORT"):
            rigs(outputs=[{"address": address}])


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
    rig = rigs()
    rig.send(Stream().whole(range(100))[:51])
    rig.settle(50)
    last = rig.pipeline.last
    report = rig.run(Stream().whole(range(5))[:1])
    assert report is not last
    assert holds(report, range(50))

    assert holds(rig.run(_after_header(Stream().whole(range(5)))), range(5))


def _after_header(messages: list[Any]) -> list[Any]:
    return messages[1:]


def test_the_stream_names_its_file_if_it_may(rigs: Rigs) -> None:
    rig, stream = rigs(files={"stream_names": True}), Stream()

    report = rig.run(stream.whole(range(3), filename="p1/scan.h5"))
    assert report.file == str(rig.directory / "p1/scan.h5")
    assert report.reason == ""


def test_the_stream_does_not_name_its_file_otherwise(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()

    report = rig.run(stream.whole(range(3), filename="p1/scan.h5"))
    assert report.file == str(rig.directory / f"eiger_{report.id}.h5")


@pytest.mark.parametrize(
    "name", ["../outside.h5", "/etc/cron.d/job", "nul\0", "taken.h5", "a/" * 1000 + "x", "x" * 300, ".", "line\nbreak"]
)
def test_a_name_of_the_stream_that_can_not_be_is_replaced(rigs: Rigs, name: str) -> None:
    rig, stream = rigs(files={"stream_names": True}), Stream()
    rig.directory.mkdir()
    (rig.directory / "taken.h5").write_bytes(b"precious")

    report = rig.run(stream.whole(range(3), filename=name))
    assert report.file == str(rig.directory / f"eiger_{report.id}.h5")
    assert "the stream's own file name was refused" in report.reason
    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(3))
    assert (rig.directory / "taken.h5").read_bytes() == b"precious"


def test_the_appendix_of_a_dectris_header_names_the_file(rigs: Rigs) -> None:
    rig, stream = rigs(codec="dectris_v1", files={"stream_names": True}), Stream("dectris_v1")
    assert rig.run(stream.whole(range(3), filename="scan")).file == str(rig.directory / "scan.h5")

    messages = stream.whole(range(3))
    messages[0].append(b'{"filename": "\\ud800", "note": "\\udfff"}')
    report = rig.run(messages)
    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(3))


def test_a_taken_default_name_gets_a_number(rigs: Rigs) -> None:
    rig, stream = rigs(files={"name": "{detector}"}), Stream()

    names = [Path(str(rig.run(stream.whole(range(2))).file)).name for _ in range(3)]
    assert names == ["eiger.h5", "eiger_1.h5", "eiger_2.h5"]


@pytest.mark.parametrize("name", ["{user}", "../x", ""])
def test_a_default_name_that_can_not_be_loses_no_count(rigs: Rigs, name: str) -> None:
    rig, stream = rigs(files={"name": name}), Stream()

    report = rig.run(stream.whole(range(3)))
    assert report.outcome is Outcome.INCOMPLETE
    assert report.file is None
    assert report.ledger.failed == {"path_refused": 3}
    assert balanced(report.ledger)
    assert report.reason
    rig.pipeline.arm(ArmRequest(name="good"))
    assert holds(rig.run(stream.whole(range(3))), range(3))


def test_a_stream_that_wants_nothing_written(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    for arm in (False, True):
        if arm:
            rig.pipeline.arm(ArmRequest(name="wanted"))
        messages = [stream.start(save=False), *(stream.frame(number) for number in range(4)), stream.end()]
        report = rig.run(messages)
        assert report.file is None
        assert report.ledger.live_only == 4
        assert report.outcome is Outcome.COMPLETE
        assert balanced(report.ledger)
        assert ("asked that nothing be written" in report.reason) == arm
    assert rig.pipeline.latest is not None
    assert list(rig.directory.glob("*.h5")) == []


def test_a_request_that_wants_nothing_written(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    assert rig.pipeline.arm(ArmRequest(save=False)).file is None

    report = rig.run(stream.whole(range(4)))
    assert (report.file, report.ledger.live_only, report.outcome) == (None, 4, Outcome.COMPLETE)


def test_frames_that_the_detector_flags_are_not_written(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    messages = [stream.start(), *(stream.frame(n, discard=n % 3 == 0) for n in range(10)), stream.end()]

    report = rig.run(messages)
    assert holds(report, [1, 2, 4, 5, 7, 8])
    assert report.ledger.discarded == {"flagged by the detector": 4}
    assert report.outcome is Outcome.COMPLETE
    assert balanced(report.ledger)


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


def test_parameters_that_come_late(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    with pytest.raises(NoSuchSeries):
        rig.pipeline.set_parameters({"a": 1})
    rig.pipeline.arm(ArmRequest(metadata={"a": 0, "b": 0, "c": 0}))
    rig.pipeline.set_parameters({"b": 1})
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    rig.pipeline.set_parameters({"c": 2, "d": {"e": [1, None]}})
    assert rig.series is not None
    journal = Path(f"{rig.series.file}.parameters")
    assert msgspec.json.decode(journal.read_text()) == {"c": 2, "d": {"e": [1, None]}}
    report = rig.run([stream.end()])

    with h5py.File(str(report.file)) as file:
        group = file["/entry/instrument/eiger/collection/parameters"]
        assert [group[name][()] for name in "abc"] == [0, 1, 2]
        assert group["d/e"].asstr()[()] == "[1, null]"
    assert not journal.exists()
    with pytest.raises(NoSuchSeries):
        rig.pipeline.set_parameters({"a": 1})


def test_parameters_that_can_not_be_kept_are_refused(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    assert rig.series is not None
    Path(f"{rig.series.file}.parameters").mkdir()
    with pytest.raises(Exception, match="can't be kept"):
        rig.pipeline.set_parameters({"a": 1})

    assert holds(rig.run([stream.frame(1), stream.end()]), range(2))


def test_frames_per_event(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(frames_per_event=4))

    report = rig.run(stream.whole(range(12)))
    assert report.ledger.written == 12
    assert report.data is not None
    assert report.data.frames_per_event == 4
    assert numbers_of(report) == list(range(12))
    with h5py.File(str(report.file)) as file:
        assert file["/entry/data/data"].shape == (3, 4, 4, 6)
        assert np.array_equal(file["/entry/data/frames"][()], file["/entry/data/data"][()].reshape(12, 4, 6))


def test_what_came_is_announced_within_the_configured_time(rigs: Rigs) -> None:
    clock = Clock()
    rig, stream = rigs(clock=clock, files={"flush_seconds": 0.5}), Stream()
    rig.send([stream.start()])
    rig.until(lambda: rig.state is State.RUNNING)
    rig.send([stream.frame(0)])
    rig.until(lambda: rig.ledger.received == 1)
    rig.turn(0)
    changes = rig.changes
    written = rig.ledger.written
    clock.advance(0.6)
    rig.turn(0)

    assert rig.ledger.written == 1
    assert rig.changes > changes or written == 1


def test_malformed_messages_are_logged_once_a_series(rigs: Rigs, caplog: pytest.LogCaptureFixture) -> None:
    rig, stream = rigs(), Stream()
    with caplog.at_level(logging.WARNING, "bluesky_streamdet"):
        for _ in range(2):
            rig.run([stream.start(), *[[b"{"]] * 50, stream.frame(0), stream.end()])

    assert len([one for one in caplog.records if "malformed" in one.message]) == 2
