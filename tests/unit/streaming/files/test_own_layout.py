"""A layout of the beamline's own: each thing that it can say, in a file that is read back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet import __version__
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files import layouts
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.layouts import Layouts, places
from bluesky_streamdet.streaming.files.reader import open_to_read, read_frames
from bluesky_streamdet.streaming.messages import START
from tests.unit.streaming.files.laid_out import LEAST, STARTED, opened, report, shipped, typed, write
from tests.unit.streaming.frames import NOON, frame, pictures
from tests.unit.streaming.spectra import spectra


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def test_the_least_that_a_layout_needs(path: Path, tmp_path: Path) -> None:
    metadata = {"count_time": 0.1, "name": "x"}
    write(path, typed(tmp_path, ""), [frame(0), frame(1)], metadata=metadata, parameters={"a": 1}, late={"b": 2})

    said = inspect(path)
    assert (said.layout, said.data, said.readable, said.outcome) == ("mine", "/raw/data", 2, Outcome.COMPLETE)
    assert np.array_equal(read_frames(path), pictures([0, 1]))
    with h5py.File(path) as content:
        assert content["/raw/of_data/sequence_number"][()].tolist() == [0, 1]
        account = content["/account/data"]
        assert account["count_time"].attrs["units"] == "s"
        assert account["name"].asstr()[()] == "x"
        assert (account["parameters/a"][()], account["parameters/b"][()]) == (1, 2)
        assert account["identifier"].asstr()[()] == "s0"
        assert account["start_time"].asstr()[()] == STARTED.isoformat()


def test_columns_have_names_units_types_and_attributes(path: Path, tmp_path: Path) -> None:
    chosen = typed(
        tmp_path,
        """
        columns:
          group: /raw/of_{dataset}
          names:
            sequence_number: {path: frame, dtype: uint32, attributes: {long_name: "frames of {detector}"}}
            receive_time: /clock/received
            gain: {path: amplification, units: dB, dtype: float32}
            temperature: {path: "/sample/temperature", units: K, dtype: int16}
          derived:
            age: {of: receive_time, plus: -1700000000000000000, scale: 2.0, units: half ns, dtype: float32}
            /clock/seconds: {of: receive_time, divide: 1000000000, dtype: int64, units: s}
          second_axis: true
          attributes: {by: "{detector}", last: "{last_image}"}
        """,
    )
    detail = {"gain": 3, "temperature": 20.25, "odd": 7}
    write(path, chosen, [frame(number, detail=detail) for number in range(5)])
    with h5py.File(path) as content:
        group = content["/raw/of_data"]
        frames = group["frame"]
        assert (frames.dtype, frames.shape) == (np.dtype("<u4"), (5, 1))
        assert frames.attrs["long_name"] == "frames of eiger"
        assert (frames.attrs["by"], frames.attrs["last"]) == ("eiger", 5)
        assert content["/clock/received"][()].ravel().tolist() == [NOON + number for number in range(5)]
        assert (group["amplification"].dtype, group["amplification"].attrs["units"]) == (np.dtype("<f4"), "dB")
        assert group["amplification"][()].ravel().tolist() == [3] * 5
        assert content["/sample/temperature"][()].ravel().tolist() == [20.25] * 5, "no type cuts what it can't hold"
        assert group["odd"][()].ravel().tolist() == [7] * 5
        assert group["age"][()].ravel().tolist() == [0, 2, 4, 6, 8]
        assert content["/clock/seconds"][()].ravel().tolist() == [NOON // 10**9] * 5
    assert inspect(path).columns["gain"] == "/raw/of_data/amplification"
    write(path, shipped("nexus"), [frame(5, detail=detail)], "s1", append=True)
    with h5py.File(path) as content:
        assert content["/raw/of_data/frame"][()].ravel().tolist() == [0, 1, 2, 3, 4, 5]
        assert content["/raw/of_data/age"][()].ravel().tolist() == [0, 2, 4, 6, 8, 10]
        assert content["/raw/of_data/frame"].attrs["last"] == 6


HEADER = """
header:
  count_time: {path: /setup/exposure, units: ms, dtype: float32}
  nimages: {path: /setup/images, dtype: int32, attributes: {of: "{detector}"}}
  mode: {path: /setup/mode, dtype: text}
  on: {path: /setup/on, dtype: bool}
  bins: {path: /setup/bins, dtype: uint8}
settings: /setup/rest
"""


def test_what_the_header_says_has_places_with_units_and_types(path: Path, tmp_path: Path) -> None:
    metadata = {"count_time": "0.25", "nimages": 7.0, "mode": 3, "on": "true", "bins": [1, 2], "odd": "kept"}
    write(path, typed(tmp_path, HEADER), [frame(0)], metadata=metadata)
    with h5py.File(path) as content:
        group = content["/setup"]
        assert (group["exposure"][()], group["exposure"].dtype) == (0.25, np.dtype("<f4"))
        assert group["exposure"].attrs["units"] == "ms"
        assert (group["images"][()], group["images"].dtype, group["images"].attrs["of"]) == (
            7,
            np.dtype("<i4"),
            "eiger",
        )
        assert group["mode"].asstr()[()] == "3"
        assert group["on"][()] == np.True_
        assert (group["bins"][()].tolist(), group["bins"].dtype) == ([1, 2], np.dtype("u1"))
        assert group["rest/odd"].asstr()[()] == "kept"


@pytest.mark.parametrize(
    ("key", "value"), [("count_time", "long"), ("nimages", 1.5), ("nimages", 1 << 40), ("bins", [1, 300]), ("on", 7)]
)
def test_a_value_of_another_type_is_kept_and_says_why(
    path: Path, tmp_path: Path, key: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, typed(tmp_path, HEADER), [frame(0)], metadata={key: value})
    with h5py.File(path) as content:
        assert "/setup/exposure" not in content
        kept = content[f"/setup/rest/{key}"]
        stored = kept.asstr()[()] if isinstance(value, str) else kept[()]
        assert np.array_equal(stored, value)
        assert kept.attrs["refused"].startswith("not at /setup/")
    assert "is not in the file, but in the account" in caplog.text
    assert inspect(path).complete


PARAMETERS = """
parameters:
  energy: {path: /beam/energy, units: keV, dtype: float64, required: true}
  owner: {path: /who, dtype: text}
  angle: {path: "/scan/{dataset}/angle", units: deg}
"""


def test_parameters_have_places_before_and_after_the_first_frame(path: Path, tmp_path: Path) -> None:
    chosen = typed(tmp_path, PARAMETERS)
    parameters = {"energy": {"value": 12400, "units": "eV"}, "angle": 3, "other": 1}
    file = opened(path, chosen, parameters=parameters)
    with open_to_read(path) as content:
        assert content["/beam/energy"][()] == 12400
    assert file.wanting(parameters) == ""
    file.write([frame(0)])
    file.close(report("s0", 1), {"energy": 12.5, "owner": "me", "late": 2, "angle": "steep"})
    with h5py.File(path) as content:
        energy = content["/beam/energy"]
        assert (energy[()], energy.attrs["units"], energy.dtype) == (12.5, "keV", np.dtype("<f8"))
        assert content["/who"].asstr()[()] == "me"
        assert content["/scan/data/angle"].asstr()[()] == "steep"
        kept = content["/account/data/parameters"]
        assert {name: one[()] for name, one in kept.items()} == {"other": 1, "late": 2}


def test_a_parameter_that_is_required_is_asked_for(path: Path, tmp_path: Path) -> None:
    file = opened(path, typed(tmp_path, PARAMETERS))
    assert file.wanting({"owner": "me"}) == "parameters that the layout mine requires were not given: energy"
    file.close(report("s0", 0), {})


def test_fixed_values_groups_and_links(path: Path, tmp_path: Path) -> None:
    chosen = typed(
        tmp_path,
        """
        groups:
          /: {default: raw, creator: "streamdet {version}"}
          /raw: NXdata
          /raw/more: {NX_class: NXcollection, numbers: [1, 2], level: 3, ratio: 0.5, yes: true, words: [a, b]}
        values:
          /facility: {value: SLS, attributes: {of: "{layout}"}}
          /raw/more/pixel: {value: 6.5, units: um, dtype: float32}
          /raw/more/steps: {value: [1, 2, 3], dtype: uint8}
          /raw/more/style: {value: '{{"scale": "{interpretation}"}}'}
          /raw/more/started: {value: "{series} at {started}"}
          /raw/more/none: {value: "{calibration}"}
        links:
          /hard: "{frames}"
          /all: {to: "{columns}"}
          /soft: {to: /not/here, soft: true}
          /fast: {to: "{frames}", soft: true}
          /spectra: {to: "{columns}", only: scalars}
        """,
    )
    write(path, chosen, [frame(0), frame(1)])
    with h5py.File(path) as content:
        assert (content.attrs["default"], content.attrs["creator"]) == ("raw", f"streamdet {__version__}")
        assert content["/raw"].attrs["NX_class"] == "NXdata"
        more = content["/raw/more"]
        assert (more.attrs["level"], more.attrs["level"].dtype, more.attrs["ratio"]) == (3, np.dtype("<i4"), 0.5)
        assert more.attrs["numbers"].tolist() == [1, 2]
        assert more.attrs["words"].tolist() == ["a", "b"]
        assert (content["/facility"].asstr()[()], content["/facility"].attrs["of"]) == ("SLS", "mine")
        assert (more["pixel"][()], more["pixel"].attrs["units"]) == (6.5, "um")
        assert (more["steps"][()].tolist(), more["steps"].dtype) == ([1, 2, 3], np.dtype("u1"))
        assert json.loads(more["style"].asstr()[()]) == {"scale": "image"}
        assert more["started"].asstr()[()] == f"s0 at {STARTED.isoformat()}"
        assert "none" not in more
        assert content["/hard"] == content["/raw/data"] == content["/fast"]
        assert content["/all/sequence_number"][()].tolist() == [0, 1]
        assert content.get("/soft", getlink=True).path == "/not/here"
        assert "/spectra" not in content
    other = path.with_name("other.h5")
    write(other, chosen, [spectra(0)])
    with h5py.File(other) as content:
        assert content["/spectra"] == content["/raw/of_data"]


@pytest.mark.parametrize("entry", [True, False])
def test_a_start_document_goes_where_the_layout_wants_it(path: Path, tmp_path: Path, entry: bool) -> None:
    where = '{document: "/run/{dataset}", entry: /experiment}' if entry else "/run/{dataset}"
    chosen = typed(tmp_path, f"groups: {{/experiment: NXentry}}\nrun: {where}\n")
    write(path, chosen, [frame(0)], late={START: {"uid": "u", "sample": "LaB6"}})
    with h5py.File(path) as content:
        assert content["/run/data/uid"].asstr()[()] == "u"
        assert ("sample" in content["/experiment"]) is entry


@pytest.mark.parametrize("most", [1, 5])
def test_as_many_frames_share_a_chunk_as_it_says(path: Path, tmp_path: Path, most: int) -> None:
    text = LEAST.replace("frames: /raw/{dataset}", f"frames: {{path: '/raw/{{dataset}}', frames_per_chunk: {most}}}")
    own = tmp_path / "mine.yaml"
    own.write_text(text)
    write(path, Layouts("mine", {"mine": own}).chosen(None), [frame(number) for number in range(12)])
    with h5py.File(path) as content:
        assert content["/raw/data"].chunks == (most, 4, 6)
        assert np.array_equal(content["/raw/data"][()], pictures(range(12)))


def test_a_file_goes_on_when_its_layout_is_gone(path: Path, tmp_path: Path) -> None:
    """All that is needed is in the file."""
    chosen = typed(tmp_path, HEADER)
    write(path, chosen, [frame(0)], metadata={"nimages": 3})
    (tmp_path / "mine.yaml").unlink()
    write(path, layouts.nexus(), [frame(1)], "s1", append=True)
    write(path, layouts.nexus(), [frame(2)], "s2", add=True, dataset="dark")
    assert np.array_equal(read_frames(path, "data"), pictures([0, 1]))
    with h5py.File(path) as content:
        assert places.layout_in(content, places.read(content, "dark")).layout == chosen.layout


def test_any_layout_that_comes_with_the_package_is_a_start_for_an_own_one(path: Path, tmp_path: Path) -> None:
    for name, shipped_path in layouts.shipped().items():
        own = tmp_path / f"{name}.yaml"
        own.write_text(shipped_path.read_text().replace("instrument", "apparatus"))
        chosen = Layouts("own", {"own": own}).chosen(None)
        target = tmp_path / f"{name}.h5"
        write(target, chosen, [frame(0)])
        assert inspect(target).layout == "own"
        assert np.array_equal(read_frames(target), pictures([0]))


def test_the_layout_of_the_documentation_is_one(path: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs/reference/layouts.md").read_text(encoding="utf-8")
    _, least, more = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    own = tmp_path / "mine.yaml"
    own.write_text("\n".join(line for line in least.splitlines() if not line.startswith("columns:")) + "\n" + more)
    chosen = Layouts("mine", {"mine": own}).chosen(None)
    left_out = set(type(chosen.layout).model_fields) - chosen.layout.model_fields_set
    assert left_out == set(), "each thing that a layout may have is shown"
    write(path, chosen, [frame(0, detail={"exposure": 5})], metadata={"count_time": 1})
    with h5py.File(path) as content:
        assert content["/measurement/data/exposure_time"].attrs["units"] == "us"
        assert content["/entry/data/data"] == content["/exchange/data"]


def test_a_place_for_all_datasets_keeps_what_the_first_said(path: Path, tmp_path: Path) -> None:
    chosen = typed(tmp_path, "header: {count_time: /exposure}\nparameters: {energy: /energy}\n")
    write(path, chosen, [frame(0)], metadata={"count_time": 1.0}, parameters={"energy": 1})
    write(path, chosen, [frame(0)], "s1", add=True, dataset="dark", metadata={"count_time": 9.0}, late={"energy": 2})
    with h5py.File(path) as content:
        assert content["/exposure"][()] == 1.0
        other = content[places.read(content, "dark").settings["count_time"]]
        assert (other.name, other[()]) == ("/account/dark/count_time", 9.0)
        assert other.attrs["refused"] == "not at /exposure: another dataset has it"
        assert content["/energy"][()] == 2


def test_columns_keep_out_of_one_anothers_way(path: Path, tmp_path: Path) -> None:
    """What a stream calls its own may be what the layout calls something else."""
    chosen = typed(
        tmp_path,
        """
        columns:
          group: /raw/of_{dataset}
          names: {gain: exposure, temperature: t}
          derived: {age: {of: temperature, scale: 2.0}}
        parameters: {energy: "{columns}/energy"}
        links: {"{columns}/linked": "{frames}"}
        """,
    )
    detail = {"exposure": 1, "age": 2, "energy": 3, "linked": 4, "gain": 5, "temperature": 6.0}
    for index in range(2):
        write(path, chosen, [frame(index, detail=detail)], f"s{index}", append=True, late={"energy": 7})
    with h5py.File(path) as content:
        group = content["/raw/of_data"]
        found = {
            name: group[name][()].tolist() for name in ("exposure_", "age_", "energy_", "linked_", "exposure", "t")
        }
        assert found == {"exposure_": [1, 1], "age_": [2, 2], "energy_": [3, 3], "linked_": [4, 4]} | {
            "exposure": [5, 5],
            "t": [6.0, 6.0],
        }
        assert group["age"][()].tolist() == [12.0, 12.0]
        assert group["energy"][()] == 7
        assert group["linked"] == content["/raw/data"]


def test_scalars_get_no_type_that_is_too_small(path: Path, tmp_path: Path) -> None:
    text = """
    columns:
      group: /c
      names: {all_good: {path: good, dtype: uint8}, all_events: {path: events, dtype: float64, units: counts}}
    """
    write(path, typed(tmp_path, text), [spectra(number) for number in range(3)])
    with h5py.File(path) as content:
        assert content["/c/good"].dtype == np.dtype("<u4")
        assert content["/c/events"].dtype == np.dtype("<f8")
        assert content["/c/events"].attrs["units"] == "counts"
        assert content["/c/good"][()].max() > 255


def test_all_may_be_in_the_root(path: Path, tmp_path: Path) -> None:
    """As the first files of the Xspress3 streamer had it."""
    chosen = typed(
        tmp_path,
        """
        frames: /frames
        columns: {group: /, derived: {age: {of: receive_time}}}
        account: /account
        settings: /
        links: {/entry: "{columns}"}
        """,
    )
    file = write(path, chosen, [spectra(0), spectra(1)], metadata={"exptime": 0.5, "frames": "taken"})
    write(path, chosen, [spectra(2)], "s1", append=True)
    assert file.data is not None
    assert {one.dataset for one in file.data.columns} == {"/sequence_number", "/receive_time"}
    assert "/entry/frames" in file.data.also
    with h5py.File(path) as content:
        assert content["/sequence_number"][()].tolist() == [0, 1, 2]
        assert content["/all_events"].shape == (3, 4)
        assert (content["/exptime"][()], content["/frames_"].asstr()[()]) == (0.5, "taken")
        assert content["/entry/frames"] == content["/frames"]
    assert inspect(path).readable == 3
