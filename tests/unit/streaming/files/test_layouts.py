"""What comes with the package, in each layout: growing, closed, appended to, with several datasets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from bluesky_streamdet.core.errors import DatasetTaken, FileTaken, RequestRefused
from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.metadata import UNITS
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import appending, layouts
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.layouts import Layouts, places
from bluesky_streamdet.streaming.files.mending.journal import append_journal, journal_of
from bluesky_streamdet.streaming.files.reader import open_to_read, read_frames
from bluesky_streamdet.streaming.header import read_header
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import LedgerReport
from tests.unit.streaming.elsewhere import Elsewhere
from tests.unit.streaming.files.laid_out import SHIPPED, STARTED, opened, report, shipped, write
from tests.unit.streaming.frames import NOON, frame, pictures
from tests.unit.streaming.spectra import counts, record, spectra

FRAMES = {
    "nexus": "/entry/data/data",
    "maxiv": "/entry/instrument/eiger/data",
    "exchange": "/exchange/data",
    "areadetector": "/entry/data/data",
}
NUMBERS = {
    "nexus": "/entry/instrument/eiger/sequence_number",
    "maxiv": "/entry/instrument/eiger/sequence_number",
    "exchange": "/measurement/acquisition/data/frame",
    "areadetector": "/entry/instrument/NDAttributes/NDArrayUniqueId",
}
DETAIL = {"real_time": 5, "temperature": 1.5}
each = pytest.mark.parametrize("name", SHIPPED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def test_those_that_come_with_the_package_are_known() -> None:
    assert set(FRAMES) == set(SHIPPED)
    assert Layouts("exchange", {}).chosen(None).name == "exchange"
    with pytest.raises(RequestRefused, match=r"no layout 'nexsus'. There are: areadetector, exchange, maxiv, nexus"):
        Layouts("nexus", {}).chosen("nexsus")


@each
@pytest.mark.parametrize("way", [{}, {"encoding": BSLZ4}, {"detail": DETAIL}])
def test_frames_are_there_for_others_while_the_file_grows_and_after(
    path: Path, elsewhere: Elsewhere, name: str, way: dict[str, Any]
) -> None:
    file = opened(path, shipped(name), first=frame(0, **way))
    for start in range(0, 12, 4):
        file.write([frame(number, **way) for number in range(start, start + 4)])
        assert file.flush() == start + 4
        assert np.array_equal(elsewhere.rows(path, FRAMES[name])[: start + 4], pictures(range(start + 4)))
        assert np.ravel(elsewhere.rows(path, NUMBERS[name])).tolist() == list(range(start + 4))
        said = inspect(path)
        assert (said.readable, said.layout, said.outcome, said.last_number) == (start + 4, name, None, start + 3)
    file.close(report("s0", 12), {"late": 1})

    said = inspect(path)
    assert (said.readable, said.layout, said.outcome) == (12, name, Outcome.COMPLETE)
    assert (said.detector, said.series, said.started_at) == ("eiger", "s0", STARTED)
    assert (said.data, said.datasets) == (FRAMES[name], ["data"])
    assert np.array_equal(read_frames(path), pictures(range(12)))
    assert file.data is not None
    assert file.data.dataset == FRAMES[name]
    with h5py.File(path) as content:
        assert np.ravel(content[NUMBERS[name]][()]).tolist() == list(range(12))
        for one in file.data.columns:
            column = content[one.dataset]
            assert (column.dtype.str, column.shape[1:]) == (one.dtype, one.shape), one.name
            assert column.attrs.get("units", "") == one.unit
        assert content[said.columns["receive_time"]][3].ravel().tolist() == [NOON + 3]
        if way.get("detail"):
            assert content[said.columns["temperature"]][()].ravel().tolist() == [1.5] * 12


@each
def test_a_file_whose_writer_was_killed_is_readable(path: Path, name: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.unit.streaming.files.laid_out import opened, shipped\n"
        "from tests.unit.streaming.frames import frame\n"
        "file = opened(Path(sys.argv[1]), shipped(sys.argv[2]))\n"
        "file.write([frame(number) for number in range(7)])\n"
        "file.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), name], timeout=60, check=False)
    said = inspect(path)
    assert (said.readable, said.outcome, said.layout) == (7, None, name)
    assert np.array_equal(read_frames(path), pictures(range(7)))


@each
def test_each_dataset_goes_on_with_other_series(path: Path, elsewhere: Elsewhere, name: str) -> None:
    chosen = shipped(name)
    write(path, chosen, [frame(number, detail=DETAIL) for number in range(5)])
    write(path, chosen, [frame(number, detail=DETAIL) for number in range(3)], "w0", add=True, dataset="data_white")
    file = opened(path, chosen, "s1", frame(5, detail=DETAIL), append=True, metadata={"count_time": 2.5})
    file.write([frame(number, detail=DETAIL) for number in range(5, 9)])
    file.flush()
    assert np.array_equal(elsewhere.rows(path, FRAMES[name]), pictures(range(9)))
    file.close(report("s1", 4), {"late": 7})
    write(path, chosen, [frame(3, detail=DETAIL)], "w1", append=True, dataset="data_white")

    said = inspect(path, "data")
    assert [(one.series, one.frames) for one in said.earlier] == [("s0", 5)]
    assert (said.series, said.readable, said.first_row, said.outcome) == ("s1", 9, 5, Outcome.COMPLETE)
    white = inspect(path, "data_white")
    assert [one.series for one in white.earlier] == ["w0"]
    assert (white.series, white.readable, white.datasets) == ("w1", 4, ["data", "data_white"])
    assert np.array_equal(read_frames(path, "data"), pictures(range(9)))
    with h5py.File(path) as content:
        own = content[places.read(content, "data").inside("appended/s1")]
        assert own["settings/count_time"][()] == 2.5
        assert own["parameters/late"][()] == 7


@each
def test_several_datasets_are_in_one_file(path: Path, elsewhere: Elsewhere, name: str) -> None:
    chosen, names = shipped(name), ["data", "data_white", "data_black"]
    for index, dataset in enumerate(names):
        file = opened(path, chosen, f"s{index}", add=True, dataset=dataset, metadata={"count_time": 1.0 + index})
        file.write([frame(10 * index + number) for number in range(4)])
        file.flush()
        assert file.data is not None
        found = elsewhere.rows(path, file.data.dataset)
        assert np.array_equal(found, pictures(range(10 * index, 10 * index + 4)))
        file.close(report(f"s{index}", 4), {"late": index})

    for index, dataset in enumerate(names):
        said = inspect(path, dataset)
        assert (said.series, said.readable, said.first_number) == (f"s{index}", 4, 10 * index)
        assert said.datasets == names
        assert np.array_equal(read_frames(path, dataset), pictures(range(10 * index, 10 * index + 4)))
    assert inspect(path).dataset == "data_black"
    with h5py.File(path) as content:
        assert content.attrs["frames"].tolist() == [inspect(path, one).data for one in names]
        for index, dataset in enumerate(names):
            there = places.read(content, dataset)
            assert content[there.settings["count_time"]][()] == 1.0 + index
            assert content[there.inside("parameters/late")][()] == index


@each
def test_a_dataset_that_is_taken_is_refused(path: Path, name: str) -> None:
    write(path, shipped(name), [frame(0)], add=True)
    before = path.read_bytes()

    with pytest.raises(DatasetTaken, match=r"dataset 'data' of the file .*scan\.h5 is taken"):
        appending.look_beside(path, "eiger", "data")
    with pytest.raises(DatasetTaken):
        opened(path, shipped(name), "s1", add=True)
    assert path.read_bytes() == before


@each
@pytest.mark.parametrize("event", [1, 3])
def test_whole_events_have_a_view_of_single_frames(path: Path, name: str, event: int) -> None:
    write(path, shipped(name), [frame(number) for number in range(6)], event=event)
    write(path, shipped(name), [frame(number) for number in range(6)], "s1", event=event, add=True, dataset="dark")
    with h5py.File(path) as content:
        for dataset in ("data", "dark"):
            data = content[places.read(content, dataset).frames]
            assert data.shape == ((6, 4, 6) if event == 1 else (2, 3, 4, 6))
    assert inspect(path, "data").readable == inspect(path, "dark").readable == 6


@each
def test_spectra_have_their_scalars(path: Path, name: str) -> None:
    chosen = shipped(name)
    file = write(path, chosen, [spectra(number) for number in range(5)], metadata={"ev_per_bin": 10.0})
    write(path, chosen, [spectra(number) for number in range(5, 8)], "s1", append=True)
    assert file.data is not None
    with h5py.File(path) as content:
        assert np.array_equal(content[file.data.dataset][()], np.stack([counts(number) for number in range(8)]))
        wanted = np.concatenate([record(number) for number in range(8)])
        for one in file.data.scalars:
            np.testing.assert_array_equal(content[one.dataset][()], wanted[one.name])
            assert content[one.dataset].dtype == one.dtype


@each
def test_what_the_header_says_is_found_again(path: Path, name: str) -> None:
    mask = np.zeros((4, 6), "u4")
    mask[1, 2] = 1
    odd = {"odd/key": "kept", "sequence_number": 99, "outcome": "x"}
    metadata = dict.fromkeys(UNITS, 1.5) | {"pixel_mask": mask, **odd}
    write(path, shipped(name), [frame(0)], metadata=metadata)

    found = read_header(path)
    assert found.said["distance"] == 1.5
    assert found.bad[1, 2] and found.bad.sum() == 1
    with h5py.File(path) as content:
        there = places.read(content)
        for key, value in metadata.items():
            dataset = content[there.settings[key]]
            stored = dataset.asstr()[()] if isinstance(value, str) else dataset[()]
            assert np.array_equal(stored, value), key
            if key in UNITS:
                assert dataset.attrs.get("units", "") == UNITS[key]
    assert inspect(path).outcome is Outcome.COMPLETE


def test_the_images_are_counted_while_they_come(path: Path) -> None:
    file = opened(path, shipped("exchange"))
    for count in (1, 3, 7):
        file.write([frame(number) for number in range(file.rows, count)])
        file.flush()
        with open_to_read(path) as content:
            for one in (content["/exchange/data"], content["/measurement/acquisition/data/frame"]):
                assert (one.attrs["image_nr_low"], one.attrs["image_nr_high"]) == (1, count)
    file.cut(4)
    file.close(report("s0", 4), {})
    with h5py.File(path) as content:
        assert content["/exchange/data"].attrs["image_nr_high"] == 4


def test_the_places_of_maxiv_are_those_of_the_stream_receiver(path: Path) -> None:
    write(path, shipped("maxiv"), [frame(5), frame(6)], metadata={"count_time": 0.1, "rotate": 1, "energy": {"low": 2}})
    with h5py.File(path) as content:
        group = content["/entry/instrument/eiger"]
        assert group.attrs["NX_class"] == "NXdetector"
        assert group["sequence_number"].dtype == "<u4"
        assert group["sequence_number"][()].tolist() == [5, 6]
        assert (group["count_time"][()], group["rotate"][()], group["energy/low"][()]) == (0.1, 1, 2)
        assert content.attrs["default"] == "entry"


def test_the_places_of_areadetector_are_those_of_its_plugin(path: Path) -> None:
    write(path, shipped("areadetector"), [frame(5), frame(6)])
    with h5py.File(path) as content:
        assert content["/entry/data/data"] == content["/entry/instrument/detector/data"]
        assert content["/entry/data/data"].attrs["signal"] == 1
        attributes = content["/entry/instrument/NDAttributes"]
        assert attributes["NDArrayUniqueId"][()].tolist() == [5, 6]
        seconds = (NOON + 5) / 1e9 - 631152000
        assert attributes["NDArrayTimeStamp"][0] == pytest.approx(seconds, abs=1e-6)
        whole, rest = divmod(NOON + 5, 10**9)
        assert attributes["NDArrayEpicsTSSec"][0] == whole - 631152000
        assert attributes["NDArrayEpicsTSnSec"][0] == rest


def test_the_handlers_of_areadetector_read_its_layout(path: Path) -> None:
    handlers = pytest.importorskip("area_detector_handlers.handlers", reason="needs the extra 'databroker'")
    write(path, shipped("areadetector"), [frame(number) for number in range(4)])
    frames, times = handlers.AreaDetectorHDF5Handler(str(path)), handlers.AreaDetectorHDF5TimestampHandler(str(path))
    for number in range(4):
        picture = frames(point_number=number).compute(scheduler="synchronous")
        assert np.array_equal(picture[0], pictures([number])[0])
        seconds = (NOON + number) / 1e9 - 631152000
        assert float(np.ravel(times(point_number=number))[0]) == pytest.approx(seconds, abs=1e-6)
    frames.close()
    times.close()


@pytest.mark.parametrize("dataset", ["entry", "instrument", "exchange", "measurement", "data_1", "D" * 80])
@each
def test_no_name_of_a_dataset_spoils_the_file(path: Path, name: str, dataset: str) -> None:
    write(path, shipped(name), [frame(0)])
    wanted = places.places_by(shipped(name), "eiger", dataset)
    with open_to_read(path) as content:
        taken = wanted.frames in content
    if taken:
        with pytest.raises(FileTaken, match=f"dataset '{dataset}' .* is taken, as {wanted.frames} is there"):
            opened(path, shipped(name), "s1", add=True, dataset=dataset)
    else:
        write(path, shipped(name), [frame(1)], "s1", add=True, dataset=dataset)
        assert np.array_equal(read_frames(path, dataset), pictures([1]))
    assert np.array_equal(read_frames(path, "data"), pictures([0]))


@pytest.mark.parametrize(
    "name",
    ["", "../data", "/data", "data/x", "data.x", "1data", "da ta", "data;ls", "%n", "nul\0", "ü", "D" * 81, "$(ls)"],
)
def test_a_dataset_can_not_be_called_so(name: str) -> None:
    with pytest.raises(ValidationError, match="dataset"):
        ArmRequest(dataset=name)


def test_a_file_keeps_its_layout(path: Path) -> None:
    write(path, shipped("exchange"), [frame(0)])
    file = write(path, shipped("nexus"), [frame(1)], "s1", append=True)
    assert file.layout == "exchange"
    other = write(path, layouts.nexus(), [frame(2)], "s2", add=True, dataset="dark")
    assert (other.layout, inspect(path).data) == ("exchange", "/exchange/dark")
    with pytest.raises(FileTaken, match="it has the layout exchange, and not nexus"):
        appending.look(path, "eiger", "s3", 1, "data", "nexus")
    with pytest.raises(FileTaken, match="it has the layout exchange, and not maxiv"):
        appending.look_beside(path, "eiger", "white", "maxiv")


RECORD = [("series", "S80"), ("started_at", "S40"), ("ended_at", "S40"), ("first_row", "i8"), ("frames", "i8")]
RECORD += [("outcome", "S20"), ("reason", "S2000"), ("ledger", "S8000")]


def test_a_file_of_an_older_version_is_read(path: Path) -> None:
    """It does not say where things are, and has its accounts as records."""
    write(path, shipped("nexus"), [frame(0), frame(1), frame(2)], metadata={"distance": 2.0})
    with h5py.File(path, "r+") as content:
        account = content[places.read(content).account]
        del content.attrs["frames"], account["places"], account["layout"], account["series"]
        earlier = (
            "before",
            STARTED.isoformat(),
            "",
            0,
            2,
            "complete",
            "said",
            LedgerReport(written=2).model_dump_json(),
        )
        text = tuple(one.encode() if isinstance(one, str) else one for one in earlier)
        account["series"] = np.array([text], RECORD)

    said = inspect(path)
    assert [(one.series, one.frames, one.ledger.written, one.ended_at) for one in said.earlier] == [
        ("before", 2, 2, None)
    ]
    assert (said.detector, said.layout, said.readable, said.first_row) == ("eiger", "nexus", 3, 2)
    assert said.columns["sequence_number"] == "/entry/instrument/eiger/sequence_number"
    assert read_header(path).said["distance"] == 2.0
    assert np.array_equal(read_frames(path), pictures(range(3)))
    for refused in (
        lambda: appending.look(path, "eiger", "s1", 1),
        lambda: appending.look_beside(path, "eiger", "dark"),
    ):
        with pytest.raises(FileTaken, match="an older version wrote it"):
            refused()


def test_the_first_dataset_stays_the_default_plot(path: Path) -> None:
    write(path, shipped("nexus"), [frame(0)])
    write(path, shipped("nexus"), [frame(1)], "s1", add=True, dataset="dark")
    with h5py.File(path) as content:
        assert content.attrs["default"] == "entry"
        assert content["/dark"].attrs["NX_class"] == "NXentry"
        assert content["/dark/data"].attrs["signal"] == "data"
        assert np.array_equal(content["/dark/instrument/eiger/data"][()], pictures([1]))


def test_what_the_series_before_left_beside_the_file_is_its_own(path: Path) -> None:
    write(path, shipped("exchange"), [frame(0)])
    append_journal(path, {"left": 1})
    write(path, shipped("exchange"), [frame(1)], "s1", add=True, dataset="dark", late={"own": 2})
    with h5py.File(path) as content:
        for dataset, wanted in (("data", {"left": 1}), ("dark", {"own": 2})):
            kept = content[places.read(content, dataset).collected]
            assert {name: one[()] for name, one in kept.items()} == wanted
    assert not journal_of(path).exists()


def test_a_dataset_that_is_not_there_can_not_go_on(path: Path) -> None:
    write(path, shipped("exchange"), [frame(0)])
    with pytest.raises(FileTaken, match=r"it has no dataset 'dark'\. Ask to add it"):
        appending.look(path, "eiger", "s1", 1, "dark")
    with pytest.raises(KeyError, match="no dataset 'dark', but data"):
        read_frames(path, "dark")


def test_nothing_is_added_to_files_of_others(path: Path) -> None:
    with h5py.File(path, "w") as content:
        content["precious"] = 1
    before = path.read_bytes()
    with pytest.raises(FileTaken, match="can't go on"):
        appending.look_beside(path, "eiger", "dark")
    assert path.read_bytes() == before


def test_a_dataset_that_is_being_written_is_waited_for(path: Path) -> None:
    file = opened(path, shipped("exchange"))
    with pytest.raises(FileTaken, match="never closed"):
        appending.look_beside(path, "eiger", "dark")
    file.close(report("s0", 0), {})
    assert appending.look_beside(path, "eiger", "dark").name == "exchange"


def test_what_does_not_fit_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in the midst of adding a dataset."""
    write(path, shipped("nexus"), [frame(0)])
    before = path.read_bytes()
    monkeypatch.setattr(places, "write", lambda *_: (_ for _ in ()).throw(OSError("the disk")))
    with pytest.raises(Exception, match="can't be opened to add to"):
        opened(path, shipped("nexus"), "s1", add=True, dataset="dark")
    assert path.read_bytes() == before
