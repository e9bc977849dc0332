"""What each frame says stands in a column of its own, readable while the file grows; nothing of it is lost."""

from __future__ import annotations

import json
import math
import shutil
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.streaming.files import apart, layouts
from bluesky_streamdet.streaming.files.apart import MOST_KEYS
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.kinds import JSON
from bluesky_streamdet.streaming.files.mending import merging
from bluesky_streamdet.streaming.files.mending.recovering import recover
from tests.unit.streaming.frames import frame
from tests.unit.streaming.test_hdf5 import STARTED, report

DETECTOR = "/entry/instrument/eiger"
LEAST = -(1 << 63)


def frames_saying(*details: dict[str, Any]) -> list[Frame]:
    return [frame(number, detail=detail) for number, detail in enumerate(details)]


def written(path: Path, frames: list[Frame], flush_each: bool = True, **options: Any) -> SeriesFile:
    """A file with these frames, which is still open."""
    file = SeriesFile(path, "eiger", options.pop("series", "s1"), **options)
    file.open(frames[0], STARTED, {})
    for one in frames:
        file.write([one])
        if flush_each:
            file.flush()
    file.flush()
    return file


def seen(path: Path, name: str) -> Any:
    """What another reader sees in a column, of a file that is written or closed: texts as texts."""
    with h5py.File(path, "r", swmr=True, locking=False) as file:
        dataset = file[f"{DETECTOR}/{name}"]
        return (dataset.asstr() if dataset.dtype.kind in "SO" else dataset)[()].tolist()


def attributes(path: Path, name: str) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        return dict(file[f"{DETECTOR}/{name}"].attrs)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


@pytest.mark.parametrize("flush_each", [True, False])
@pytest.mark.parametrize(
    ("values", "stored"),
    [
        pytest.param(["dark", "Größe 中", ""], ["dark", "Größe 中", ""], id="texts"),
        pytest.param([1, -5, (1 << 63) - 1], [1, -5, (1 << 63) - 1], id="whole numbers"),
        pytest.param([0.5, 2, math.inf], [0.5, 2.0, math.inf], id="numbers"),
        pytest.param([True, False, True], [1, 0, 1], id="truths"),
        pytest.param([[64, 250], [64, 251], [1, 2]], [[64, 250], [64, 251], [1, 2]], id="arrays"),
        pytest.param([[[0.5, 1]], [[2, 3]], [[4, 5]]], [[[0.5, 1]], [[2, 3]], [[4, 5]]], id="arrays of two axes"),
        pytest.param([["a", "b"], ["c"], []], ['["a", "b"]', '["c"]', "[]"], id="lists of texts"),
        pytest.param([{"x": 1}, {"x": [2]}, {}], ['{"x": 1}', '{"x": [2]}', "{}"], id="dicts"),
        pytest.param(["a", None, "c"], ["a", "", "c"], id="a text is missing"),
        pytest.param([1, None, 3], [1, LEAST, 3], id="a whole number is missing"),
        pytest.param([[1, 2], None, [3, 4]], [[1, 2], [LEAST] * 2, [3, 4]], id="an array is missing"),
    ],
)
def test_values_are_columns_while_the_file_grows(path: Path, values: list[Any], stored: Any, flush_each: bool) -> None:
    details = [{"other": 1} if value is None else {"other": 1, "thing": value} for value in values]
    file = written(path, frames_saying(*details), flush_each)
    assert seen(path, "thing") == stored
    file.close(report(len(values)), {})
    assert seen(path, "thing") == stored
    assert seen(path, "collection/apart") == []


def test_a_number_that_is_missing_is_none(path: Path) -> None:
    written(path, frames_saying({"x": 1.5}, {}, {"x": 2.5})).close(report(3), {})
    np.testing.assert_array_equal(seen(path, "x"), [1.5, math.nan, 2.5])


def test_columns_say_how_they_are_read(path: Path) -> None:
    first = {"n": 1, "list": ["a"], "text": "a", "start_time": 5, "real_time": 7}
    written(path, frames_saying(first)).close(report(1), {})
    assert attributes(path, "n") == {"_FillValue": LEAST}
    assert attributes(path, "list") == {"content": JSON}
    assert attributes(path, "text") == {}
    assert attributes(path, "start_time") == {"units": "s"}
    assert attributes(path, "real_time") == {"units": "ns", "_FillValue": LEAST}
    with h5py.File(path) as file:
        assert h5py.check_string_dtype(file[f"{DETECTOR}/text"].dtype).encoding == "utf-8"


def test_times_of_the_detector_are_seconds_from_the_moment_that_the_stream_says(path: Path) -> None:
    first, second = frames_saying({"start_time": 1_500_000_000, "stop_time": 1}, {"start_time": 834_759_834_759_834})
    first.said = {"series_date": "2026-03-01T12:00:00+01:00"}
    written(path, [first, second]).close(report(2), {})
    assert seen(path, "start_time") == [1.5, 834759.834759834]
    assert attributes(path, "start_time") == {"units": "s", "start": "2026-03-01T12:00:00+01:00"}
    assert attributes(path, "receive_time")["start"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("event", [1, 2])
@pytest.mark.parametrize(
    ("values", "while_open", "closed"),
    [
        pytest.param(["a", "b" * 40, "c"], ["a", "b" * 32, "c"], ["a", "b" * 40, "c"], id="a longer text"),
        pytest.param(["a", "ü" * 5000, "c"], ["a", "ü" * 16, "c"], ["a", "ü" * 5000, "c"], id="a much longer text"),
        pytest.param([1, 2.5, 3], [1, LEAST, 3], [1.0, 2.5, 3.0], id="a number among whole numbers"),
        pytest.param([1, 1 << 70, 3], [1, LEAST, 3], ["1", str(1 << 70), "3"], id="too large a number"),
        pytest.param([0.5, (1 << 53) + 1, 3], None, ["0.5", "9007199254740993", "3.0"], id="no float says it exactly"),
        pytest.param([1, "off", 3], [1, LEAST, 3], ["1", '"off"', "3"], id="a text among numbers"),
        pytest.param(["1", 2, "off"], ["1", "", "off"], ['"1"', "2", '"off"'], id="a number among texts"),
        pytest.param(
            [[1, 2], [3], [4, 5]], [[1, 2], [LEAST] * 2, [4, 5]], ["[1, 2]", "[3]", "[4, 5]"], id="a shorter list"
        ),
        pytest.param(
            [[1, 2], [3.5, 4], [5, 6]], [[1, 2], [LEAST] * 2, [5, 6]], [[1, 2], [3.5, 4], [5, 6]], id="floats"
        ),
        pytest.param([None, 2, 3], None, [LEAST, 2, 3], id="a key that comes late"),
        pytest.param([None, "b", None], None, ["", "b", ""], id="a text that comes late"),
        pytest.param([None, [1.5, 2], [3, 4]], None, [[math.nan] * 2, [1.5, 2], [3, 4]], id="an array that comes late"),
        pytest.param([None, {"a": 1}, "b"], None, ["", '{"a": 1}', '"b"'], id="a dict that comes late"),
    ],
)
def test_what_fits_no_column_is_in_one_when_the_file_closes(
    path: Path, values: list[Any], while_open: Any, closed: Any, event: int
) -> None:
    details = [{} if value is None else {"thing": value} for value in values]
    file = written(path, frames_saying(*details), event=event)
    if while_open is not None and event == 1:
        assert seen(path, "thing") == while_open
    file.close(report(len(values)), {})
    with h5py.File(path) as read:
        dataset = read[f"{DETECTOR}/thing"]
        rows = (dataset.asstr() if dataset.dtype.kind in "SO" else dataset)[()]
        flat = rows.reshape(-1, *rows.shape[1 + (event > 1) :])[: len(values)]
        if flat.dtype.kind == "f":
            np.testing.assert_array_equal(flat, closed)
        else:
            assert flat.tolist() == closed
        assert len(rows) == -(-len(values) // event)
        assert len(read[f"{DETECTOR}/collection/apart"]) == 0


def test_what_stands_apart_survives_a_kill(path: Path) -> None:
    file = written(path, frames_saying({"a": "x"}, {"a": "y" * 3000}, {"late": [1]}))
    with h5py.File(path, "r", swmr=True, locking=False) as read:
        rows = read[f"{DETECTOR}/collection/apart"][()]
    said = [row.partition(b"\n") for row in rows]
    assert [json.loads(head) for head, _, _ in said] == [*(["a", 1, piece, 4] for piece in range(4)), ["late", 2, 0, 1]]
    assert b"".join(part for _, _, part in said[:4]) == b'["' + b"y" * 3000 + b'"]'
    assert said[-1][2] == b"[[1]]"
    file.close(report(3), {})


def test_what_stands_apart_is_in_columns_after_a_kill_and_recovery(path: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "open.h5", frames_saying({"a": "x"}, {"a": "y" * 3000}, {"late": [1]}))
    shutil.copyfile(file.path, path)
    file.close(report(3), {})
    recover(path)
    assert seen(path, "a") == ["x", "y" * 3000, ""]
    assert seen(path, "late") == [[LEAST], [LEAST], [1]]


def test_who_makes_up_a_key_for_each_frame_fills_no_disk(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    details = [{}, *({f"key{number}_{index}": index for index in range(50)} for number in range(20))]
    written(path, frames_saying(*details)).close(report(21), {})
    with h5py.File(path) as read:
        assert sum(name.startswith("key") for name in read[DETECTOR]) == MOST_KEYS
        assert read[f"{DETECTOR}/key3_49"][()].tolist() == [LEAST] * 4 + [49] + [LEAST] * 16
    assert [record.getMessage() for record in caplog.records] == [
        "values of 'key4_0' are left out, as 200 others have no column already"
    ]


def test_too_many_values_stay_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(merging, "MOST_VALUES", 10)
    details = [{}, {}, {}, {f"key{index}": index for index in range(5)}]
    written(path, frames_saying(*details)).close(report(4), {})
    with h5py.File(path) as read:
        assert len([name for name in read[DETECTOR] if name.startswith("key")]) == 2
        kept = apart.read(read[f"{DETECTOR}/collection"], 4)
    assert kept == {f"key{index}": {3: index} for index in range(5)}
    assert "keeps values of single frames" in caplog.text


def test_what_is_cut_off_a_file_leaves_nothing_apart(path: Path) -> None:
    file = written(path, frames_saying({"n": 1}, {"n": 2}, {"n": "gone", "late": 5}))
    file.cut(2)
    file.close(report(2), {})
    with h5py.File(path) as read:
        assert read[f"{DETECTOR}/n"][()].tolist() == [1, 2]
        assert "late" not in read[DETECTOR]


def test_a_file_whose_columns_were_widened_goes_on(path: Path) -> None:
    written(path, frames_saying({"text": "a"}, {"text": "b" * 50, "late": 1})).close(report(2), {})
    more = frames_saying({"text": "c" * 90, "late": 2}, {"text": "d", "late": 3})
    written(path, more, series="s2", append=True).close(report(2), {})
    assert seen(path, "text") == ["a", "b" * 50, "c" * 90, "d"]
    assert seen(path, "late") == [LEAST, 1, 2, 3]


@pytest.mark.parametrize(
    ("before", "after", "stored"),
    [
        pytest.param([1, "off"], [2, "on"], ["1", '"off"', "2", '"on"'], id="numbers and texts"),
        pytest.param([["a"], ["b"]], ["c", {"d": 1}], ['["a"]', '["b"]', '"c"', '{"d": 1}'], id="lists of texts"),
        pytest.param(["a", "b"], [["c"], "d"], ['"a"', '"b"', '["c"]', '"d"'], id="a list after texts"),
        pytest.param([1, 2.5], [3, 4], [1.0, 2.5, 3.0, 4.0], id="floats"),
    ],
)
def test_another_series_may_say_it_otherwise(path: Path, before: list[Any], after: list[Any], stored: Any) -> None:
    written(path, frames_saying(*({"thing": one} for one in before))).close(report(2), {})
    more = frames_saying(*({"thing": one} for one in after))
    written(path, more, series="s2", append=True).close(report(2), {})
    assert seen(path, "thing") == stored


def test_a_key_that_is_called_like_something_else_gets_another_name(path: Path) -> None:
    written(path, frames_saying({"data": "mine", "sequence_number": 77, "local_name": 1})).close(report(1), {})
    assert seen(path, "data_") == ["mine"]
    assert seen(path, "sequence_number_") == [77]
    assert seen(path, "sequence_number") == [0]
    assert seen(path, "local_name_") == [1]


def test_a_layout_may_show_what_the_header_says(path: Path) -> None:
    said = {
        "htype": ["array-1.0"],
        "shape": [4, 6],
        "type": "uint16",
        "source": "pco",
        "tag": "",
        "endianess": "little",
    }
    frames = frames_saying({}, {})
    for number, one in enumerate(frames):
        one.said = {**said, "tag": f"t{number}", "frame": number}
    written(path, frames, layout=layouts.Layouts("exchange", {}).chosen(None)).close(report(2), {})
    with h5py.File(path) as read:
        group = read["/measurement/acquisition/data"]
        assert group["shape"][()].tolist() == [[4, 6], [4, 6]]
        for name, value in {"htype": '["array-1.0"]', "type": "uint16", "source": "pco", "endianess": "little"}.items():
            assert group[name].asstr()[()].tolist() == [[value], [value]]
        assert group["tag"].asstr()[()].tolist() == [["t0"], ["t1"]]


def test_a_file_shows_no_header_that_its_layout_does_not_name(path: Path) -> None:
    first = frame(0)
    first.said = {"htype": "array-1.0", "source": "pco"}
    written(path, [first]).close(report(1), {})
    with h5py.File(path) as read:
        assert not {"htype", "source"} & read[DETECTOR].keys()


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
numbers = st.integers(-(1 << 66), 1 << 66) | st.floats(allow_nan=False) | st.booleans()
plain = st.none() | numbers | texts
anything = (
    plain | st.lists(numbers, max_size=4) | st.lists(plain, max_size=3) | st.dictionaries(texts, plain, max_size=2)
)
pairs = st.lists(st.floats(allow_nan=False), min_size=2, max_size=2)
alike = st.sampled_from([st.integers(-100, 100), numbers, texts, pairs, anything]).flatmap(
    lambda one: st.lists(one, min_size=1, max_size=8)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(of_one=alike, of_another=alike, event=st.sampled_from([1, 3]), flush_each=st.booleans())
def test_whatever_frames_say_is_in_the_file(
    tmp_path: Path, of_one: list[Any], of_another: list[Any], event: int, flush_each: bool
) -> None:
    path = tmp_path / f"{uuid4()}.h5"
    said = [
        {name: value for name, value in (("one", first), ("another", second)) if value is not None}
        for first, second in zip_longest(of_one, of_another)
    ]
    written(path, frames_saying(*said), flush_each, event=event).close(report(len(said)), {})
    with h5py.File(path) as read:
        for name in ("one", "another"):
            found = values_in(read.get(f"{DETECTOR}/{name}"), event, len(said))
            assert found == [one.get(name, "") for one in said]
    path.unlink()


def values_in(column: h5py.Dataset | None, event: int, frames: int) -> list[Any]:
    """What a column says, as somebody reads it who knows `content` and `_FillValue`; "" for what is missing."""
    if column is None:
        return [""] * frames
    shape = column.shape[1 + (event > 1) :]
    if column.dtype.kind in "SO":
        read = json.loads if column.attrs.get("content") == JSON else str
        return [read(text) if text else "" for text in column.asstr()[()].reshape(-1)[:frames]]
    block = column[()].reshape(-1, *shape)[:frames]
    fill = column.attrs.get("_FillValue")
    nothing = np.isnan(block) if fill is None else block == fill
    return ["" if np.all(none) else row for none, row in zip(nothing, block.tolist(), strict=True)]
