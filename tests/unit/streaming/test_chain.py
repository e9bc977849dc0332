"""What a chain may be told, where its files come from, and what each series' header adds."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel

from bluesky_streamdet import catalog
from bluesky_streamdet.core.errors import ConfigError, MalformedMessage, MissingLibrary
from bluesky_streamdet.core.events import SeriesStart
from bluesky_streamdet.streaming import arrays
from bluesky_streamdet.streaming.chain import Chain, Step, arguments_of, moved

IMAGE = np.arange(6, dtype="<i4").reshape(2, 3)


class Steps(BaseModel):
    transforms: list[Step]


def complaints(*steps: Any) -> list[str]:
    """Places and texts of what is wrong."""
    from pydantic import ValidationError

    with pytest.raises(ValidationError) as caught:
        Steps.model_validate({"transforms": list(steps)})
    return [
        f"{'.'.join(map(str, one['loc'][1:]))}: {one['ctx']['error']}" for one in caught.value.errors(include_url=False)
    ]


def chain(*steps: Any) -> Chain:
    return Chain(Steps.model_validate({"transforms": list(steps)}).transforms)


def applied(image: NDArray[Any], *steps: Any, **header: Any) -> NDArray[Any]:
    for step in chain(*steps).bound(header):
        image = step(image)
    return image


def test_steps_in_their_order() -> None:
    turned_first = applied(IMAGE, {"rotate": {"quarter_turns": -1}}, {"mask": {"rectangles": [[[0, 1], [0, 1]]]}})
    assert turned_first.tolist() == [[-1, 0], [4, 1], [5, 2]]
    masked_first = applied(IMAGE, {"mask": {"rectangles": [[[0, 1], [0, 1]]]}}, {"rotate": {"quarter_turns": -1}})
    assert masked_first.tolist() == [[3, -1], [4, 1], [5, 2]]
    assert chain("mask", {"downsample": {"factor": 2}}).names == ["mask", "downsample"]


def test_what_is_wrong_is_said_with_what_is_allowed() -> None:
    assert complaints("turn") == [f"0: there is no transform 'turn'; allowed: {', '.join(catalog.TRANSFORMS)}"]
    assert complaints({"rotate": {"quarter_turns": "right"}}) == [
        "0.rotate.quarter_turns: should be a valid integer, unable to parse string as an integer"
    ]
    assert complaints("mask", {"crop": {"rows": [0, 4], "column": [0, 4]}}) == [
        "1.crop.column: no setting of crop; allowed: rows, columns"
    ]
    assert complaints({"mask": {"rectangles": [[[0, 1], [0]]]}}) == ["0.mask.rectangles: [0][1][1] Field required"]
    assert complaints({"mask": 3}) == ["0.mask: not settings; there may stand rectangles, file, value"]
    assert "a step is a name" in complaints({"mask": {}, "rotate": {}})[0]
    assert "a step is a name" in complaints(3)[0]


def test_what_has_no_default_comes_from_the_header() -> None:
    steps = chain("rotate")
    assert steps.asks_header
    assert applied(IMAGE, "rotate", quarter_turns=2).tolist() == [[5, 4, 3], [2, 1, 0]]
    assert not chain({"rotate": {"quarter_turns": 1}}).asks_header
    with pytest.raises(MalformedMessage, match="rotate needs quarter_turns, in the header or in the configuration"):
        steps.bound({"quarter_turns": None})
    with pytest.raises(MalformedMessage, match="rotate: quarter_turns: should be a valid integer"):
        steps.bound({"quarter_turns": [1]})


@pytest.mark.parametrize("tensor", ["text", [[1], [1, 2]], {"a": 1}, [1e400, None, "x"], [10**400]])
def test_a_header_whose_array_is_none(tensor: object) -> None:
    with pytest.raises(MalformedMessage, match="tot: tensor:"):
        chain("tot").bound({"tensor": tensor})


def test_what_a_header_may_say_and_need_not() -> None:
    steps = chain("rotate_if_told")
    assert not steps.asks_header
    assert applied(IMAGE, "rotate_if_told", quarter_turns=2).tolist() == [[5, 4, 3], [2, 1, 0]]
    assert [one.told for one in steps.bound({"quarter_turns": 5})] == [{"quarter_turns": 5}]
    with pytest.raises(MalformedMessage, match="rotate_if_told: quarter_turns: should be a valid integer"):
        steps.bound({"quarter_turns": "left"})


def test_a_step_that_would_change_nothing_is_left_out() -> None:
    assert chain("rotate_if_told").bound({}) == []
    assert chain({"rotate": {"quarter_turns": -4}}, "rotate").bound({"quarter_turns": 8}) == []
    assert len(chain({"rotate": {"quarter_turns": 3}}).bound({})) == 1


def test_the_configuration_goes_before_the_header() -> None:
    assert applied(IMAGE, {"rotate": {"quarter_turns": 0}}, quarter_turns=2).tolist() == IMAGE.tolist()


def test_modules_by_the_header() -> None:
    header = {"x": [0, 3], "y": [0, 0], "rotation": [0.0, 180.0], "full_shape": [2, 5]}
    modules = np.arange(8, dtype="<i4").reshape(2, 2, 2)
    assert applied(modules, "place_modules", **header).tolist() == [[0, 1, -1, 7, 6], [2, 3, -1, 5, 4]]


def test_a_step_that_fails_says_which_and_why() -> None:
    with pytest.raises(MalformedMessage) as caught:
        applied(IMAGE, {"crop": {"rows": [0, 9], "columns": [0, 1]}})
    assert caught.value.reason == "transform crop failed"
    assert "rows 0 to 9 are not in a picture of 2 rows" in str(caught.value)


# Tables of the header.


def test_tables_move_with_the_pixels(caplog: pytest.LogCaptureFixture) -> None:
    start = SeriesStart(metadata={"pixel_mask": IMAGE, "flatfield": IMAGE * 2.0, "count_time": 1.0})
    steps = chain(
        {"rotate": {"quarter_turns": -1}}, {"mask": {"value": 9}}, {"crop": {"rows": [1, 3], "columns": [0, 2]}}
    )
    after = moved(start, steps.bound({}))
    assert after.metadata["pixel_mask"].tolist() == [[4, 1], [5, 2]]
    assert after.metadata["flatfield"].tolist() == [[8, 2], [10, 4]]
    assert start.metadata["pixel_mask"] is IMAGE

    with caplog.at_level(logging.WARNING):
        same = moved(start, chain({"crop": {"rows": [0, 9], "columns": [0, 1]}}).bound({}))
    assert same.metadata["pixel_mask"] is IMAGE
    assert "pixel_mask of the header stays as it came" in caplog.text
    assert moved(start, chain("mask").bound({})) is start


# Files.


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "mask.npy", IMAGE > 3)
    np.savez(tmp_path / "two.npz", tot_to_energy_tensor=np.ones((2, 3, 4)), other=IMAGE)
    np.savez(tmp_path / "one.npz", alone=IMAGE)
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["entry/data"] = IMAGE
    return tmp_path


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mask.npy", IMAGE > 3),
        ("two.npz#other", IMAGE),
        ("two.npz#tot_to_energy_tensor", np.ones((2, 3, 4))),
        ("one.npz", IMAGE),
        ("flat.h5:/entry/data", IMAGE),
    ],
)
def test_arrays_by_their_file(files: Path, name: str, wanted: NDArray[Any]) -> None:
    array = arrays.load(f"{files}/{name}")
    np.testing.assert_array_equal(array, wanted)
    assert array.dtype == wanted.dtype


@pytest.mark.parametrize("suffix", ["edf", "tif", "cbf"])
def test_pictures_by_fabio(tmp_path: Path, suffix: str) -> None:
    fabio = pytest.importorskip("fabio")
    kinds = {"edf": fabio.edfimage.EdfImage, "tif": fabio.tifimage.TifImage, "cbf": fabio.cbfimage.CbfImage}
    kinds[suffix](data=IMAGE).write(str(tmp_path / f"flat.{suffix}"))
    np.testing.assert_array_equal(arrays.load(str(tmp_path / f"flat.{suffix}")), IMAGE)


def test_fabio_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fabio", None)
    (tmp_path / "flat.edf").write_bytes(b"{}")
    with pytest.raises(MissingLibrary, match=r"bluesky-streamdet\[images\]"):
        arrays.load(str(tmp_path / "flat.edf"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.npy", "there is no file"),
        ("two.npz", "holds several arrays; write one of two.npz#tot_to_energy_tensor, two.npz#other"),
        ("two.npz#tensor", "has no array 'tensor'; it has tot_to_energy_tensor, other"),
        ("flat.h5", "write it as flat.h5:/entry/data/data"),
        ("flat.h5:/entry", "has no dataset '/entry'"),
        ("broken.npy", "can't be read"),
        ("pickled.npy", "can't be read"),
        ("text.npy", "holds no pixels, but an array of shape"),
    ],
)
def test_files_that_will_not_do(files: Path, name: str, said: str) -> None:
    (files / "broken.npy").write_bytes(b"nonsense")
    np.save(files / "pickled.npy", np.array([{}]), allow_pickle=True)
    np.save(files / "text.npy", np.array(["a"]))
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        arrays.load(f"{files}/{name}")


def test_a_file_is_loaded_once_and_of_the_type_that_is_asked_for(files: Path) -> None:
    step = chain({"tot": {"tensor": f"{files}/two.npz#tot_to_energy_tensor"}}, {"mask": {"file": f"{files}/mask.npy"}})
    (files / "two.npz").unlink()
    (files / "mask.npy").unlink()
    first, second = step.bound({})
    assert first.told["tensor"].dtype == np.float32
    assert second.told["file"].dtype == np.bool_
    assert second(first(IMAGE)).tolist() == [[1, 1, 1], [1, -1, -1]]


def test_a_file_that_is_not_there_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"transforms: mask: file: there is no file /nowhere/m\.npy"):
        chain({"mask": {"file": "/nowhere/m.npy"}})


# Functions of others.


def test_what_a_function_may_be_told_comes_from_its_signature() -> None:
    def theirs(image: NDArray[Any], *, gain: float, flat: NDArray[np.float64] | None = None, note="") -> NDArray[Any]:
        return image * gain

    known = arguments_of(catalog.TransformRow(theirs, ""))
    assert [(one.name, one.required, one.array, one.dtype) for one in known.values()] == [
        ("gain", True, False, None),
        ("flat", False, True, np.float64),
        ("note", False, False, None),
    ]


def test_a_function_without_a_picture_is_refused() -> None:
    with pytest.raises(ConfigError, match="can't be configured"):
        arguments_of(catalog.TransformRow(lambda: None, ""))
