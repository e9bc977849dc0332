"""What Bluesky is told: the form of each document, and that ranges are disjoint, increasing and whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from event_model import DocumentNames, compose_run, schema_validators
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.documents import (
    DATA,
    Column,
    FrameLayout,
    ResourceDocuments,
    StreamDocuments,
    data_keys,
    file_uri,
    image_key,
    reader_path,
)

LAYOUT = FrameLayout((32, 48), "<u2", (1, 32, 48))
COLUMNS = {"sequence_number": Column("/entry/instrument/eiger/sequence_number", "<u8")}


def test_one_frame_an_event_has_the_shape_of_the_frame() -> None:
    key = image_key(LAYOUT, "here")
    assert (key["shape"], key["dims"], key["dtype_numpy"]) == ([32, 48], ["y", "x"], "<u2")
    assert key["external"] == "STREAM:"


def test_several_frames_an_event_have_an_axis() -> None:
    key = image_key(FrameLayout((32, 48), "<u2", (1, 1, 32, 48), frames_per_event=5), "here")
    assert (key["shape"], key["dims"]) == ([5, 32, 48], ["frame", "y", "x"])


def test_resources_have_a_stack_of_one() -> None:
    key = image_key(LAYOUT, "here", "resource")
    assert (key["shape"], key["dims"], key["external"]) == ([1, 32, 48], ["frame", "y", "x"], "FILESTORE:")


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((4096,), ["x"]),
        ((8, 4096), ["y", "x"]),
        ((2, 3, 4), ["z", "y", "x"]),
        ((1, 2, 3, 4), [f"dim_{i}" for i in range(4)]),
    ],
)
def test_dims_of_other_ranks(shape: tuple[int, ...], dims: list[str]) -> None:
    assert image_key(FrameLayout(shape, "<u4"), "here")["dims"] == dims


def test_keys_and_documents_are_valid_for_event_model() -> None:
    layout = replace(LAYOUT, columns=COLUMNS)
    run = compose_run()
    descriptor = run.compose_descriptor(name="primary", data_keys=data_keys(layout, "eiger", "here"))
    assert set(descriptor.descriptor_doc["data_keys"]) == {"eiger", "eiger_sequence_number"}
    for kind, document in StreamDocuments(layout, "eiger", "file://localhost/x.h5").up_to(3):
        if kind == "stream_datum":
            document["descriptor"] = descriptor.descriptor_doc["uid"]
        schema_validators[DocumentNames[kind]].validate(document)


def test_resource_documents_are_valid_for_event_model() -> None:
    for kind, document in ResourceDocuments("/data/x.h5", 1).up_to(2):
        schema_validators[DocumentNames[kind]].validate(document)


def test_the_resource_comes_just_before_the_first_range() -> None:
    documents = StreamDocuments(replace(LAYOUT, columns=COLUMNS), "eiger", "file://localhost/x.h5", "-")
    assert documents.up_to(0) == []
    first = documents.up_to(2)
    assert [kind for kind, _ in first] == ["stream_resource"] * 2 + ["stream_datum"] * 2
    resource = first[0][1]
    joined = {"dataset": DATA, "chunk_shape": [1, 32, 48], "join_method": "stack"}
    assert resource["parameters"] == {**joined, "swmr": True, "locking": False}
    assert first[1][1]["data_key"] == "eiger-sequence_number"
    assert [kind for kind, _ in documents.up_to(5)] == ["stream_datum"] * 2
    assert documents.up_to(5) == documents.up_to(4) == []


@given(st.lists(st.integers(0, 100), max_size=20))
def test_ranges_are_disjoint_increasing_and_cover_all(asked: list[int]) -> None:
    documents = StreamDocuments(LAYOUT, "eiger", "file://localhost/x.h5")
    ranges = [one["indices"] for up_to in asked for kind, one in documents.up_to(up_to) if kind == "stream_datum"]
    ends = [0, *(one["stop"] for one in ranges)]
    assert [one["start"] for one in ranges] == ends[:-1]
    assert all(one["start"] < one["stop"] for one in ranges)
    assert documents.announced == max(asked, default=0)


def test_what_the_run_engine_dropped_is_handed_out_once_more() -> None:
    documents = StreamDocuments(LAYOUT, "eiger", "file://localhost/x.h5")
    dropped = documents.up_to(1)
    documents.take_back()
    assert documents.announced == 0
    assert documents.up_to(1) == dropped


def test_what_the_run_engine_took_stays_announced() -> None:
    documents = StreamDocuments(LAYOUT, "eiger", "file://localhost/x.h5")
    for kind, document in documents.up_to(1):
        if kind == "stream_datum":
            document["descriptor"] = "taken"
    documents.take_back()
    assert documents.announced == 1
    later = documents.up_to(2)
    documents.take_back()
    assert documents.announced == 1
    assert [kind for kind, _ in later] == ["stream_datum"]


def test_datums_are_numbered_and_the_resource_says_how_many_frames_a_point_has() -> None:
    documents = ResourceDocuments("/data/run/x.h5", 3)
    kinds = documents.up_to(2)
    assert [kind for kind, _ in kinds] == ["resource", "datum", "datum"]
    resource = kinds[0][1]
    assert (resource["spec"], resource["root"], resource["resource_path"]) == ("AD_HDF5", "/data/run", "x.h5")
    assert resource["resource_kwargs"] == {"frame_per_point": 3}
    assert [one["datum_kwargs"] for _, one in kinds[1:]] == [{"point_number": 0}, {"point_number": 1}]
    assert documents.datum_ids == [one["datum_id"] for _, one in kinds[1:]]


def test_a_dropped_resource_is_handed_out_once_more() -> None:
    documents = ResourceDocuments("/data/x.h5", 1)
    documents.up_to(1)
    documents.take_back()
    again = documents.up_to(2)
    assert [kind for kind, _ in again] == ["resource", "datum"]
    again[0][1]["run_start"] = "taken"
    documents.take_back()
    assert [kind for kind, _ in documents.up_to(3)] == ["datum"]


def test_columns_of_several_frames_an_event_have_an_axis_for_them() -> None:
    columns = {
        "number": Column("/number", "<u8"),
        "counts": Column("/counts", "<u4", (2, 4), dims=("window", "channel")),
    }
    layout = FrameLayout((4, 8), "<u4", frames_per_event=3, columns=columns)
    keys = data_keys(layout, "det", "here")
    assert (keys["det_number"]["shape"], keys["det_number"]["dims"]) == ([3], ["frame"])
    assert keys["det_number"]["dtype"] == "array"
    assert (keys["det_counts"]["shape"], keys["det_counts"]["dims"]) == ([3, 2, 4], ["frame", "window", "channel"])
    resources = [one for kind, one in StreamDocuments(layout, "det", "file://localhost/x.h5").up_to(1)[:3]]
    chunks = {one["data_key"]: one["parameters"]["chunk_shape"] for one in resources}
    assert chunks == {"det": [1, 3, 4, 8], "det_number": [1365, 3], "det_counts": [1365, 3, 2, 4]}
    assert not layout.same_frames(replace(layout, columns={}))


@pytest.mark.parametrize(
    ("path", "path_map", "uri"),
    [
        ("/data/x.h5", {}, "file://localhost/data/x.h5"),
        ("/data/a b/x.h5", {}, "file://localhost/data/a b/x.h5"),
        ("/data/x.h5", {"/data": "/mnt/beamline/data/"}, "file://localhost/mnt/beamline/data/x.h5"),
        ("/database/x.h5", {"/data": "/mnt"}, "file://localhost/database/x.h5"),
        ("/data/run/x.h5", {"/data": "/a", "/data/run": "/b"}, "file://localhost/b/x.h5"),
        ("D:\\data\\x.h5", {"D:\\data": "/mnt/d"}, "file://localhost/mnt/d/x.h5"),
        ("D:\\data\\x.h5", {}, "file://localhost/D:/data/x.h5"),
    ],
)
def test_uris_of_readers(path: str, path_map: dict[str, str], uri: str) -> None:
    assert file_uri(path, path_map) == uri


def test_the_root_can_be_mapped() -> None:
    assert reader_path("/data/x.h5", {"/": "/net/daq1"}) == "/net/daq1/data/x.h5"


@pytest.mark.parametrize(("frames", "shape", "part"), [(1, [], ":,0"), (3, [3], ":,:,0")])
def test_a_number_with_an_axis_of_its_own_is_announced_without(frames: int, shape: list[int], part: str) -> None:
    column = Column("/c/frame", "<u8", second_axis=True)
    layout = FrameLayout((4, 6), "<u2", (1, 4, 6), frames, columns={"sequence_number": column})
    assert data_keys(layout, "det", "")["det_sequence_number"]["shape"] == shape
    documents = StreamDocuments(layout, "det", "file://localhost/a.h5").up_to(1)
    parameters = [one["parameters"] for kind, one in documents if kind == "stream_resource"]
    assert "slice" not in parameters[0]
    assert parameters[1]["slice"] == part
    assert len(parameters[1]["chunk_shape"]) == 1 + len(shape)
