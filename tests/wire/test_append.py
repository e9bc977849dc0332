"""Series that go on in the file of an earlier one, by request or because the configuration says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.files.config import FileConfig
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.unit.streaming.frames import pictures
from tests.wire.service_parts import TIMEOUT, Detector, config_for, pixels
from tests.wire.streams import Rig, Stream, balanced, numbers_of, rows_of

pytestmark = pytest.mark.wire
Rigs = Callable[..., Rig]


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


def test_series_follow_one_another_in_a_file_when_asked(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    for series, numbers in (("a", range(5)), ("b", range(3)), ("c", range(70))):
        rig.pipeline.arm(ArmRequest(id=series, name="same", append=True))
        report = rig.run(stream.whole(numbers))
        assert (report.outcome, report.ledger.written) == (Outcome.COMPLETE, len(numbers))
        assert balanced(report.ledger)

    assert numbers_of(rig.last) == [*range(5), *range(3), *range(70)]
    assert np.array_equal(rows_of(rig.last), pictures([*range(5), *range(3), *range(70)]))
    assert rig.last.data is not None
    assert rig.last.data.first_row == 8
    said = inspect(Path(str(rig.last.file)))
    assert [(one.series, one.frames) for one in (*said.earlier, said.account)] == [("a", 5), ("b", 3), ("c", 70)]


def test_a_file_is_left_alone_unless_asked(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="same"))
    rig.run(stream.whole(range(3)))

    with pytest.raises(FileTaken, match="ask to replace it, or to append to it"):
        rig.pipeline.arm(ArmRequest(name="same"))
    with pytest.raises(FileTaken, match="it has 1 frames an event, and 3 are asked for"):
        rig.pipeline.arm(ArmRequest(name="same", append=True, frames_per_event=3))
    assert rig.state is State.IDLE


def test_replace_and_append_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        ArmRequest(name="same", append=True, replace=True)
    with pytest.raises(ValidationError, match="exclude each other"):
        FileConfig(replace=True, append=True)


def test_frames_of_another_shape_fail_with_a_reason_and_the_file_stays(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="same"))
    file = Path(str(rig.run(stream.whole(range(3))).file))
    before = file.read_bytes()

    rig.pipeline.arm(ArmRequest(name="same", append=True))
    report = rig.run(stream.whole(range(4), shape=(8, 6)))
    assert (report.outcome, report.file, report.data) == (Outcome.INCOMPLETE, None, None)
    assert report.ledger.failed == {"file_exists": 4}
    assert "it has frames of shape (4, 6), and what comes has (8, 6)" in report.reason
    assert balanced(report.ledger)
    assert file.read_bytes() == before
    rig.pipeline.arm(ArmRequest(name="same", append=True))
    assert np.array_equal(rows_of(rig.run(stream.whole(range(3, 5)))), pictures(range(5)))


def test_series_that_the_stream_names_go_on_where_the_configuration_says_so(rigs: Rigs) -> None:
    rig, stream = rigs(files={"stream_names": True, "append": True}), Stream()
    rig.run(stream.whole(range(3), filename="p1/scan.h5"))
    report = rig.run(stream.whole(range(3, 9), filename="p1/scan.h5"))

    assert (report.outcome, report.reason) == (Outcome.COMPLETE, "")
    assert np.array_equal(rows_of(report), pictures(range(9)))


def test_series_without_a_name_go_on_in_the_usual_file(rigs: Rigs) -> None:
    rig, stream = rigs(files={"name": "{detector}", "append": True}), Stream()
    for numbers in (range(3), range(3, 5)):
        rig.run(stream.whole(numbers))

    assert [one.name for one in rig.directory.glob("*.h5")] == ["eiger.h5"]
    assert np.array_equal(rows_of(rig.last), pictures(range(5)))


def test_what_can_not_go_on_gets_a_file_of_its_own(rigs: Rigs) -> None:
    rig, stream = rigs(files={"name": "{detector}", "append": True}), Stream()
    rig.directory.mkdir()
    (rig.directory / "eiger.h5").write_bytes(b"precious")

    report = rig.run(stream.whole(range(3)))
    assert report.file == str(rig.directory / "eiger_1.h5")
    assert report.reason.startswith("the file was refused")
    assert report.outcome is Outcome.COMPLETE
    assert (rig.directory / "eiger.h5").read_bytes() == b"precious"


def test_a_kill_while_a_file_goes_on(detector: Detector, tmp_path: Path) -> None:
    """What was announced of both series is readable, and both have their accounts."""
    config = config_for(detector, tmp_path)
    with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as client:
        client.arm(ArmRequest(id="a", name="same"))
        detector.series(5)
        client.wait(lambda status: status.series is None and status.last_series is not None, TIMEOUT, "series a")
        client.arm(ArmRequest(id="b", name="same", append=True))
        detector.start()
        detector.frames(range(5, 80))
        client.wait(lambda status: status.series is not None and status.series.ledger.written == 75, TIMEOUT, "frames")
        assert service.pid is not None
        for child in Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        status = client.wait(
            lambda status: status.state is State.IDLE and status.series is None and "SIGKILL" in str(status.error),
            TIMEOUT,
            "another data plane",
        )
        assert status.last_series is not None
        last = status.last_series
        assert (last.id, last.outcome, last.ledger.written) == ("b", Outcome.INTERRUPTED, 75)
        file = tmp_path / "same.h5"
        said = inspect(file)
        assert (said.series, said.outcome, said.written) == ("b", Outcome.INTERRUPTED, 75), "the service has mended it"
        assert client.arm(ArmRequest(id="c", name="same", append=True)).id == "c"
        client.abort("c")

    assert [(one.series, one.frames, one.outcome) for one in said.earlier] == [("a", 5, Outcome.COMPLETE)]
    assert np.array_equal(read_frames(file)[:80], np.stack([pixels(number) for number in range(80)]))
