"""Which file a series goes to, and what goes into it beside the frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest

from bluesky_streamdet.core.errors import NoSuchSeries
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.wire.streams import Rig, Stream, balanced, holds, numbers_of

Rigs = Callable[..., Rig]


def test_an_existing_file_is_replaced_when_asked(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    for count in (5, 2):
        rig.pipeline.arm(ArmRequest(name="same", replace=True))
        assert holds(rig.run(stream.whole(range(count))), range(count))


@pytest.mark.parametrize("path", ["/entry/instrument/mono/data", "/entry/instrument/eiger/frames", "/data/images"])
def test_the_frames_are_where_older_readers_look_too(rigs: Rigs, path: str) -> None:
    rig, stream = rigs(files={"also_at": path}), Stream()

    report = rig.run(stream.whole(range(3)))
    assert report.outcome is Outcome.COMPLETE
    with h5py.File(str(report.file)) as file:
        assert file[path] == file["/entry/instrument/eiger/data"]
        # What older files had beside the frames is there as well.
        assert list(file[path].parent["sequence_number"]) == [0, 1, 2]


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


@pytest.mark.parametrize("name", ["file/x", "link/x", ""])
def test_a_default_name_that_can_not_be_loses_no_count(rigs: Rigs, name: str) -> None:
    rig, stream = rigs(files={"name": name}), Stream()
    rig.directory.mkdir(exist_ok=True)
    (rig.directory / "file").touch()
    (rig.directory / "link").symlink_to("/")

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


def test_parameters_that_come_late(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    with pytest.raises(NoSuchSeries):
        rig.pipeline.set_parameters("one", {"a": 1})
    rig.pipeline.arm(ArmRequest(id="one", metadata={"a": 0, "b": 0, "c": 0}))
    rig.pipeline.set_parameters("one", {"b": 1})
    with pytest.raises(NoSuchSeries, match="another"):
        rig.pipeline.set_parameters("another", {"b": 2})
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    rig.pipeline.set_parameters("one", {"c": 2, "d": {"e": [1, None]}})
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
        rig.pipeline.set_parameters("one", {"a": 1})


def test_parameters_that_can_not_be_kept_are_refused(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    assert rig.series is not None
    Path(f"{rig.series.file}.parameters").mkdir()
    with pytest.raises(Exception, match="can't be kept"):
        rig.pipeline.set_parameters(rig.series.id, {"a": 1})

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


def test_a_file_that_somebody_else_made_meanwhile_is_kept(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="scan"))
    (rig.directory / "scan.h5").write_bytes(b"precious")
    report = rig.run(stream.whole(range(3)))

    assert (rig.directory / "scan.h5").read_bytes() == b"precious"
    assert report.file is None
    assert report.ledger.failed == {"file_exists": 3}
    assert report.outcome is Outcome.INCOMPLETE
    assert "scan.h5 exists" in report.reason
    assert holds(rig.run(stream.whole(range(3))), range(3))
