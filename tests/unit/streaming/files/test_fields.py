"""Values as fields: names that HDF5 can't have, and several of which the same is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from bluesky_streamdet.streaming.files.fields import SAID, put


@pytest.fixture
def group(tmp_path: Path) -> Iterator[h5py.Group]:
    with h5py.File(tmp_path / "fields.h5", "w") as file:
        yield file.create_group("parameters")


def test_names_that_differ_only_by_what_a_file_can_not_have_stay_apart(group: h5py.Group) -> None:
    said = ["a/b", "a_b", "", ".", "..", "a", "a ", "a\n"]
    for number, name in enumerate(said):
        put(group, name, number)
    kept = {group[name].attrs.get(SAID, name): group[name][()] for name in group}
    assert kept == {name: number for number, name in enumerate(said)}


def test_a_newer_value_replaces_the_one_of_its_name_and_no_other(group: h5py.Group) -> None:
    for name, value in (("a/b", 1), ("a_b", 2), ("a/b", 3), ("a_b", None)):
        put(group, name, value)
    assert {name: (group[name][()], group[name].attrs[SAID]) for name in group} == {"a_b": (3, "a/b")}


def test_a_name_that_a_file_can_have_is_said_once(group: h5py.Group) -> None:
    put(group, "sample name", {"x y": 1})
    assert not group["sample name"].attrs.get(SAID) and not group["sample name/x y"].attrs.get(SAID)
