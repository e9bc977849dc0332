"""Series that go on from file to file, with a master that shows them as one: over real sockets, whatever comes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.errors import FileTaken, PathRefused, RequestRefused
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import open_to_read, read_frames
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport
from tests.unit.streaming.frames import pictures
from tests.wire.streams import Rig, Stream, balanced, holds, numbers_of, rows_of

pytestmark = pytest.mark.wire
Rigs = Callable[..., Rig]
EACH = 5


def run(rig: Rig, numbers: Sequence[int], name: str = "scan", **request: Any) -> SeriesReport:
    rig.pipeline.arm(ArmRequest(name=name, frames_per_file=EACH, **request))
    return rig.run(Stream().whole(numbers))


def is_marked_complete(path: str) -> bool:
    with h5py.File(path) as file:
        return bool(file.attrs["complete"])


def parts_of(report: SeriesReport) -> list[Path]:
    assert report.file is not None
    path = Path(report.file)
    return [path.parent / one.file for one in inspect(path).parts]


@pytest.mark.parametrize("frames", [1, EACH - 1, EACH, EACH + 1, 2 * EACH, 23])
def test_files_have_as_many_frames_as_asked_and_the_master_all(rigs: Rigs, frames: int) -> None:
    rig = rigs()
    report = run(rig, range(frames))

    assert (report.outcome, report.parts, report.ledger.written) == (Outcome.COMPLETE, -(-frames // EACH), frames)
    assert holds(report, range(frames))
    parts = parts_of(report)
    assert [one.name for one in parts] == [f"scan_{1 + index:03d}.h5" for index in range(report.parts)]
    assert report.part == str(parts[-1])
    for index, path in enumerate(parts):
        own = list(range(frames))[index * EACH : (index + 1) * EACH]
        said = inspect(path)
        assert np.array_equal(read_frames(path), pictures(own))
        assert (said.outcome, said.series, said.written) == (Outcome.COMPLETE, report.id, len(own))
        assert said.part is not None
        assert (said.part.index, said.part.first_row, said.part.master) == (index + 1, index * EACH, "scan.h5")
    said = inspect(Path(str(report.file)))
    assert (said.outcome, said.readable, said.ledger) == (Outcome.COMPLETE, frames, report.ledger)
    assert is_marked_complete(str(report.file))
    assert {path.name for path in rig.directory.iterdir()} == {"scan.h5", *(one.name for one in parts)}


def test_no_frames_are_no_files(rigs: Rigs) -> None:
    rig = rigs()
    report = run(rig, [])

    assert (report.outcome, report.file, report.parts) == (Outcome.COMPLETE, None, 0)
    assert list(rig.directory.iterdir()) == []


@pytest.mark.parametrize(
    ("codec", "arriving", "written"),
    [
        pytest.param("stins", [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11], id="lost"),
        pytest.param("stins", [0, 1, 2, 3, 4, 4, 5, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], id="twice"),
        pytest.param("dectris_v1", [0, 1, 2, 3, 5, 4, 6, 7, 8, 10, 9, 11], list(range(12)), id="swapped"),
    ],
)
def test_what_happens_at_the_border_of_two_files_happens_to_no_file(
    rigs: Rigs, codec: str, arriving: list[int], written: list[int]
) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH))
    header = stream.start()
    # Made in their order, as their places in the stream are counted.
    messages = {number: stream.frame(number) for number in range(max(arriving) + 1)}
    report = rig.run([header, *(messages[number] for number in arriving), stream.end()])

    assert numbers_of(report) == written
    assert np.array_equal(rows_of(report), pictures(written))
    assert balanced(report.ledger)
    assert report.parts == -(-len(written) // EACH)
    missing = max(arriving) + 1 - len(written)
    assert (report.ledger.missing, report.outcome is Outcome.COMPLETE) == (missing, missing == 0)
    assert inspect(Path(str(report.file))).ledger == report.ledger


def test_a_frame_that_comes_after_its_gap_was_given_up_is_behind_in_a_later_file(rigs: Rigs) -> None:
    rig, stream = rigs(wait={"gap_bytes": 0}), Stream()
    rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH))
    messages = [stream.start(), *(stream.frame(number) for number in range(12)), stream.end()]
    late = messages.pop(5)
    messages.insert(9, late)
    report = rig.run(messages)

    assert numbers_of(report) == [0, 1, 2, 3, 5, 6, 7, 8, 4, 9, 10, 11]
    assert (report.ledger.late, report.outcome) == (1, Outcome.COMPLETE)


def test_the_master_shows_the_files_that_are_full_while_the_series_runs(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH))
    rig.send([stream.start(), *(stream.frame(number) for number in range(2 * EACH + 2))])
    rig.settle(2 * EACH + 2)

    assert rig.series is not None and rig.series.file is not None and rig.series.part is not None
    assert Path(rig.series.part).name == "scan_003.h5"
    said = inspect(Path(rig.series.file))
    assert said.outcome is None
    assert not is_marked_complete(rig.series.file)
    assert said.readable >= EACH and said.readable % EACH == 0
    assert np.array_equal(read_frames(rig.series.file), pictures(range(said.readable)))
    assert np.array_equal(read_frames(rig.series.part), pictures(range(2 * EACH, 2 * EACH + 2)))


def test_the_folder_may_be_moved(rigs: Rigs, tmp_path: Path) -> None:
    rig = rigs()
    report = run(rig, range(12), name="p1/scan_%03d")
    shutil.move(rig.directory / "p1", tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere/scan.h5"

    assert np.array_equal(read_frames(moved), pictures(range(12)))
    assert inspect(moved).complete
    with h5py.File(moved) as file:
        assert not any(Path(one.file_name).is_absolute() for one in file["/entry/data/data"].virtual_sources())
    assert report.file == str(rig.directory / "p1/scan.h5")


def test_a_file_that_is_gone_is_an_error_and_no_zeros(rigs: Rigs) -> None:
    report = run(rigs(), range(12))
    assert report.file is not None
    path = Path(report.file)
    (path.parent / "scan_002.h5").rename(path.parent / "kept")

    with pytest.raises(OSError, match=r"can't be read: scan_002\.h5: No such file"):
        read_frames(path)
    said = inspect(path)
    assert not said.complete
    assert "scan_002.h5" in said.verdict
    with h5py.File(path) as file:  # What everybody else sees: no picture looks like that, and no frame came then.
        assert (file["/entry/data/data"][EACH : 2 * EACH] == 65535).all()
        assert np.flatnonzero(file["/entry/instrument/eiger/receive_time"][()]).tolist() == [0, 1, 2, 3, 4, 10, 11]
    (path.parent / "kept").rename(path.parent / "scan_002.h5")
    assert inspect(path).complete
    assert np.array_equal(read_frames(path), pictures(range(12)))


def test_a_file_that_was_cut_short_is_an_error(rigs: Rigs) -> None:
    report = run(rigs(), range(12))
    part = Path(str(report.file)).with_name("scan_002.h5")
    size = part.stat().st_size
    os.truncate(part, size - 1)

    with pytest.raises(OSError, match=rf"scan_002\.h5 has {size - 1} bytes, and had {size}"):
        read_frames(str(report.file))
    assert not inspect(Path(str(report.file))).complete


def test_another_file_of_the_series_in_its_place_shows(rigs: Rigs) -> None:
    report = run(rigs(), range(12))
    folder = Path(str(report.file)).parent
    shutil.copy(folder / "scan_001.h5", folder / "scan_002.h5")

    said = inspect(folder / "scan.h5")
    assert not said.complete
    assert "scan_002.h5 has other frames than it had, from 0 to 4" in said.verdict


def test_a_file_of_another_series_in_its_place_shows(rigs: Rigs) -> None:
    rig = rigs()
    report = run(rig, range(12))
    other = run(rig, range(100, 112), name="other")
    assert report.file is not None and other.file is not None
    folder = rig.directory
    (folder / "other_002.h5").replace(folder / "scan_002.h5")

    said = inspect(folder / "scan.h5")
    assert not said.complete
    assert f"scan_002.h5 has 5 frames of {other.id}, and had 5 of {report.id}" in said.verdict


def test_files_of_an_earlier_run_are_left_alone_unless_asked(rigs: Rigs) -> None:
    rig = rigs()
    first = run(rig, range(12))
    with pytest.raises(FileTaken):
        rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH))
    (rig.directory / "scan.h5").unlink()
    with pytest.raises(FileTaken):
        rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH))
    (rig.directory / "scan_001.h5").unlink()
    report = run(rig, range(50, 62))

    assert (report.outcome, report.ledger.written) == (Outcome.INCOMPLETE, EACH)
    assert sum(report.ledger.failed.values()) == 7
    assert "scan_002.h5 exists" in report.reason
    assert numbers_of(report) == list(range(50, 55))
    assert inspect(rig.directory / "scan_002.h5").series == first.id
    assert balanced(report.ledger)


def test_what_does_not_go_into_the_next_file_is_spilled(rigs: Rigs, tmp_path: Path) -> None:
    rig = rigs(files={"spill": tmp_path / "spill"})
    rig.directory.mkdir()
    (rig.directory / "scan_002.h5").write_text("mine")
    report = run(rig, range(12))

    assert report.spill is not None
    assert numbers_of(report) == list(range(EACH))
    assert np.array_equal(read_frames(report.spill), pictures(range(EACH, 12)))
    assert balanced(report.ledger)
    assert (rig.directory / "scan_002.h5").read_text() == "mine"


def test_files_are_replaced_when_asked_and_old_ones_are_not_taken_up(rigs: Rigs) -> None:
    rig = rigs()
    run(rig, range(23))
    rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH, replace=True))
    stream = Stream()
    rig.send([stream.start(), stream.frame(50)])
    rig.settle(1)
    assert not (rig.directory / "scan.h5").exists()
    report = rig.run([*(stream.frame(number) for number in range(51, 58)), stream.end()])

    assert holds(report, range(50, 58))
    assert [one.name for one in parts_of(report)] == ["scan_001.h5", "scan_002.h5"]
    assert (rig.directory / "scan_003.h5").exists()


def test_series_that_nobody_armed_go_to_free_names(rigs: Rigs) -> None:
    rig = rigs(files={"name": "run_{index:02d}", "frames_per_file": EACH})
    reports = [rig.run(Stream().whole(range(7))) for _ in range(2)]

    assert [Path(str(one.file)).name for one in reports] == ["run.h5", "run_1.h5"]
    assert [one.name for one in parts_of(reports[1])] == ["run_1_01.h5", "run_1_02.h5"]


def test_frames_of_an_event_stay_together(rigs: Rigs) -> None:
    rig = rigs()
    with pytest.raises(RequestRefused, match="would cut events of 3 frames"):
        rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH, frames_per_event=3))
    rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=6, frames_per_event=3))
    report = rig.run(Stream().whole(range(14)))

    assert report.parts == 3
    assert rows_of(report).shape == (5, 3, 4, 6)
    assert np.array_equal(rows_of(report).reshape(-1, 4, 6)[:14], pictures(range(14)))
    assert np.array_equal(read_frames(str(report.file), "/entry/data/frames"), pictures(range(14)))
    said = inspect(Path(str(report.file)))
    assert (said.readable, said.last_number, said.frames_per_event) == (14, 13, 3)


@pytest.mark.parametrize("way", ["append", "add"])
def test_a_file_that_is_there_does_not_go_on_in_several(rigs: Rigs, way: str) -> None:
    rig = rigs()
    report = run(rig, range(7))
    with pytest.raises(RequestRefused, match="can't go into a file that is there"):
        rig.pipeline.arm(ArmRequest.model_validate({"name": "scan", "frames_per_file": EACH, way: True}))
    for path in (Path(str(report.file)), Path(str(report.part))):
        with pytest.raises(FileTaken, match="several files"):
            rig.pipeline.arm(ArmRequest.model_validate({"name": path.name, "dataset": "data", way: True}))


def test_a_name_that_is_no_name_arms_nothing(rigs: Rigs) -> None:
    rig = rigs()
    for name in ("scan_%n", "scan_%s", "scan_%030d", "{index:999999999d}", "%03d/scan", "../%03d"):
        with pytest.raises(PathRefused):
            rig.pipeline.arm(ArmRequest(name=name, frames_per_file=EACH))
    assert rig.pipeline.writer is None


def test_parameters_that_come_late_are_in_the_master_and_in_later_files(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    id = rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH, metadata={"sample": "a"})).id
    rig.send([stream.start(), *(stream.frame(number) for number in range(7))])
    rig.settle(7)
    rig.pipeline.set_parameters(id, {"temperature": 20.5})
    report = rig.run([*(stream.frame(number) for number in range(7, 12)), stream.end()])

    place = "/entry/instrument/eiger/collection/parameters"
    for name, has in (("scan", True), ("scan_001", False), ("scan_002", True), ("scan_003", True)):
        with open_to_read(rig.directory / f"{name}.h5") as file:
            assert file[f"{place}/sample"].asstr()[()] == "a"
            assert ("temperature" in file[place]) is has
    assert not list(rig.directory.glob("*.parameters"))
    assert report.outcome is Outcome.COMPLETE


def test_a_cut_shows_so_many(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="scan", frames_per_file=EACH, open_ended=True))
    rig.send([stream.start(), *(stream.frame(number) for number in range(13))])
    rig.settle(13)
    rig.pipeline.stop(keep=8)
    rig.until(lambda: rig.pipeline.writer is None)

    assert holds(rig.last, range(8))
    assert rig.last.ledger.discarded == {"cut off by request": 5}
