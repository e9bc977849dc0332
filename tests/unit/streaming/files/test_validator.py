"""A NeXus file is one to a validator that knows nothing of us, whatever happened while it was written."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from tests.nexus import findings
from tests.unit.streaming.files.every_kind import KINDS, made
from tests.unit.streaming.files.laid_out import shipped


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_with_a_file(kind: str, tmp_path: Path) -> None:
    assert findings(made(kind, tmp_path, shipped("nexus"))) == []


@pytest.mark.parametrize("place", ["/entry/data", "/entry/instrument", "/entry/instrument/eiger/collection"])
def test_the_validator_misses_a_class(place: str, tmp_path: Path) -> None:
    path = made("images", tmp_path, shipped("nexus"))
    with h5py.File(path, "r+") as file:
        del file[place].attrs["NX_class"]
    assert any(f"{place}: This group has no NeXus base class" in one for one in findings(path))


def test_the_validator_misses_what_is_to_be_plotted_and_units(tmp_path: Path) -> None:
    path = made("images", tmp_path, shipped("nexus"))
    with h5py.File(path, "r+") as file:
        del file["/entry/data"].attrs["signal"]
        del file["/entry/instrument/eiger/count_time"].attrs["units"]
        file["/entry/data"].attrs["axes"] = ["."]
        del file["/entry/start_time"]
        file["/entry/start_time"] = "last Monday"
    found = "\n".join(findings(path))
    for complaint in (
        '"@signal" is not present',
        "count_time: Units",
        "start_time: The field value is not a valid NX_DATE",
    ):
        assert complaint in found
