"""Parts of a series after the second are copies of it at first: each is as if it had been made by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet.streaming.files.access import Access
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.files.several.naming import Name
from bluesky_streamdet.streaming.files.several.parts import Part
from bluesky_streamdet.streaming.files.several.rolling import Rolling, RollingFile
from tests.unit.streaming.files.laid_out import SHIPPED, STARTED, report, shipped
from tests.unit.streaming.frames import frame, pictures

EACH, PARTS = 5, 4
METADATA = {"count_time": 0.5, "description": "a camera"}


def rolled(folder: Path, layout: str, access: Access, details: Mapping[int, Any]) -> list[Path]:
    """The parts of a series; details: what came with some frames besides."""

    def make(path: Path, part: Part) -> SeriesFile:
        return SeriesFile(path, "eiger", "s", layout=shipped(layout), access=access, part=part)

    path = folder / "scan.h5"
    file = RollingFile(Rolling(path, Name("scan.h5").numbered(), EACH), "eiger", "s", make, layout=layout)
    frames = [frame(number, detail=details.get(number)) for number in range(EACH * PARTS)]
    file.open(frames[0], STARTED, METADATA, {"sample": "a"})
    for one in frames:
        file.write([one])
    parts = file.parts
    file.close(report("s", len(frames)), {})
    return parts


def told(path: Path) -> dict[str, Any]:
    """All that a file has, but for what frames and their account are."""
    found: dict[str, Any] = {}

    def look(name: str, one: h5py.Group | h5py.Dataset) -> None:
        found[name] = {key: np.asarray(value).tolist() for key, value in one.attrs.items()}
        if isinstance(one, h5py.Dataset):
            found[name] |= {"shape": one.shape, "type": one.dtype.str, "most": one.maxshape, "chunks": one.chunks}

    with h5py.File(path, "r") as file:
        look("/", file)
        file.visititems(look)
    return found


@pytest.mark.parametrize("swmr", ["on", "off"])
@pytest.mark.parametrize("layout", SHIPPED)
def test_a_later_part_is_as_one_made_by_itself(tmp_path: Path, layout: str, swmr: Any) -> None:
    access = Access(swmr=swmr)
    parts = rolled(tmp_path, layout, access, {})
    for index, path in enumerate(parts, 1):
        alone = SeriesFile(
            tmp_path / f"alone_{index}.h5",
            "eiger",
            "s",
            layout=shipped(layout),
            access=access,
            part=Part(index, EACH * (index - 1), "scan.h5"),
        )
        numbers = range(EACH * (index - 1), EACH * index)
        alone.open(frame(0), STARTED, METADATA, {"sample": "a"})
        alone.write([frame(number) for number in numbers])
        alone.close(report("s", EACH), {})

        assert told(path) == told(alone.path)
        assert np.array_equal(read_frames(path), pictures(numbers))
        said = inspect(path)
        assert said.complete and said.readable == EACH and said.last_number == EACH * index - 1
    assert len(parts) == PARTS


def test_what_one_part_has_more_is_not_in_the_next(tmp_path: Path) -> None:
    parts = rolled(tmp_path, "nexus", Access(), {EACH + 2: {"shutter": "open"}, 2 * EACH + 1: {"shutter": "shut"}})
    found = []
    for path in parts:
        with h5py.File(path, "r") as file:
            column = file.get("/entry/instrument/eiger/shutter")
            found.append(None if column is None else column.asstr()[()].tolist())
    assert found == [None, ["", "", "open", "", ""], ["", "shut", "", "", ""], None]
