"""Names from templates: what each becomes, and that no template makes more of a name than it says."""

from __future__ import annotations

import pytest

from bluesky_streamdet.core.errors import PathRefused
from bluesky_streamdet.streaming.files.several.naming import Name, fill_in


def filled(template: str) -> Name:
    return fill_in(template, "eiger", "42")


def test_a_template_is_filled_in() -> None:
    name = filled("{date}/{detector}_{id}").file()

    assert name.endswith("/eiger_42")
    assert len(name) == len("20260101/eiger_42")
    assert filled("100%_{{x}}").file() == "100%_{x}"
    assert filled("{{index}}").numbered().file() == "{index}_001.h5"


@pytest.mark.parametrize(
    ("template", "third", "whole"),
    [
        ("scan", "scan_003.h5", "scan.h5"),
        ("scan.nxs", "scan_003.nxs", "scan.nxs"),
        ("run.1", "run.1_003.h5", "run.1.h5"),
        ("scan_{index:03d}.h5", "scan_003.h5", "scan.h5"),
        ("scan_{index}", "scan_3.h5", "scan.h5"),
        ("scan_%03d.h5", "scan_003.h5", "scan.h5"),
        ("scan_%05d", "scan_00003.h5", "scan.h5"),
        ("%d-scan.hdf5", "3-scan.hdf5", "scan.hdf5"),
        ("p1/{id}/%03d", "p1/42/003.h5", "p1/42/master.h5"),
        ("{index:09d}_{detector}", "000000003_eiger.h5", "eiger.h5"),
        ("a_%02d_b.h5", "a_03_b.h5", "a_b.h5"),
    ],
)
def test_files_are_numbered_and_shown_by_one(template: str, third: str, whole: str) -> None:
    name = filled(template).numbered()

    assert (name.file(3), name.whole) == (third, whole)
    assert name.file(12345678901) != whole


def test_one_file_has_the_first_number_where_there_is_a_place_for_it() -> None:
    assert filled("scan_%03d.h5").file() == "scan_001.h5"
    assert filled("scan").file() == "scan"


@pytest.mark.parametrize("template", ["scan", "scan_%03d.h5", "%d", "p/scan.nxs"])
def test_another_name_is_another_for_all_files(template: str) -> None:
    name = filled(template)
    tried = [name.again(number).numbered() for number in range(20)]

    assert tried[0] == name.numbered()
    assert len({one.whole for one in tried}) == len({one.file(7) for one in tried}) == 20


@pytest.mark.parametrize(
    "template",
    ["{", "}", "{}", "{0}", "{user}", "{id!r}", "{id:>9999999999}", "{id.__class__}", "{id[0]}", "{id:{detector}}"],
)
def test_other_braces_are_refused(template: str) -> None:
    with pytest.raises(PathRefused, match="braces"):
        filled(template)


@pytest.mark.parametrize(
    "template",
    [
        *("%n", "%s", "%030d", "%10d", "%3d", "%-3d", "%*d", "%.3d", "%ld", "%x", "%%", "%i", "%p", "%05.3f", "%1$d"),
        *("{index:999999999d}", "{index:030d}", "{index:3d}", "{index:x}", "{index!r}", "{index.real}", "{index[0]}"),
        *("{index:0d}", "{index:{id}}", "%00d", "{index:0³d}", "%0٣d"),
    ],
)
def test_what_is_no_index_is_refused_and_what_is_one_is_said(template: str) -> None:
    with pytest.raises(PathRefused, match=r"\{index:03d\}, %d or %03d"):
        filled(f"scan_{template}.h5")


@pytest.mark.parametrize("template", ["%d_%d", "{index}_%03d", "{index}{index}", "%03d/scan", "{index}/{id}"])
def test_there_is_one_index_in_the_name_of_the_file(template: str) -> None:
    with pytest.raises(PathRefused, match="several indices, or one in a folder"):
        filled(template)
